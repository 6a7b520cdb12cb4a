"""Coverage of 95 % intervals behind the filters of a scanner: fit, SVE and PRECISE, on one homogeneous object."""

import numpy as np
import pytest

from precise_lib.estimate import choose
from precise_lib.estimate.fit import Fit
from precise_lib.estimate.noise_model import Noise
from precise_lib.estimate.precise import Precise
from precise_lib.estimate.weights import Sve, load_weights
from precise_lib.evaluate import closed_form
from precise_lib.quantify.errors import ErrorModel
from precise_lib.quantify.estimates import Smoothing, estimate
from precise_lib.quantify.repetition import repeated
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from tests.estimate.test_noise_model import digital_filter, white, windowed
from tests.helpers import AMPLITUDES, SHIPPED, has_shipped_weights

MODEL = dmi_11t7()
SNR = 14
TRUTH = 10 * AMPLITUDES[1:]


def zero_filled(x):
    """Twice the voxels along each axis of more than one, the same SD."""
    for axis in (0, 1, 2):
        n = x.shape[axis]
        if n > 1:
            k = np.fft.fftshift(np.fft.fft(x, axis=axis), axes=axis)
            k = np.pad(k, [(n // 2, n - n // 2) if a == axis else (0, 0) for a in range(x.ndim)])
            x = 2 * np.fft.ifft(np.fft.ifftshift(k, axes=axis), axis=axis)
    return x


NOISE = {
    "white": lambda seed: white((14, 14, 4), seed=seed),
    "Hamming window": lambda seed: windowed(white((14, 14, 4), seed=seed)),
    "zero filling": lambda seed: zero_filled(white((10, 10, 3), seed=seed)),
    "digital 60 %": lambda seed: digital_filter(white((14, 14, 4), seed=seed), 0.6),
    "digital 30 %": lambda seed: digital_filter(white((14, 14, 4), seed=seed), 0.3),
    "receive profile": lambda seed: white((14, 14, 4), seed=seed) * np.linspace(0.5, 1.3, 14)[:, None, None, None],
}


def measured(name, seed, snr=SNR) -> Series:
    """One object with a smooth shift, under an MRI of one level; every voxel is inside."""
    noisy = NOISE[name](seed)
    shape = noisy.shape[:3]
    shift = 6 * np.cos(np.indices(shape)[0] / 5)
    fids = MODEL.fids(np.tile(AMPLITUDES, (*shape, 1)), shift, 0.0, 0.4) + snr_to_sigma(MODEL, snr) * noisy
    return Series.of(MRSI(fids.astype(np.complex64), MODEL, mri=np.full(shape, 1.0), mri_affine=np.eye(4)))


def scored(series, single, smooth: bool):
    """Error over stated SD, (V, 3)."""
    known = estimate(series, single, noise=Noise.of(series))
    prior = Smoothing.of(Precise(base="fit").smoother, series) if smooth else None
    errors = ErrorModel(known, prior)
    settings = [0.01] * 4 if smooth else None
    maps = errors.smoothing.concentrations(known.amplitudes, settings) if smooth else None
    maps = MODEL.concentrations(known.amplitudes) if maps is None else maps
    return (maps[:, 1:] - TRUTH) / errors.closed_form(settings).sd[:, 1:]


def assert_normal(z, name, smooth):
    """Errors over their SD: coverage and root mean square within three standard errors of their number.

    A window or zero filling leaves one independent voxel in nine, the prior one in four of these.
    """
    n = z.size / (9 if name in ("Hamming window", "zero filling") else 1) / (4 if smooth else 1)
    assert (np.abs(z) < 1.96).mean() == pytest.approx(0.95, abs=0.01 + 3 * np.sqrt(0.95 * 0.05 / n))
    assert np.sqrt((z**2).mean()) == pytest.approx(1, abs=0.02 + 3 / np.sqrt(2 * n))


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("name", NOISE)
def test_intervals_of_the_fit_and_its_prior_hold(name, smooth):
    """Where noise was taken for white and independent, they covered 67 to 85 %."""
    assert_normal(scored(measured(name, 1), Fit(), smooth), name, smooth)


@pytest.mark.skipif(not has_shipped_weights(), reason="the shipped weights are not here")
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize("name", ["Hamming window", "digital 30 %"])
def test_intervals_of_the_network_and_its_prior_hold(name, smooth):
    assert_normal(scored(measured(name, 3), Sve(load_weights(SHIPPED)), smooth), name, smooth)


@pytest.mark.parametrize("name", ["Hamming window"])
def test_repetition_draws_the_noise_that_was_measured(name):
    """SD by repeating the chain against the closed form; white noise would make it .55 of that."""
    series = measured(name, 1, 40)
    known = estimate(series, Fit(), noise=Noise.of(series))
    errors = ErrorModel(known, Smoothing.of(Precise(base="fit").smoother, series))
    closed = errors.closed_form([0.01] * 4).sd[:, 1:]
    drawn = repeated(errors, None, 25, 0, [0.01] * 4).sd[:, 1:]
    assert np.sqrt((drawn**2).mean() / (closed**2).mean()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("name", "off"), [("white", 0.0), ("Hamming window", 0.25), ("digital 30 %", 0.7)])
def test_steins_estimate_is_that_of_the_noise_as_it_is(name, off):
    """Estimated risk against the true one at lambda .02, units of the variance; else off by so much or more.

    Over two sets and three metabolites; 1 / sqrt(87 x 6) independent voxels leave .06 standard error behind a window.
    """
    found = []
    for seed in (5, 6):
        series = measured(name, seed)
        errors = ErrorModel(estimate(series, Fit(), noise=Noise.of(series)))
        prior = Smoothing.of(Precise(base="fit").smoother, series).groups[0][0]
        amplitudes, lams = errors.estimates.amplitudes, [0.0, 0.005, 0.01, 0.02]
        plain = closed_form.sve_covariance(MODEL, amplitudes, errors.noise.level)
        for covariance, shared in ((errors.covariance, errors.correlate(prior, [0])), (plain, None)):
            sd = closed_form.closed_form(MODEL, amplitudes, covariance).sd / 10
            truth = np.tile(AMPLITUDES, (len(sd), 1))
            found.append(choose.curves(prior.make, amplitudes, 0, sd, lams, truth=truth, correlate=shared))
    right, wrong = (np.mean([(c.stein - c.error2)[-1, 1:] for c in found[k::2]]) for k in (0, 1))
    assert right == pytest.approx(0, abs=0.12)
    assert abs(wrong) >= off - 0.12
