"""Lines as real data have them: widths of their own, second lines, lipid, a hump, shifts near a known place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.least_squares import _Terms
from precise_lib.estimate.sampling import Sampler
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.evaluate.closed_form import sve_covariance
from precise_lib.evaluate.crlb import numeric
from precise_lib.signal.information import covariance, fisher, jacobian
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Resonance
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES, mean_bound, sd_bounds

PLAIN = dmi_11t7()
DOUBLET = ((3.71, 0.5, 0, 0), (3.88, 0.5, 0, 0))
AMOUNT = {"lipid": 0.2, "hump": 0.4}
LIPID, HUMP = Resonance("lipid", 1.3, 0.008, "baseline"), Resonance("hump", 2.5, 0.002, "baseline")


def changed(*more, lineshape="lorentzian", dead_time_s=0.0, **lines) -> SignalModel:
    """The phantom's model with fields of its lines changed, and lines added."""
    resonances = tuple(replace(r, **lines.get(r.name, {})) for r in PLAIN.resonances)
    acquisition = replace(PLAIN.acquisition, dead_time_s=dead_time_s)
    return SignalModel(acquisition, (*resonances, *more), lineshape=lineshape)


def everything() -> SignalModel:
    return changed(
        replace(LIPID, role="lipid"),
        HUMP,
        lineshape="voigt",
        dead_time_s=4e-4,
        Glc={"lines": DOUBLET, "shift_sd_hz": 2.0, "width_sd_hz": 3.0},
        Glx={"t2star_s": 0.014},
        Lac={"shift_sd_hz": 1.0},
    )


def at_random(model, n, seed=0):
    """Amplitudes (n, M) and parameters by name, (n,) each, none of them zero."""
    rng, m = np.random.default_rng(seed), len(model.names)
    values = np.column_stack([rng.normal(0, 3, n), rng.normal(0, 1, n), rng.normal(0, 1, n)])
    more = {"gaussian_hz": rng.uniform(2, 7, n), "offset_hz": rng.normal(0, 3, n)}
    nuisance = dict(zip(model.common[:3], values.T, strict=True))
    for name in model.common[3:]:
        nuisance[name] = more[name] if name in more else rng.normal(0, model.own[name][2], n)
    return rng.uniform(0.2, 1, (n, m)), nuisance


def test_every_slope_is_that_of_finite_differences():
    model = everything()
    amplitudes, nuisance = at_random(model, 3)
    slopes, m, step = jacobian(model, amplitudes, **nuisance), len(model.names), 1e-5
    for j, name in enumerate([*model.names, *model.common]):
        moved = []
        for sign in (1, -1):
            a, other = amplitudes.copy(), dict(nuisance)
            if j < m:
                a[:, j] += sign * step
            elif name == "gaussian_hz":  # by its square
                other[name] = np.sqrt(other[name] ** 2 + sign * step)
            else:
                other[name] = other[name] + sign * step
            moved.append(model.fids(a, **other))
        expected = (moved[0] - moved[1]) / (2 * step)
        np.testing.assert_allclose(slopes[:, j], expected, atol=1e-7 * np.abs(expected).max(), err_msg=name)


def test_a_line_that_is_wide_by_its_gaussian_width_alone_bounds_nothing():
    """Without a Lorentzian width of its own it left no room for voxels that are narrower than the model: bias 1.3 %."""
    hump = Resonance("hump", 3.0, 10.0, "baseline", ((3.0, 1.0, 0.0, 300.0),))
    model = replace(dmi_11t7(), resonances=(*dmi_11t7().resonances, hump))
    truth, broad = [1.0, 0.25, 0.35, 0.2, 0.5], np.array([-8.0, -3.0, 0.0, 5.0])
    fit = fit_fids(model.fids(np.tile(truth, (4, 1)), 5.0, broad), model)
    assert fit.converged.all()
    np.testing.assert_allclose(fit.broadening_hz, broad, atol=1e-4)
    np.testing.assert_allclose(fit.amplitudes, np.tile(truth, (4, 1)), atol=1e-5)


def test_the_moments_of_the_fit_are_the_fisher_matrix_and_gradient():
    model, rng = everything(), np.random.default_rng(1)
    amplitudes, nuisance = at_random(model, 5)
    p = np.column_stack([amplitudes, *(nuisance[name] for name in model.common)])
    p[:, len(model.names) + model.common.index("gaussian_hz")] **= 2
    clean, terms = model.fids(amplitudes, **nuisance), _Terms(model)
    x = clean + 0.1 * (rng.standard_normal(clean.shape) + 1j * rng.standard_normal(clean.shape))
    normal, gradient = terms.normal(p, *terms.moments(x.conj(), p))
    slopes = jacobian(model, amplitudes, **nuisance)
    expected = fisher(slopes)
    np.testing.assert_allclose(normal, expected, atol=1e-12 * np.abs(expected).max())
    expected = np.einsum("vat,vt->va", slopes.conj(), x - clean).real
    np.testing.assert_allclose(gradient, expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize(
    "model",
    [
        changed(Glc={"t2star_s": 0.012}, Glx={"t2star_s": 0.015}, Lac={"t2star_s": 0.025}),
        changed(Glc={"lines": DOUBLET}),
        changed(LIPID),
        changed(HUMP),
        changed(lineshape="voigt"),
        changed(Glc={"shift_sd_hz": 2.0}, Lac={"shift_sd_hz": 2.0}),
        changed(Glc={"width_sd_hz": 3.0}),
        changed(LIPID, HUMP, lineshape="voigt", dead_time_s=6e-4, Glc={"lines": DOUBLET, "shift_sd_hz": 2.0}),
    ],
    ids=["t2star", "doublet", "lipid", "hump", "voigt", "shifts", "width", "together"],
)
class TestRightModel:
    """With the model that made the data a fit has no bias, and the SD of its bound."""

    def truth(self, model, n, seed):
        """Amplitudes (M,) and parameters drawn from what the model knows of them."""
        rng = np.random.default_rng(seed)
        a = np.array([*AMPLITUDES, *(AMOUNT[name] for name in model.names[4:])])
        nuisance = {name: rng.normal(0, sd, n) for name, (_, _, sd) in model.own.items()}
        nuisance |= {"gaussian_hz": np.full(n, 10.0)} if "gaussian_hz" in model.common else {}
        return a, nuisance | {"shift_hz": rng.uniform(-15, 15, n), "phase_rad": rng.uniform(-3, 3, n)}

    def test_exact_without_noise(self, model):
        a, nuisance = self.truth(model, 20, 0)
        fit = fit_fids(model.fids(np.tile(a, (20, 1)), **nuisance), model)
        np.testing.assert_allclose(fit.amplitudes, np.tile(a, (20, 1)), atol=2e-3)
        for name, value in nuisance.items():
            if name != "phase_rad":
                np.testing.assert_allclose(fit.nuisance(model)[name], value, atol=0.05, err_msg=name)

    def test_no_bias_and_the_sd_of_the_bound(self, model):
        n = 2000
        a, nuisance = self.truth(model, n, 1)
        sigma = float(snr_to_sigma(model, 60.0))
        x = add_noise(model.fids(np.tile(a, (n, 1)), **nuisance), sigma, np.random.default_rng(2))
        fit = fit_fids(x.astype(np.complex64), model)
        error = (fit.amplitudes - a)[:, :4]
        known = {name: value[:1] for name, value in nuisance.items() if name not in model.own}
        bound = numeric(model, a[None], np.array([sigma]), **known)[0, :4]
        low, high = sd_bounds(n, tests=32)
        ratio = error.std(0, ddof=1) / bound
        assert (ratio > low - 0.03).all(), ratio  # the bound is that at the center of the priors, to first order
        assert (ratio < high + 0.03).all(), ratio
        assert (np.abs(error.mean(0)) < 0.01 * a[:4] + mean_bound(n, tests=32) * bound).all(), error.mean(0)
        assert fit.converged.mean() > 0.99
        assert np.median(fit.sigma) == pytest.approx(sigma, rel=0.02)

    def test_the_bound_of_many_voxels_is_that_of_one(self, model):
        a, nuisance = self.truth(model, 3, 3)
        each = np.sqrt(np.einsum("vkk->vk", sve_covariance(model, np.tile(a, (3, 1)), 0.03, **nuisance)))
        np.testing.assert_allclose(each, numeric(model, np.tile(a, (3, 1)), np.full(3, 0.03), **nuisance), rtol=1e-6)


def test_a_prior_lies_between_knowing_a_shift_and_not():
    """No prior: the plain bound; a wide one: that of a free shift; between: a Gaussian's product, in closed form."""
    sigma, a = 0.05, AMPLITUDES
    bounds = [
        numeric(changed(LIPID, Lac={"shift_sd_hz": sd}) if sd else changed(LIPID), [*a, 0.2], sigma)[3]
        for sd in (0.0, 1e-4, 1.0, 10.0, 1e4)
    ]
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-6)
    assert (np.diff(bounds[1:]) > 0).all()
    model = changed(LIPID, Lac={"shift_sd_hz": 1e6})
    free = covariance(model, [*a, 0.2], sigma)
    at, k = len(model.names) + len(model.common) - 1, 3
    for sd, found in ((1.0, bounds[2]), (10.0, bounds[3])):
        expected = free[k, k] - free[k, at] ** 2 / (free[at, at] + sd**2)
        assert found == pytest.approx(np.sqrt(expected), rel=1e-3)


def test_targets_of_the_training_have_the_bound_as_their_covariance():
    """At one shift, width and noise: what an efficient estimator makes of lines that move by their priors."""
    model = changed(LIPID, Lac={"shift_sd_hz": 3.0}, Glc={"width_sd_hz": 4.0})
    fixed = {"water": (1.0, 1.0), "Glc": (0.25, 0.25), "Glx": (0.3, 0.3), "Lac": (0.1, 0.1), "lipid": (0.2, 0.2)}
    config = replace(
        TrainConfig(signal_model=model, amplitude_range=fixed, noiseless_share=0.0),
        shift_range_hz=(0.0, 0.0), broadening_range_hz=(0.0, 0.0), snr_range=(40.0, 40.0),
    )  # fmt: skip
    sampler, generator = Sampler(config), torch.Generator().manual_seed(0)
    draws = [sampler.draw_efficient(1024, generator, lambda fids: fids) for _ in range(4)]
    targets = torch.cat([target for _, target, _ in draws]).double().numpy()
    sigma = float(draws[0][2][0])
    a = np.array([r[0] for r in fixed.values()])
    ratio = (targets - a).std(0) / numeric(model, a, sigma)
    np.testing.assert_allclose(ratio, 1, atol=0.06)  # shift and width are shared by four draws each
    fids, amplitudes, _ = sampler.draw(64, generator)
    fit = fit_fids(fids.numpy(), model)
    np.testing.assert_allclose(fit.amplitudes[:, :3], amplitudes[:, :3], atol=2e-3)


def test_terms_that_a_model_lacks_change_neither_its_name_nor_its_fids():
    assert changed().hash == PLAIN.hash
    model = everything()
    assert SignalModel.from_dict(model.to_dict()) == model
    with pytest.raises(TypeError, match="has no shift_hz_Glc"):
        PLAIN.fids(AMPLITUDES, shift_hz_Glc=1.0)
