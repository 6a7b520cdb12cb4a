"""The shipped networks: found, at the bound, right without noise."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import catalog
from precise_lib.estimate.weights import Sve, find_weights, load_weights
from precise_lib.evaluate.crlb import numeric
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import (
    AMPLITUDES,
    SHIPPED,
    has_certified_weights,
    has_shipped_weights,
    noisy_fids,
    sd_bounds,
)

needs_certified = pytest.mark.skipif(not has_certified_weights(), reason=f"data/weights has no certified {SHIPPED}")
needs_weights = pytest.mark.skipif(not has_shipped_weights(), reason=f"the weights {SHIPPED} are not in data/weights")


# the shipped networks


@needs_weights
def test_shipped_weights_have_cards_and_are_found():
    assert find_weights(dmi_11t7().acquisition) == SHIPPED
    for name in (entry.path.stem for entry in catalog.shipped()):
        network = load_weights(name)
        assert network.name == name
        assert network.card.sha256 == network.hash
        assert network.card.accuracy
        assert network.card.wall_time_s > 0
        assert network.card.machine
    with pytest.raises(InputError, match="No network fits 999 points"):
        find_weights(Acquisition(999, 1e-3, 76.7))
    assert Sve().amplitudes(noisy_fids(n=2)[0], dmi_11t7()).shape == (2, 4)


@needs_certified
@pytest.mark.parametrize("snr", [8, 12, 35])
def test_shipped_network_attains_the_bound(snr):
    """All four lines under random phase and shift; with this N a ratio above 1.1 or below 0.9 cannot hide."""
    n, model = 5000, dmi_11t7()
    low, high = sd_bounds(n, tests=12, risk=1e-3)
    assert 1.1 * low > 1.05
    assert 0.9 * high < 0.95
    fids, sigma = noisy_fids(model, snr, n, seed=100 + snr, max_shift_hz=12)
    estimate = Sve().amplitudes(fids, model)
    bound = numeric(model, AMPLITUDES, sigma)
    ratio = estimate.std(0, ddof=1) / bound
    assert (ratio > 0.93).all(), ratio
    assert (ratio < 1.07).all(), ratio
    bias = np.abs(estimate.mean(0) - AMPLITUDES)
    allowed = (0.01 if snr >= 12 else 0.03) * AMPLITUDES + 3 * bound / np.sqrt(n)
    assert (bias < allowed).all(), bias / AMPLITUDES


@needs_certified
@pytest.mark.parametrize(("shift", "broad"), [(0, 0), (18, 0), (-18, 5), (0, 15), (7, -4)])
def test_shipped_network_is_right_without_noise(shift, broad):
    rng = np.random.default_rng(0)
    amplitudes = np.column_stack([np.ones(50), rng.uniform(0, 1, (50, 3))])
    fids = dmi_11t7().fids(amplitudes, shift, broad, rng.uniform(-3, 3, 50))
    error = Sve().amplitudes(fids.astype(np.complex64), dmi_11t7()) - amplitudes
    assert np.abs(error).max() < 0.02
    assert np.sqrt((error**2).mean()) < 0.006


@needs_certified
def test_shipped_network_follows_an_amplitude_in_proportion():
    """Lactate from none to plenty: slope one, no offset."""
    lac = np.linspace(0, 0.6, 25)
    amplitudes = np.tile(AMPLITUDES, (25, 1))
    amplitudes[:, 3] = lac
    estimate = Sve().amplitudes(dmi_11t7().fids(amplitudes).astype(np.complex64), dmi_11t7())[:, 3]
    slope, offset = np.polyfit(lac, estimate, 1)
    assert slope == pytest.approx(1, abs=0.015)
    assert offset == pytest.approx(0, abs=0.003)
