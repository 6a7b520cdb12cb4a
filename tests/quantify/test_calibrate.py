"""The data set teaches its signal model: ideal data change nothing, each mismatch is named, what can be taught is."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2, norm

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.noise_model import Noise
from precise_lib.quantify import calibrate as module
from precise_lib.quantify import flags, mismatch, pooled, residuals
from precise_lib.quantify.learn import Teacher
from precise_lib.quantify.terms import Term, changed, slopes, terms
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.imperfections import IMPERFECTIONS, simulate

MODEL = dmi_11t7()
VOXELS, TRUTH = 400, np.array([1.0, 0.25, 0.35, 0.2])


def data(*found, snr=12.0, seed=0, voxels=VOXELS):
    """FIDs (V, t) of one tissue whose frequency varies by 6 Hz, and the model that they follow."""
    shift = 6 * np.sin(np.arange(voxels)).reshape(-1, 1, 1)
    made = simulate(found, MODEL, np.broadcast_to(TRUTH, (voxels, 1, 1, 4)), snr, seed, shift, phase_rad=0.4)
    return made.fids.reshape(voxels, -1), made.right


def calibrate(fids, model, only=None):
    """As of a data set, with its noise."""
    grid = MRSI(fids.reshape(-1, 12, 1, fids.shape[-1]) if len(fids) % 12 == 0 else fids[:, None, None], model)
    return module.calibrate(fids, model, Noise.of(Series.of(grid)), only)


def bias(fids, model) -> np.ndarray:
    """Of the mean concentrations but water, in % of each."""
    mean = model.concentrations(fit_fids(fids, model).amplitudes)[:, 1:4].mean(0)
    return 100 * (mean / (10 * TRUTH[1:]) - 1)


@pytest.mark.parametrize("snr", [12, 30])
def test_ideal_data_teach_nothing(snr):
    for seed in range(3):
        found = calibrate(data(snr=snr, seed=seed)[0], MODEL)
        assert found.model is MODEL
        assert not found.terms
        assert found.before.is_noise
        assert found.reason is None
        # the strongest of a chi-square with two degrees of freedom over some 500 places, see the flags
        assert found.before.power < 26


def test_the_score_is_chi_square_where_there_is_nothing_to_learn():
    found, scores = terms(MODEL), []
    for seed in range(12):
        fids = data(seed=seed, voxels=150)[0].astype(complex)
        teacher = Teacher(fids, MODEL, float(snr_to_sigma(MODEL, 12)))
        at = teacher.normal(fit_fids(fids, MODEL), found, np.zeros(len(found)))
        scores.append(at.gradient @ np.linalg.solve(at.information, at.gradient) / teacher.sigma**2)
    low, high = chi2.ppf([1e-4, 1 - 1e-4], 12 * len(found))
    assert low < sum(scores) < high


@pytest.mark.parametrize("snr", [12, 30])
@pytest.mark.parametrize(
    ("name", "size"),
    [(n, IMPERFECTIONS[n].sizes[-1]) for n in ("dead time", "T2* per line", "lineshape", "line shifts", "second line")]
    + [("lipid", 0.2), ("hump", 4.0), ("offset", 0.01)],
)
def test_each_mismatch_is_seen_and_named(name, size, snr):
    fids, _ = data((name, size), snr=snr)
    fit = fit_fids(fids, MODEL)
    seen = pooled.pool(fids, fit, MODEL)
    assert not seen.is_noise
    assert mismatch.likeliest(seen, MODEL, fit).name == name


def test_single_voxels_do_not_see_what_the_pool_sees():
    fids, _ = data(("T2* per line", 0.4))
    fit = fit_fids(fids, MODEL)
    assert pooled.pool(fids, fit, MODEL).p < 1e-15
    rest = residuals.residual(fids, fit, MODEL)
    p = residuals.residual_p(rest, MODEL, np.full(len(fids), snr_to_sigma(MODEL, 12)), 10_000)
    assert (p < flags.FALSE_ALARM).mean() < 0.02


TAUGHT = [("dead time", 0.3), ("dead time", 1.0), ("T2* per line", 0.4), ("T2* per line", 0.1), ("lineshape", 15.0)]
TAUGHT += [("line shifts", 4.0), ("second line", 0.17)]


@pytest.mark.parametrize(("name", "size"), TAUGHT)
def test_what_can_be_taught_is(name, size):
    """At an SNR of 300 the mean of 60 voxels is known to .2 %; what is left is the calibration's."""
    fids, _ = data((name, size), snr=300, voxels=60)
    assert np.abs(bias(fids, MODEL)).max() > 2
    found = calibrate(fids, MODEL)
    assert np.abs(bias(fids, found.model)).max() < 0.5
    was, now = (1 + bias(fids, model) / 100 for model in (MODEL, found.model))
    assert np.allclose(found.moved[1:], now / was - 1, atol=2e-3)


def test_the_dead_time_is_estimated_with_its_standard_error():
    only, estimates = [Term("dead time")], []
    for seed in range(3):
        found = calibrate(data(("dead time", 0.6), seed=seed)[0], MODEL, only=only)
        estimates.append((found.values[0] - 6e-4) / np.sqrt(found.covariance[0, 0]))
        assert 2e-6 < np.sqrt(found.covariance[0, 0]) < 3e-5
    assert np.abs(np.mean(estimates)) < norm.isf(1e-4) / np.sqrt(3)


@pytest.mark.parametrize(("name", "size"), [("lipid", 0.05), ("lipid", 0.2), ("hump", 4.0), ("offset", 0.01)])
def test_what_cannot_be_taught_is_named_and_nothing_changed(name, size):
    found = calibrate(data((name, size), snr=30)[0], MODEL)
    assert found.model is MODEL
    assert found.reason.name == name


def test_artifacts_of_a_few_voxels_teach_nothing():
    fids, _ = data()
    fids[:20] += simulate([("lipid", 2.0)], MODEL, np.broadcast_to(TRUTH, (20, 1, 1, 4)), np.inf).fids.reshape(20, -1)
    found = calibrate(fids, MODEL)
    assert found.model is MODEL
    assert found.reason is None


@pytest.mark.parametrize(("name", "size"), [("Hamming filter", 1.0), ("zero filling", 2.0), ("digital filter", 0.6)])
def test_noise_that_is_not_independent_is_no_signal(name, size):
    grid = np.broadcast_to(TRUTH, (12, 12, 4, 4))
    for seed in range(2):
        made = simulate([(name, size)], MODEL, grid, 12, seed)
        found = calibrate(made.fids.reshape(-1, 512), MODEL)
        assert found.model is MODEL
        assert found.reason is None


def test_slopes_are_those_of_the_model():
    found, values = terms(MODEL, split=1), np.zeros(11)
    values[found.index(Term("splitting", 1))], values[0] = 100.0, 3e-4
    by_term = slopes(MODEL, found, values)
    for k, step in enumerate((1e-6, 1.0, 0.01, 0.01, 1.0)):
        up, down = values.copy(), values.copy()
        up[k] += step
        down[k] -= step * (values[k] > 0 or found[k].kind in ("frequency", "width"))
        central = (changed(MODEL, found, up).basis() - changed(MODEL, found, down).basis()) / (up[k] - down[k])
        assert np.allclose(by_term[k], central, atol=0.02 * np.abs(central).max())


def test_a_model_with_two_lines_of_a_metabolite_keeps_them():
    glc = replace(MODEL.resonances[1], lines=((3.71, 0.5, 0, 0), (3.88, 0.5, 0, 0)))
    two = replace(MODEL, resonances=(MODEL.resonances[0], glc, *MODEL.resonances[2:]))
    moved = changed(two, [Term("frequency", 1), Term("gaussian", 1)], [76.7 * 0.1, 9.0])
    assert np.allclose([row[0] for row in moved.resonances[1].lines], [3.81, 3.98])
    assert all(row[3] == 3.0 for row in moved.resonances[1].lines)


def test_too_little_to_learn_from():
    with pytest.raises(InputError, match="have enough signal"):
        calibrate(data(voxels=5)[0], MODEL)
