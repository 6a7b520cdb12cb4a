"""Measurements of 31P and 129Xe that travel with the project, by the signal models beside them.

Expected are the results of another tool (pyAMARES 0.3.28, with the prior knowledge of the 31P example), and
for 129Xe a fit by SciPy of its model, in which every line is free between bounds, none of them reached.
"""

import numpy as np
from scipy.optimize import least_squares

from precise_lib.estimate.fit import fit_fids
from precise_lib.evaluate.closed_form import sve_covariance
from precise_lib.io import measurements, nifti_mrs
from precise_lib.io.lines import read_signal_model
from precise_lib.quantify import quantify, result

# amplitude over PCr, and its CRLB in percent
PHOSPHORUS = {
    "bATP": (0.628, 3.7), "aATP": (0.710, 2.8), "gATP": (0.703, 2.7), "PE": (0.505, 2.7), "GPC": (0.304, 4.2),
    "GPE": (0.191, 6.6), "Pi": (0.186, 8.8), "Pex": (0.062, 31), "PC": (0.069, 18), "NAD": (0.102, 19),
    "UDPG": (0.015, 109),
}  # fmt: skip


def fitted(name, max_shift_hz):
    path = measurements.fetch(name)
    stored = nifti_mrs.open_mrsi(path)
    model, fids = read_signal_model(path.parent / "lines.yaml", stored.acquisition), stored.fids.reshape(1, -1)
    return model, fids[0], fit_fids(fids, model, max_shift_hz)


def bound(model, fit):
    return np.sqrt(np.diag(sve_covariance(model, fit.amplitudes, fit.sigma, **fit.nuisance(model))[0]))


def test_phosphorus_is_within_one_bound_of_the_other_tool():
    model, _, fit = fitted("in_vivo_31p_7t", 15.0)
    assert fit.converged.all()
    amplitudes, sd = fit.amplitudes[0] / fit.amplitudes[0, 0], bound(model, fit) / fit.amplitudes[0, 0]
    for name, (theirs, percent) in PHOSPHORUS.items():
        k = model.index(name)
        assert abs(amplitudes[k] - theirs) < sd[k], name
        assert sd[k] < 1.2 * theirs * percent / 100, name


def test_xenon_is_within_one_bound_of_a_fit_with_every_line_free():
    model, fid, fit = fitted("in_vivo_129xe", 100.0)
    t, mhz = model.acquisition.time_s, model.acquisition.spectrometer_frequency_mhz
    unit = np.abs(fid).max()

    def residual(p):
        a, ppm, width, phase = p[:3], p[3:6], p[6:9], p[[9, 10, 10]]
        rest = fid / unit - (a * np.exp(1j * phase)) @ np.exp((2j * np.pi * ppm * mhz - np.pi * width)[:, None] * t)
        return np.concatenate([rest.real, rest.imag])

    low = [0, 0, 0, -5, 192, 200, 1, 1, 1, -7, -7]
    high = [9, 9, 9, 5, 205, 215, 400, 400, 400, 7, 7]
    starts = [[1, 0.5, 0.3, 0, 196, 205, 10, 200, 200, phase, phase] for phase in (-1.5, 0, 1.5)]
    free = min((least_squares(residual, s, bounds=(low, high)) for s in starts), key=lambda found: found.cost)
    found = fit.nuisance(model)
    print(free.x, free.cost, fit.amplitudes, bound(model, fit), fit.sigma, {k: float(v[0]) for k, v in found.items()})
    assert (np.abs(fit.amplitudes[0] / unit - free.x[:3]) < bound(model, fit) / unit).all()
    ppm = [r.ppm + (found["shift_hz"][0] + found.get(f"shift_hz_{r.name}", [0])[0]) / mhz for r in model.resonances]
    np.testing.assert_allclose(ppm, free.x[3:6], atol=1.0)
    np.testing.assert_allclose(ppm, [0.06, 196.1, 204.6], atol=1.0)


def test_from_file_to_maps_in_one_call(tmp_path):
    for name, lines in (("in_vivo_31p_7t", 12), ("in_vivo_129xe", 3)):
        path = measurements.fetch(name)
        summary = quantify(path, tmp_path / name, estimator="fit", model=str(path.parent / "lines.yaml"))
        found = result.read(tmp_path / name)
        assert summary["units"] == "a.u."
        assert found.sd.shape == found.concentration.shape == (lines, 1, 1, 1)
        assert np.isfinite(found.sd).all()
