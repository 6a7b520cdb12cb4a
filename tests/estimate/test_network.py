"""The network: its symmetries, what its front end keeps, and the layers of the paper."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from precise_lib.estimate.network import FidFront, MatchedFront, MaxPool2, Network
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.training import (
    SveTrainer,
    signal_families,
)
from precise_lib.evaluate.crlb import covariance
from precise_lib.signal.information import jacobian
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import (
    AMPLITUDES,
    minute_config,
    noisy_fids,
    sd_bounds,
    tiny_network,
)

# single precision through 512 samples, and the whitening of directions that hold next to nothing
ROUNDING = 2e-3


# symmetries of the matched network


@pytest.mark.parametrize("scale", [2.0**-40, 0.25, 2.0**30])
def test_estimate_scales_with_the_fid(scale):
    fids, _ = noisy_fids(snr=15, n=200, max_shift_hz=15)
    network = tiny_network()
    np.testing.assert_array_equal(network.amplitudes(scale * fids), scale * network.amplitudes(fids))


def test_estimate_does_not_know_the_phase():
    fids, _ = noisy_fids(snr=15, n=200, max_shift_hz=15)
    network = tiny_network()
    reference = network.amplitudes(fids)
    for phase in (np.pi / 2, np.pi, 0.3, -2.0):
        turned = (fids * np.exp(1j * phase)).astype(np.complex64)
        np.testing.assert_allclose(network.amplitudes(turned), reference, atol=ROUNDING)


def test_shift_inside_the_training_range_moves_the_estimate_little():
    network, model = tiny_network(), dmi_11t7()
    shifts = np.linspace(-20, 20, 81)
    estimate = network.amplitudes(model.fids(np.tile(AMPLITUDES, (81, 1)), shifts))
    assert estimate.std(0).max() < 0.05


def test_alignment_finds_the_shift():
    """Aligned samples of the same FID under other shifts are the same, to a small part of the linewidth."""
    front, model = tiny_network().network.front, dmi_11t7()
    shifts = np.linspace(-20, 20, 41)
    fids = torch.tensor(model.fids(np.tile(AMPLITUDES, (41, 1)), shifts, phase_rad=shifts)).to(torch.complex64)
    aligned, unit = front.align(front.project(fids))
    spread = (aligned - aligned[20]).norm(dim=1).max() / aligned[20].norm()
    assert spread < 0.05
    np.testing.assert_allclose(unit[:, 0], unit[20, 0], rtol=0.01)


# what the front end keeps


@pytest.fixture(scope="module")
def front() -> MatchedFront:
    config = TrainConfig()
    return MatchedFront(config.signal_model, config.network, config.shift_range_hz, signal_families(config, 2000))


def search_grid(front, config):
    """Shifts (Hz) that the rotations of the front end take out."""
    margin = 0.5 / (np.pi * config.signal_model.t2star_s.max())
    low, high = config.shift_range_hz
    return np.linspace(low - margin, high + margin, len(front.rotations))


def test_projection_and_alignment_lose_nothing(front):
    """The bound for projected and for aligned data equals that for the FID, over the training range.

    Aligned means by a search that errs by a few hertz.
    """
    model, config = dmi_11t7(), TrainConfig()
    projector = torch.view_as_complex(front.projector).numpy().astype(complex)
    rotations, grid = torch.view_as_complex(front.rotations).numpy().astype(complex), search_grid(front, config)
    rng = np.random.default_rng(0)
    for _ in range(20):
        amplitudes = np.array([1.0, *rng.uniform(0, 1.2, 3)])
        shift, broad = rng.uniform(*config.shift_range_hz), rng.uniform(*config.broadening_range_hz)
        projected = jacobian(model, amplitudes, shift, broad, 0.4) @ projector
        full = np.sqrt(np.diag(covariance(model, amplitudes, 1.0, shift, broad, 0.4)))[:4]
        rotation = rotations[np.abs(grid - shift - rng.normal(0, 1.5)).argmin()]
        noise = rotation.conj().T @ rotation
        aligned = projected @ rotation
        np.testing.assert_allclose(np.diag(noise)[:8], 1, atol=0.01)  # white still, where the signal is
        for j, inverse in ((projected, np.eye(projected.shape[1])), (aligned, np.linalg.inv(noise.conj()))):
            bound = np.sqrt(np.diag(np.linalg.inv((j.conj() @ inverse @ j.T).real)))[:4]
            assert (bound / full >= 1 - 1e-5).all()
            assert (bound / full < 1.01).all()


def test_noise_stays_white_after_projection(front):
    projector = torch.view_as_complex(front.projector).numpy()
    np.testing.assert_allclose(projector.conj().T @ projector, np.eye(projector.shape[1]), atol=1e-5)
    rng = np.random.default_rng(0)
    noise = 0.3 * rng.standard_normal((4000, 512, 2)).astype(np.float32).view(np.complex64)[..., 0]
    z = front.project(torch.from_numpy(noise)).numpy()
    low, high = sd_bounds(2 * z.size)
    assert low < np.sqrt((np.abs(z) ** 2).mean() / 2) / 0.3 < high
    covariances = np.cov(z.T) / (2 * 0.3**2)
    assert np.abs(covariances - np.eye(len(covariances))).max() < 5.5 / np.sqrt(4000)


def test_whitening_makes_training_data_white():
    trainer = SveTrainer(minute_config())
    fids, _, sigma = trainer.sampler.draw(8192, torch.Generator().manual_seed(9))
    front = trainer.network.front
    x, _ = front(trainer.sampler.noise(front.project(fids), sigma, torch.Generator().manual_seed(8)))
    moments = torch.linalg.eigvalsh(x.flatten(1).T.double() @ x.flatten(1).double() / len(x))
    assert moments.max() < 1.3
    assert moments.median() > 0.3


def test_network_of_the_papers_recipe():
    """Conv of kernel 3, PReLU, max pooling; two fully connected layers; as many outputs as lines; FIDs as input."""
    config = TrainConfig.papers_recipe()
    network = Network(config.signal_model, config.network, config.shift_range_hz)
    kinds = [type(layer) for layer in network.backbone]
    assert kinds == [torch.nn.Conv1d, torch.nn.PReLU, torch.nn.MaxPool1d] * 5 + [torch.nn.Flatten]
    assert all(layer.kernel_size == (3,) for layer in network.backbone if isinstance(layer, torch.nn.Conv1d))
    assert [type(layer) for layer in network.head] == [torch.nn.Linear, torch.nn.PReLU, torch.nn.Linear]
    x, unit = network.front(torch.zeros(3, 512, dtype=torch.complex64))
    assert x.shape == (3, 2, 512)
    assert (unit == 1).all()
    assert network(torch.zeros(3, 512, dtype=torch.complex64)).shape == (3, 4)
    assert (config.batch_size, config.iterations, config.learning_rate) == (128, 25_000, 1e-3)
    assert (config.noise, config.noiseless_share, config.loss) == ("uniform_sigma", 0.2, "mse")


def test_network_of_the_papers_recipe_takes_its_scale_from_the_data_set():
    front = FidFront(dmi_11t7())
    fids = dmi_11t7().fids(np.array([[3.0, 0, 0, 0], [5.0, 0, 0, 0], [90.0, 0, 0, 0]]), phase_rad=1.0)
    assert front.dataset_unit(torch.tensor(fids).to(torch.complex64)) == pytest.approx(5.0, rel=1e-5)


@pytest.mark.parametrize("length", [2, 7, 512])
def test_pooling_by_two_is_that_of_torch(length):
    x = torch.randn(3, 4, length, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(MaxPool2()(x), torch.nn.functional.max_pool1d(x, 2), rtol=0, atol=1e-6)  # rounding


def test_the_cnn_takes_any_scale():
    """The unit of its input and output is the amplitude of water where there is water alone, whatever the noise."""
    net = Network.of(TrainConfig.papers_cnn())
    fids = torch.tensor(dmi_11t7().fids([[1.0, 0, 0, 0], [3e5, 1e5, 2e5, 1e4]])).to(torch.complex64)
    x, unit = net.front(net.front.project(fids))
    assert x.shape == (2, 2, 512)
    assert float(unit[0]) == pytest.approx(1, rel=1e-5)
    noisy, _ = noisy_fids(snr=12, n=200, max_shift_hz=0)
    assert float(net.front(torch.tensor(noisy).to(torch.complex64))[1].std()) < 0.1
    with torch.no_grad():
        np.testing.assert_allclose(net(7 * fids), 7 * net(fids), rtol=1e-4)


def test_the_phase_of_the_receiver_does_not_move_the_cnn():
    """Eq. 2: amplitudes do not depend on the phase. Without `one_phase` the layers would have to learn that."""
    fids, _ = noisy_fids(snr=12, n=50, max_shift_hz=20)
    fids, turn = torch.tensor(fids).to(torch.complex64), complex(np.exp(2.3j))
    moved = {}
    for one_phase in (True, False):
        network = replace(TrainConfig.papers_cnn().network, one_phase=one_phase)
        net = Network.of(TrainConfig.papers_cnn(network=network))
        with torch.no_grad():
            moved[one_phase] = float((net(turn * fids) - net(fids)).abs().max() / net(fids).std())
    assert moved[True] < 1e-4  # rounding
    assert moved[False] > 1e-2  # of layers that nobody has trained


def test_the_cnn_is_one():
    """Five convolutions of kernel 3, pooling, PReLU, then two fully connected layers, the head that is fine-tuned."""
    net = Network.of(TrainConfig.papers_cnn())
    convolutions = [m for m in net.backbone if isinstance(m, torch.nn.Conv1d)]
    assert [m.kernel_size for m in convolutions] == [(3,)] * 5
    assert [m.out_channels for m in convolutions] == [16, 32, 64, 128, 128]
    assert [m.out_features for m in net.head if isinstance(m, torch.nn.Linear)] == [256, 4]
