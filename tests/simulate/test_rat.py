"""The simulated rat: anatomy, fields, truth after the point spread function, and how it is measured."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.noise import free_space
from precise_lib.estimate.noise_model import Kernel
from precise_lib.estimate.prior import prepare_mri
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import default_2h_model
from precise_lib.simulate.phantoms import rings
from precise_lib.simulate.rat import ANCHOR_SNR, COIL_CENTER_MM, NUMBER, TISSUES, b0, b1, rat, snr_of, tissues
from tests.helpers import sd_bounds

FIG_10 = {"matrix": (11, 11, 11), "field_of_view_mm": (27.5, 27.5, 27.5)}


@pytest.fixture(scope="module")
def model():
    """Short FIDs: what is tested here does not ask for long ones."""
    return default_2h_model(Acquisition(96, 1 / 2500, 76.7), 0.008)


@pytest.fixture(scope="module")
def fig9(model):
    return rat(model=model)


@pytest.fixture(scope="module")
def fig10(model):
    return rat(model=model, **FIG_10)


def test_grids_of_the_paper(fig9, fig10):
    for phantom, matrix, view, voxel in ((fig9, (22, 11, 22), 22, 2.0), (fig10, (11, 11, 11), 27.5, 15.625)):
        assert phantom.mask.shape == matrix
        assert phantom.mri.shape == (110, 110, 110)
        assert abs(np.linalg.det(phantom.affine[:3, :3])) == pytest.approx(voxel)
        for affine, shape in ((phantom.affine, matrix), (phantom.mri_affine, phantom.mri.shape)):
            corners = np.stack([affine[:3] @ [-0.5, -0.5, -0.5, 1], affine[:3] @ [*(np.array(shape) - 0.5), 1]])
            np.testing.assert_allclose(corners, [[-view / 2] * 3, [view / 2] * 3])
    acquisition = rat((4, 4, 4)).model.acquisition
    assert acquisition.spectrometer_frequency_mhz == 76.7
    assert acquisition.bandwidth_hz == pytest.approx(5000)


def test_brain_and_tumor_have_the_size_of_a_rats(fig9):
    assert 1200 < fig9.mask.sum() * 2.0 < 2000  # uL; a rat's brain is about 1.8 mL
    assert 40 < fig9.tumors["tumor"].sum() * 2.0 < 90
    assert (fig9.tumors["tumor"] <= fig9.mask).all()
    point = np.array([[3.2, 0.6, 2.0], [-3.2, 0.2, 2.2], [1.3, 0.2, 8.5], [0, 4.4, 0], [0, 9.5, 0]])
    names = [TISSUES[i].name for i in tissues(point)]
    assert names == ["tumor", "striatum", "olfactory bulb", "cortex", "outside"]
    assert TISSUES[tissues(point[:1], tumor=False)[0]].name == "striatum"


def test_truth_holds_the_tumor_and_water_is_the_same_everywhere(fig9):
    truth, tumor = fig9.concentrations, fig9.tumors["tumor"]
    healthy = fig9.mask & ~tumor
    np.testing.assert_allclose(truth.sel(metabolite="water").values[fig9.mask], 10)
    assert np.isnan(truth.values[:, ~fig9.mask]).all()
    assert truth.sel(metabolite="Lac").values[tumor].min() > 2 * np.median(truth.sel(metabolite="Lac").values[healthy])
    assert truth.sel(metabolite="Glx").values[tumor].max() < np.median(truth.sel(metabolite="Glx").values[healthy])
    levels = np.array([t.mm for t in TISSUES])
    assert truth.sel(metabolite="Lac").max() <= levels[:, 3].max() + 1e-12


def test_fields_are_strong_where_the_paper_says(fig9):
    bulb, center, rim = np.array([[0, 0, 9.5], [0, 0.5, 0], [6.8, -1, -2]], float)
    assert abs(b0(bulb)) > 10 > 3 > abs(b0(center))
    assert abs(b0(rim)) > abs(b0(center))
    assert 10 < np.abs(fig9.b0_hz[fig9.mask]).max() < 22  # inside what the networks are trained for
    depth = np.stack([np.zeros(20), np.linspace(4.8, -4.8, 20), np.zeros(20)], -1)
    signal = b1(depth)
    assert signal.max() == pytest.approx(1, abs=0.01)
    assert signal[-1] < 0.35
    assert (np.diff(signal[5:]) < 0).all()
    assert b1(np.array([[6.5, 0, 0]]))[0] < b1(np.array([[0.0, 0, 0]]))[0]


def test_coil_field_on_its_axis_is_that_of_a_loop(monkeypatch):
    """A circular loop of radius a: (1 + (d / a)^2)^(-3/2) on the axis (Biot-Savart)."""
    from precise_lib.simulate import rat as module

    monkeypatch.setattr(module, "COIL_SEMI_AXES_MM", (8.0, 8.0))
    d = np.array([0.0, 3.0, 8.0, 15.0])
    points = np.array(COIL_CENTER_MM) - np.stack([0 * d, d, 0 * d], -1)
    field = module._loop_field(points)
    np.testing.assert_allclose(field / field[0], (1 + (d / 8) ** 2) ** -1.5, rtol=1e-6)


def test_the_mri_shows_the_tumor_or_not_and_nothing_else_changes(model, fig9):
    erased = rat(model=model, tumor_in_mri=False)
    np.testing.assert_array_equal(erased.concentrations, fig9.concentrations)
    np.testing.assert_array_equal(erased.clean, fig9.clean)
    inside = np.indices(fig9.mri.shape)
    points = np.moveaxis(inside, 0, -1) @ fig9.mri_affine[:3, :3].T + fig9.mri_affine[:3, 3]
    tumor = tissues(points) == NUMBER["tumor"]
    assert (fig9.mri[tumor] == 1).all()
    assert erased.mri[tumor].max() < 0.6
    np.testing.assert_array_equal(erased.mri[~tumor], fig9.mri[~tumor])
    gray = prepare_mri(fig9.measure(np.inf))
    assert gray[fig9.tumors["tumor"]].min() > np.nanmedian(gray) + 0.2


def test_blurred_truth_is_what_a_fit_finds_without_noise(fig10):
    """The point spread function alone: in a homogeneous field single-voxel estimates end there, not at the truth."""
    mask, model = fig10.mask, fig10.model
    found = model.concentrations(fit_fids(fig10.noiseless()[mask], model).amplitudes)
    blurred, truth = (np.moveaxis(x.values[:, mask], 0, -1) for x in (fig10.blurred, fig10.concentrations))
    assert np.sqrt(((found - blurred) ** 2).mean()) < 0.05
    assert np.sqrt(((found - truth)[:, 3] ** 2).mean()) > 2 * np.sqrt(((found - blurred)[:, 3] ** 2).mean())


def test_noise_is_what_was_asked_for_and_neighbors_share_it(fig9):
    snr, sigma = 8.0, float(snr_to_sigma(fig9.model, 8.0))
    noise = (fig9.measure(snr, 0).fids - fig9.noiseless()) / sigma
    low, high = sd_bounds(96 * 2 * fig9.noise.encoding.n_encodings)
    assert low < noise.view(np.float32).std() < high
    shared = (noise[:-1].conj() * noise[1:]).real.mean() / 2
    assert shared == pytest.approx(3 / np.pi**2, abs=0.02)
    np.testing.assert_array_equal(fig9.measure(snr, 0).fids, fig9.measure(snr, 0).fids)
    np.testing.assert_array_equal(fig9.measure(np.inf).fids, fig9.noiseless())


def test_quantify_would_see_that_neighbors_share_noise(fig10):
    """The diagnosis that `precise quantify` warns with, on FIDs that are little but noise."""
    data = fig10.measure(0.3, 0)
    space = free_space(fig10.model, data.fids.shape[-1])
    assert Kernel.of(data.fids, data.usable, space).nearest == pytest.approx(
        fig10.noise.encoding.correlation([2.5, 0, 0]), abs=0.05
    )


def test_without_an_encoding_the_fields_are_defaults(fig10, model):
    plain = replace(fig10, clean=None, noise=None)
    expected = model.fids(plain.amplitudes * plain.b1[..., None], plain.b0_hz)
    assert np.abs(plain.noiseless(broadening_hz=0.0) - expected).max() < 1e-9
    noise = plain.measure(8.0, 0).fids - plain.measure(np.inf).fids
    assert abs((noise[:-1].conj() * noise[1:]).real.mean()) < 0.02 * (np.abs(noise) ** 2).mean()
    assert not np.allclose(plain.noiseless(), plain.noiseless(b0_hz=np.zeros(plain.mask.shape)))
    np.testing.assert_allclose(plain.noiseless(b0_hz=0 * plain.b0_hz, b1=0 * plain.b1), 0)


def test_cropped_it_stays_the_same_animal(fig9):
    region = fig9.tumors["tumor"]
    part = fig9.crop(region)
    box = tuple(slice(i.min(), i.max() + 1) for i in np.nonzero(region))
    np.testing.assert_array_equal(part.mask, region[box])
    np.testing.assert_array_equal(part.measure(9.0, 4).fids, fig9.measure(9.0, 4).fids[box])
    np.testing.assert_array_equal(part.b0_hz, fig9.b0_hz[box])
    np.testing.assert_array_equal(part.blurred.values[:, part.mask], fig9.blurred.values[:, region])
    origin = fig9.affine @ [*(s.start for s in box), 1]
    np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], origin)
    assert pickle.loads(pickle.dumps(part)).mask.sum() == region.sum()  # joblib sends it to other processes


def test_the_ring_phantom_knows_nothing_of_this():
    phantom = rings()
    assert (phantom.b0_hz, phantom.b1, phantom.clean, phantom.noise, phantom.blurred) == (None,) * 5


def test_snr_goes_with_volume_and_the_root_of_averages():
    assert snr_of(2.0, 8) == ANCHOR_SNR
    assert snr_of(15.625, 4) == pytest.approx(2 * snr_of(15.625, 1))
    assert snr_of(4.0, 8) == pytest.approx(2 * snr_of(2.0, 8))


def test_measured_water_has_the_snr_of_the_anchor(fig9):
    """Height of the water peak over the noise at the coil's best place: b1 times `snr_of`, less what B0 takes."""
    from precise_lib.signal.model import spectrum

    snr = snr_of(2.0, 8)
    best = np.unravel_index(np.argmax(fig9.b1 * fig9.mask), fig9.mask.shape)
    height = np.abs(spectrum(fig9.noiseless()[best])).max()
    noise = spectrum(fig9.measure(snr, 0).fids - fig9.noiseless())
    measured = height / noise.real.std()
    assert measured == pytest.approx(snr * fig9.b1[best], rel=0.12)


@pytest.mark.parametrize("wrong", [
    {"matrix": (22, 11)}, {"field_of_view_mm": (22, 22, 0)},
    {"model": SignalModel(Acquisition(64, 1e-3, 76.7), (Resonance("water", 4.7, 0.02),))},
])  # fmt: skip
def test_what_makes_no_sense_is_an_error(wrong):
    with pytest.raises(InputError):
        rat(**wrong)


def test_other_errors(fig9):
    with pytest.raises(InputError, match="positive"):
        snr_of(0, 1)
    with pytest.raises(InputError, match="own fields"):
        fig9.measure(10.0, b0_hz=np.zeros(fig9.mask.shape))
