"""What the package computes, case by case: plain functions of a size ("reduced" or "full") that return results.

A result is anything made of arrays, numbers, texts, mappings, sequences, data sets and dataclasses; `flat` takes it
apart. Nothing is asserted here: `make_reference` stores the values, and what follows is compared with them.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import xarray as xr
from safetensors.torch import load_file

from . import names as n

ESTIMATORS = {
    "fourier": {},
    "fit": {},
    "sve": {"weights": True},
    "precise": {"weights": True, "lam": 0.02},
    "precise-finetune": {"weights": True, "lam": 0.02, "epochs": 3},
    "fit-diffusion": {},
    "fit-guided": {},
    "svd-fit": {},
    "mppca-fit": {},
}
AMPLITUDES = np.array([1.0, 0.25, 0.3, 0.1])
VOXELS = np.array([AMPLITUDES, 0.7 * AMPLITUDES, AMPLITUDES[[0, 3, 1, 2]]])
NUISANCE = {"shift_hz": np.array([0.0, 8.0, -5.0]), "broadening_hz": np.array([0.0, 6.0, -2.0]), "phase_rad": 0.7}
CHANGING = ("versions", "timings_s", "peak_memory_mib", "seconds")  # from run to run, or from machine to machine
# of dataclasses, came after the values were stored: at their default they say nothing
LATER = {
    "dead_time_s": 0.0,
    "repetition_time_s": None,
    "flip_angle_deg": None,
    "shift_sd_hz": 0.0,
    "width_sd_hz": 0.0,
    "t1_s": None,
    "t1_sd_s": None,
    "nuclei": None,
}
PATHS = ("dmi", "mri", "mask", "out")


def flat(value, name: str = "") -> dict[str, np.ndarray | str]:
    """Arrays and texts by name; numbers are arrays, what is none of all that is its JSON, and times are left out."""
    if isinstance(value, xr.Dataset):
        value = {k: v.values for k, v in value.data_vars.items() if "seconds" not in k}
    elif isinstance(value, xr.DataArray):
        value = value.values
    elif is_dataclass(value):
        values = {f.name: getattr(value, f.name) for f in fields(value)}
        value = {k: v for k, v in values.items() if not (k in LATER and v == LATER[k])}
    elif isinstance(value, list | tuple) and not all(isinstance(v, str) for v in value):
        value = {str(i): v for i, v in enumerate(value)}
    if isinstance(value, Mapping):
        parts = [flat(v, f"{name}/{k}" if name else str(k)) for k, v in value.items()]
        return {k: v for part in parts for k, v in part.items()}
    if isinstance(value, np.ndarray | np.generic | float):
        return {name: np.asarray(value)}
    return {name: value if isinstance(value, str) else json.dumps(value)}


# ---------------------------------------------------------------- maps of every estimator


@cache
def peer_case(name: str, size: str):
    """A peer case and its one noisy measurement; reduced, that of a box around the tumor that the MRI shows."""
    case = n.PEER_CASES[name][0]()
    phantom = case.phantom
    if size == "reduced":
        middle = np.argwhere(case.shown).mean(0).round().astype(int)
        reach = np.minimum(np.array(phantom.mask.shape) - 1, 3)
        box = np.zeros(phantom.mask.shape, bool)
        box[tuple(slice(max(0, m - r), m + r + 1) for m, r in zip(middle, reach, strict=True))] = True
        phantom = phantom.crop(box & phantom.mask)
    return case, phantom.measure(case.snr, 1)


def maps(name: str, estimator: str, size: str) -> dict:
    case, data = peer_case(name, size)
    options = ESTIMATORS[estimator]
    if options.get("weights"):
        options = options | {"weights": case.weights}
    found = n.make_estimator(estimator, **options)(data)
    assert found.shape[1:] == data.mask.shape
    return {"maps": found.values[:, data.mask], "units": found.attrs.get("units")}


# ---------------------------------------------------------------- what `precise quantify` writes

STATIC = {
    "default": {},
    "auto": {"lam": "auto"},
    "fit": {"estimator": "fit"},
    "sve": {"estimator": "sve"},
    "fourier": {"estimator": "fourier"},
    "precise montecarlo": {"estimator": "precise", "errors": "montecarlo", "repeats": 4, "seed": 3},
    "fit montecarlo": {"estimator": "fit", "errors": "montecarlo", "repeats": 4},
    "fourier montecarlo": {"estimator": "fourier", "errors": "montecarlo", "repeats": 4},
    "svd-fit montecarlo": {"estimator": "svd-fit", "errors": "montecarlo", "repeats": 3},
    "wide": {"lam": 0.05, "omega_max": 30.0},
}
DYNAMIC = {
    "default": {},
    "auto": {"lam": "auto"},
    "fit": {"estimator": "fit"},
    "sve": {"estimator": "sve"},
    "fourier": {"estimator": "fourier"},
    "precise montecarlo": {"estimator": "precise", "errors": "montecarlo", "repeats": 3},
    "sve montecarlo": {"estimator": "sve", "errors": "montecarlo", "repeats": 3},
}


@cache
def part():
    """A part of the ring phantom, 9 x 8 voxels."""
    phantom = n.rings()
    return phantom.crop(np.pad(np.ones((9, 8, 1), bool), ((12, 11), (17, 7), (0, 0))) & phantom.mask)


def write_files(folder: Path, size: str, n_frames: int) -> None:
    """dmi, mri and mask; Glc grows from frame to frame, one voxel is empty and one holds a broken number."""
    phantom = part() if size == "reduced" else n.rings(matrix=16)
    share = np.linspace(0.3, 1, n_frames)[:, None] ** (np.arange(4) == 1)
    levels = [phantom.concentrations * s[:, None, None, None] for s in share]
    sets = [replace(phantom, concentrations=c).measure(20, [5, i]) for i, c in enumerate(levels)]
    fids = np.stack([s.fids for s in sets], -1).copy()
    first, second = np.argwhere(phantom.mask)[[3, 11]]
    fids[tuple(first)], fids[tuple(second)][7] = 0, np.nan
    one = sets[0]
    model, where = phantom.model, (one.affine, one.mask, one.mri, one.mri_affine)
    n.write_mrsi(folder / "dmi.nii.gz", n.Series(fids, model, *where))
    n.write_image(folder / "mri.nii.gz", phantom.mri, phantom.mri_affine)
    n.write_image(folder / "mask.nii.gz", phantom.mask, phantom.affine)


def lasting(values):
    """A summary without what differs from run to run: times, memory, versions, and paths of files."""
    if isinstance(values, dict):
        return {k: lasting(v) for k, v in values.items() if k not in (*CHANGING, *PATHS)}
    return values


def quantify(n_frames: int, options: dict, size: str) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_files(folder, size, n_frames)
        n.quantify(*(folder / name for name in ("dmi.nii.gz", "out", "mri.nii.gz", "mask.nii.gz")), **options)
        files = sorted((folder / "out").iterdir())
        loaded = {p.name: nib.load(p) for p in files if p.name.endswith(".nii.gz")}
        images = {k: np.asarray(image.dataobj) for k, image in loaded.items()}
        summary = json.loads((folder / "out" / "summary.json").read_text().replace(str(folder), "FOLDER"))
    summary["signal_model"] = json.dumps(summary["signal_model"])
    return {
        "files": [p.name for p in files if p.name != "result.nc"],
        "summary": lasting(summary),
        "images": images,
        "affine": loaded["conc_Glx.nii.gz"].affine,
    }


# ---------------------------------------------------------------- proton spectra: denoising and networks that quantify

DENOISERS, QUANTIFIERS = ("unet1d_small", "unet1d_small_water", "unet2d_small"), ("cnn_small", "inception_small")


@cache
def spectra(size: str):
    return n.brain1h.draw(8 if size == "reduced" else 40, 77)


def denoising(name: str, size: str) -> dict:
    data, denoiser = spectra(size), n.load_denoiser(name)
    noisy, clean = (n.spectra_of(s.values, n.WINDOW) for s in (data.noisy, data.clean))
    denoised = n.denoised_spectra(denoiser, data.noisy.values)
    table = n.score_table(denoised, clean, noisy, data.snr.values, n.WINDOW)
    result = {"spectra": denoised, "scores": table, "medians": n.medians(table, (5, 40))}
    if size == "full":
        found = n.quantified(data, {name: denoiser})
        lines = [n.regression(found.truth, e, n_draws=20) for e in found.estimate.values]
        result |= {"quantified": found, "regression": lines}
    return result


def networks_quantify(size: str) -> dict:
    data = spectra(size)
    networks = {name: n.load_quantifier(name) for name in QUANTIFIERS}
    return {"compared": n.compared(data, networks, 20 if size == "reduced" else 200)}


def proton_fit(size: str) -> dict:
    data, basis = spectra(size), n.brain1h.brain_basis()
    seen = n.spectra_of(data.noisy.values, n.WINDOW)
    return {
        "free": n.fit_spectra(seen, basis, n.WINDOW, n_jobs=1),
        "not negative": n.fit_spectra(seen, basis, n.WINDOW, non_negative=True, n_jobs=1),
        "upright": n.fit_spectra(seen[:4], basis, n.WINDOW, n_jobs=1, upright=("NAA", "tCr")),
    }


def proton_bounds(size: str) -> dict:
    data, basis = spectra(size), n.brain1h.brain_basis()
    amplitudes = np.column_stack([data.concentration, data.mm, np.full(len(data.mm), n.brain1h.WATER_MM)])
    model = n.SpectrumModel(basis, n.WINDOW)
    theta = np.array([[3.0, 0.7, 9.0, 0.4]])
    return {
        "crlb": n.spectrum_crlb(basis, amplitudes, data.shim_hz.values, data.sigma.values, n.WINDOW),
        "crlb, all points": n.spectrum_crlb(basis, amplitudes[:3], data.shim_hz.values[:3], data.sigma.values[:3]),
        "state": model.evaluate(model.observe(data.noisy.values[:1].astype(complex)), theta, False),
        "to water": n.crlb_to_water(basis, data, n.WINDOW),
        "helped": n.helped(basis, data, n.WINDOW),
        "best possible": n.best_possible(basis, data, n.WINDOW),
        "efficient errors": n.efficient_errors_1h(data, n.WINDOW),
    }


# ---------------------------------------------------------------- training

SVE_SIZE = {"batch_size": 256, "iterations": 200, "checkpoint_every": 100}
SPECTRUM_SIZE = {"n_train": 60, "n_validation": 20, "batch_size": 16, "epochs": 2, "learning_rate": 5e-3}
TRAININGS = {
    "sve efficient": (n.train_sve, n.TrainConfig(network=n.NetworkConfig(bank=64, hidden=48), **SVE_SIZE)),
    "sve plain": (n.train_sve, n.TrainConfig.papers_recipe(**SVE_SIZE | {"batch_size": 32})),
    "unet1d": (n.train_denoiser, n.DenoiseConfig(n.UNet1dConfig(width=1 / 16), **SPECTRUM_SIZE)),
    "unet2d": (n.train_denoiser, n.DenoiseConfig(n.UNet2dConfig(width=2, levels=3, frames=32), **SPECTRUM_SIZE)),
    "cnn": (n.train_quantifier, n.QuantifyConfig(n.ShallowCnnConfig(width=0.02), **SPECTRUM_SIZE)),
    "inception": (n.train_quantifier, n.QuantifyConfig(n.InceptionConfig(width=0.02), **SPECTRUM_SIZE)),
}


def trained(name: str, size: str) -> dict:
    """Final weights, one after the other in the order of their names, and the losses on the card."""
    train, config = TRAININGS[name]
    if size == "reduced" and name.startswith("sve"):
        config = replace(config, iterations=20)
    with tempfile.TemporaryDirectory() as folder:
        path = train(config, folder, progress=False)
        weights, card = load_file(path), json.loads(path.with_suffix(".json").read_text())
    names = sorted(weights)
    return {
        "weights": np.concatenate([weights[k].double().numpy().ravel() for k in names]),
        "sums": np.array([weights[k].double().sum().item() for k in names]),
        "names": names,
        "losses": np.array(card["loss_history"], float),
        "config": json.dumps(card["config"]),
    }


def sampler(size: str) -> dict:
    """What trainings of the SVE network see, with the efficient errors of their Fisher matrices."""
    config = TRAININGS["sve efficient"][1]
    drawn = n.Sampler(config, "cpu")
    generators = [torch.Generator().manual_seed(4) for _ in range(2)]
    seen = drawn.draw_efficient(64, generators[0], lambda x: x)
    return {"efficient": [x.numpy() for x in seen], "plain": [x.numpy() for x in drawn.draw(64, generators[1])]}


# ---------------------------------------------------------------- closed forms and bounds


def bounds(size: str) -> dict:
    out = {}
    for model in (n.dmi_11t7(), n.dmi_3t(), n.dmi_4t(), n.dmi_7t()):
        name, sigma = str(model.acquisition.spectrometer_frequency_mhz), float(n.snr_to_sigma(model, 20.0))
        out[name] = {
            "sigma": sigma,
            "eq6": n.eq6(model, VOXELS, sigma, NUISANCE["broadening_hz"]),
            "numeric": n.numeric(model, VOXELS, sigma, **NUISANCE),
            "ratio": n.ratio_sd(model, VOXELS, sigma, **NUISANCE),
            "covariance": n.covariance(model, VOXELS, sigma, **NUISANCE),
            "jacobian": n.jacobian(model, VOXELS, **NUISANCE),
            "sve": n.sve_covariance(model, VOXELS, np.full(3, sigma), NUISANCE["broadening_hz"]),
            "efficient map": n.efficient_map(model, VOXELS, **NUISANCE),
        }
    proton = n.brain_3t()
    blind = replace(proton, resonances=proton.resonances[:5], lineshape="lorentzian")
    truth = np.linspace(0.5, 1.5, len(proton.names))[None]
    wide = {"shift_hz": 2.0, "gaussian_hz": 4.0, "offset_hz": 1.0}
    out["proton"] = {
        "covariance": n.covariance(proton, truth, 0.1, **wide),
        "ratio": n.ratio_sd(proton, truth, 0.1, **wide),
        "blind": n.blind_bias(proton, blind, truth, **wide),
    }
    return out | {"overlap": n.overlap_cost(n.dmi_11t7(), AMPLITUDES, [8.0, 16.0, 30.0])}


def prior_errors(size: str) -> dict:
    """Closed forms of the MRI prior on a part of the phantom."""
    phantom = part() if size == "reduced" else n.rings()
    model, data = phantom.model, phantom.measure(20, 2)
    truth, sigma = phantom.amplitudes[phantom.mask], float(n.snr_to_sigma(phantom.model, 20))
    weights = n.edge_weights(n.prepare_mri(data))
    solver, covariance = n.ExactSolver(weights, 0.02), n.sve_covariance(model, truth, sigma)
    fit = n.fit_fids(data.fids[phantom.mask], model)
    sd = n.ratio_sd(model, truth, sigma)
    encoding = n.Encoding(phantom.mask.shape, [5.0 * k for k in phantom.mask.shape])
    few = np.zeros(phantom.mask.shape, bool)
    few[tuple(np.argwhere(phantom.mask)[:60].T)] = True
    shared = n.correlation_matrix(encoding, few)
    few_solver = n.ExactSolver(n.edge_weights(np.where(few, n.prepare_mri(data), np.nan)), 0.02)
    curves = n.lambda_curves(weights, fit.amplitudes, 0, sd)
    return {
        "weights": weights.toarray() if size == "reduced" else weights.data,
        "alone": n.closed_form(model, truth, covariance),
        "prior": n.closed_form(model, fit.amplitudes, covariance, solver),
        "each": n.closed_form(model, truth, covariance, n.lambda_solvers(weights, [0.01, 0.01, 0.03, 0.1])),
        "squares": n.diagonal_and_squares(solver, covariance[:, :, 1]),
        "curves": {f.name: getattr(curves, f.name) for f in fields(curves)},
        "lesions": n.lesions_left(weights, phantom.mask, truth[:, 0], {"Glx": 0.02, "Lac": 0.05}),
        "shared": n.shared_sd(model, truth[:60], covariance[:60], shared, few_solver),
        "shared alone": n.shared_sd(model, truth[:60], covariance[:60], shared),
        "noise": n.noise_sd(data.fids[phantom.mask], model),
        "subspace noise": n.noise_sd(data.fids[phantom.mask], model, method="subspace", per_voxel=True),
        "neighbors": str(n.Kernel.of(data.fids, phantom.mask, n.free_space(model, data.fids.shape[-1]))),
        "fit": fit,
    }


def probed(size: str) -> dict:
    """The linear map by probes, as for large sets."""
    mask = np.ones((16, 16, 5) if size == "reduced" else (30, 20, 6), bool)
    gray = np.random.default_rng(0).random(mask.shape).round(1)
    lattice = n.lattices(mask, sums_only=size == "reduced")
    values = np.random.default_rng(1).random((mask.sum(), 2))
    return {"probed": n.diagonal_and_squares(n.ExactSolver(n.edge_weights(gray), 0.02), values, lattice)}


# ---------------------------------------------------------------- studies, each at a small size

MODEL = n.dmi_11t7()
SIGMA = float(n.snr_to_sigma(MODEL, 20.0))
FIT, OTHERS = n.Fit().amplitudes, slice(1, None)


def network():
    return n.load_weights("dmi_11t7")


def shrinkage(size: str) -> dict:
    ranges = {"Glc": (0, 5), "Glx": (0, 6), "Lac": (0, 4)}
    drawn = n.shrinkage_draw(MODEL, ranges, 60, 3, shift_hz=(-8, 8), broadening_hz=(-2, 6))
    found = {"fit": FIT(drawn.fids, MODEL), "sve": network().amplitudes(drawn.fids)}
    seen = {k: (drawn.truth, MODEL.concentrations(v), drawn.error) for k, v in found.items()}
    return {
        "draw": drawn,
        "ratio": drawn.slope_of_a_ratio,
        "summary": {k: n.shrinkage_summary(*(x[:, OTHERS] for x in v), np.array([5, 6, 4])) for k, v in seen.items()},
        "expected": n.shrinkage_expected(np.linspace(-1, 2, 9), 0.4, 0.0, 1.0),
        "verdicts": [n.verdict(*x) for x in ((0.99, 0.9, 1.1, 1, 1), (0.5, 0.4, 0.6, 0.8, 0.5))],
    }


def contrasts(size: str) -> dict:
    scene = n.contrast_scene(2)
    h = scene.linear_map(0.02)
    found = n.contrast_measure(scene, partial(FIT, model=MODEL), {"map": h}, [10, 5, 6, 4], 20, 2)
    seen = [x[..., OTHERS] for x in (found.truth, found.estimate["map"], found.error["map"])]
    return {
        "slopes": {view: scene.slope(h, view) for view in scene.views},
        "blind": {view: scene.slope(scene.linear_map(0.02, without_edges=True), view) for view in scene.views},
        "noise": scene.noise_kept(h),
        "rmse": scene.relative_rmse(h, [0.5, 1.0, 2.0]),
        "lines": {view: n.contrast_lines(scene, view, *seen) for view in scene.views},
    }


def regularization(size: str) -> dict:
    phantom, lams = n.rings(matrix=16), [0.0, 0.02]
    small, gray, inside = part(), {"mri": n.gray_levels(part())}, {"all": part().mask}
    sve = network().amplitudes
    return {
        "closed form": n.regularization_closed_form(phantom, 20.0, lams, [5.5, 30.0]),
        "study": n.regularization_study(sve, phantom, 20.0, lams, n_repeats=2),
        "predicted": n.predicted(small, 20.0, gray, lams, inside),
        "measured": n.measured(sve, small, 20.0, gray, lams, inside, n_repeats=3, n_bootstrap=20),
        "finetuning": n.finetuning_study(network(), small, 20.0, [(5.5, 0.02, 2)], n_repeats=2),
    }


def efficiency(size: str) -> dict:
    return {
        "efficiency": n.efficiency(FIT, MODEL, VOXELS, SIGMA, n_repeats=30, seed=1, **NUISANCE),
        "excess": n.excess_over_bound(network().amplitudes, MODEL, VOXELS, SIGMA, n_draws=300),
        "amplitudes": n.amplitude_study({"fit": FIT}, MODEL, AMPLITUDES, [10, 30], n_repeats=20),
        "phantom": n.phantom_study({"fourier": n.make_estimator("fourier")}, part(), 20.0, n_repeats=3),
        "accuracy": n.accuracy(network(), (8.0, 30.0), n_repeats=100),
    }


def repetition(size: str) -> dict:
    single = {"shift_hz": 4.0, "broadening_hz": 2.0, "phase_rad": 0.7}
    return {"repeated": n.repeat_until({"fit": FIT}, MODEL, AMPLITUDES, SIGMA, 0.3, batch=100, **single)}


def posterior(size: str) -> dict:
    noisy = part().measure(12, 8).fids[part().mask][:16]
    recipes = {"ours": n.TrainConfig(), "plain": n.TrainConfig.papers_recipe()}
    return {
        "posterior": {k: n.posterior(noisy, MODEL, None, n.Prior.of(v), 64) for k, v in recipes.items()},
        "cut": n.cut_normal(np.linspace(0.1, 0.9, 5), np.linspace(-40, 3, 5), np.linspace(-35, 5, 5)),
    }


def peers(size: str) -> dict:
    """The comparison of estimators on one case."""
    estimators = {name: n.make_estimator(name) for name in ("fit", "svd-fit")}
    return {"study": n.peer_study(estimators, n.PEER_CASES["rings"][0](), 2)}


def measured_spectra(size: str) -> dict:
    """What measured proton spectra go through, on simulated ones; errors of fits over the SNR."""
    data, acquisition, basis = spectra(size), n.brain1h.acquisition_3t(), n.brain1h.brain_basis()
    fid = data.noisy.values[0].astype(complex)
    site = n.Acquisition(4096, 1 / 5000, 127.7, "1H")
    points = n.points_between(acquisition, 0.5, 4.2)
    long = n.extended(basis, points)
    seen = n.spectra_of(data.noisy.values[:2], points)
    fit = n.fit_spectra(seen, long, points, n_jobs=1, upright=("NAA", "tCr"))
    # the baselines are any orthonormal set of what they span: a processor of another kind finds another one
    free = np.array([name.startswith("baseline") for name in long.names])
    own = n.spectra_of(long.fids[free], points).view(float)
    return {
        "lines": n.decompose(fid, acquisition, 20),
        "without water": n.remove_band(fid, acquisition, rank=20),
        "resampled": n.resample(fid, acquisition, site),
        "grid": json.dumps({k: v for k, v in n.on_training_grid(site).__dict__.items() if k not in LATER}),
        "corrected": n.eddy_current_corrected(fid, data.clean.values[1]),
        "extended": long.fids[~free],
        "baseline of the first": own.T @ (own @ seen[0].astype(complex).view(float)),
        "fit": replace(fit, amplitudes=fit.amplitudes[:, ~free], crlb=fit.crlb[:, ~free]),
        "bounds": n.bounds_1h(basis, data, n.WINDOW),
    }


def grids(size: str) -> dict:
    """An image and a mask on the grid of another affine."""
    phantom = part()
    affine = phantom.affine @ np.array([[0.96, -0.28, 0, 0.5], [0.28, 0.96, 0, 1.0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return {
        "image": n.sampled(phantom.mri, phantom.mri_affine, affine, np.argwhere(phantom.mask)),
        "mask": n.mask_on_grid(phantom.mask, phantom.affine, (8, 7, 1), affine),
    }


# ---------------------------------------------------------------- simulators


def simulated(name: str, size: str) -> dict:
    """Truth and one measurement."""
    if name == "brain1h":
        return {"data": n.brain1h.draw(6, 5), "basis": n.brain1h.brain_basis().fids}
    if name == "proton head":
        phantom, masks = n.head()
        masks = {k: v.astype(float) for k, v in masks.items()}
    elif name == "fig10 rat":
        phantom, masks = n.rat((11, 11, 11), field_of_view_mm=(27.5,) * 3), {}
    else:
        phantom, masks = n.PEER_CASES[name][0]().phantom, {}
    data = phantom.measure(15.0, 9)
    return {
        "truth": phantom.concentrations,
        "compartments": phantom.compartments,
        "fids": data.fids,
        "noiseless": phantom.noiseless(),
        "mri": data.mri,
        "affines": [data.affine, data.mri_affine],
        "masks": masks,
        "model": json.dumps(phantom.model.to_dict()),
    }


CASES: dict[str, Callable[[str], dict]] = {
    f"maps {case} {estimator}": partial(maps, case, estimator) for case, estimator in product(n.PEER_CASES, ESTIMATORS)
}
CASES |= {f"quantify static {k}": partial(quantify, 1, v) for k, v in STATIC.items()}
CASES |= {f"quantify dynamic {k}": partial(quantify, 3, v) for k, v in DYNAMIC.items()}
CASES |= {f"denoising {name}": partial(denoising, name) for name in DENOISERS}
CASES |= {"networks quantify": networks_quantify, "proton fit": proton_fit, "proton bounds": proton_bounds}
CASES |= {f"trained {name}": partial(trained, name) for name in TRAININGS}
CASES |= {"sampler": sampler, "bounds": bounds, "prior errors": prior_errors, "probed": probed}
CASES |= {"shrinkage": shrinkage, "contrasts": contrasts, "regularization": regularization, "efficiency": efficiency}
CASES |= {"repetition": repetition, "posterior": posterior, "peers": peers, "grids": grids}
CASES |= {"measured spectra": measured_spectra}
CASES |= {
    f"simulated {name}": partial(simulated, name) for name in (*n.PEER_CASES, "fig10 rat", "brain1h", "proton head")
}
NOT_REDUCED = ("simulated fig10 rat",)
