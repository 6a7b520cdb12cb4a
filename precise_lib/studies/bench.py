"""What this machine makes of the estimators: precision over the bound, and ratios of times measured side by side.

Absolute times depend on the machine and on what else it does; ratios of two things measured in one run do not.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from scipy import ndimage

from precise_lib import estimate
from precise_lib.estimate import stein
from precise_lib.estimate.adaptive import adaptive
from precise_lib.estimate.coupling import Neighbors
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.intervals import DRAWS, intervals
from precise_lib.estimate.overruled import islands
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.training import SveTrainer
from precise_lib.estimate.weights import resolve
from precise_lib.evaluate.crlb import ratio_sd
from precise_lib.evaluate.montecarlo import phantom_study
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Resonance
from precise_lib.simulate.phantoms import rings
from precise_lib.studies.regularization import closed_form, regularization_study
from precise_lib.studies.timing import cube, noisy_fids, seconds

GRIDS = ((32, 32, 1), (22, 22, 22), (46, 46, 46))  # 1,000, 10,000 and 100,000 voxels


def precision(names, snr: float = 12.0, n_repeats: int = 100) -> dict[str, np.ndarray]:
    """name -> SD of each metabolite / water over the CRLB in the innermost ring, root mean square over its voxels."""
    phantom = rings()
    inside, model = phantom.compartments == 3, phantom.model
    study = phantom_study({n: estimate.make(n) for n in names}, phantom, snr, n_repeats, mask=inside)
    bound = ratio_sd(model, phantom.amplitudes[inside][0], snr_to_sigma(model, snr)) * model.reference_concentration_mm
    others = [k for k, name in enumerate(model.names) if name != model.reference]
    return {
        n: np.sqrt((sd[:, inside] ** 2).mean(1))[others] / bound[others]
        for n, sd in zip(names, study["sd"].values, strict=True)
    }


def growth(small: int = 1000, large: int = 50_000) -> dict[str, float]:
    """name -> time per FID of many over that of few: one where the cost grows with the number of FIDs alone."""
    fids, model = noisy_fids(large), rings().model
    methods = {name: estimate.make(name).amplitudes for name in ("fourier", "fit", "sve")}
    per_fid = {n: [seconds(partial(f, fids[:k], model), 1) / k for k in (small, large)] for n, f in methods.items()}
    return {name: many / few for name, (few, many) in per_fid.items()}


def terms(n: int = 2000) -> dict[str, float]:
    """name -> time of a fit with terms beyond Eq. 2 over that of one without, of FIDs made by each model."""
    plain = rings().model
    own = [replace(r, shift_sd_hz=2.0, width_sd_hz=2.0) if r.name in ("Glc", "Lac") else r for r in plain.resonances]
    two = replace(own[1], lines=((3.71, 0.5, 0, 0), (3.88, 0.5, 0, 0)))
    more = Resonance("lipid", 1.3, 0.008, "baseline"), Resonance("hump", 2.5, 0.002, "baseline")
    late = replace(plain.acquisition, dead_time_s=4e-4)
    models = {
        "none": plain,
        "dead time": replace(plain, acquisition=late),
        "Gaussian width": replace(plain, lineshape="voigt"),
        "own shifts and widths": replace(plain, resonances=own),
        "all": SignalModel(late, (own[0], two, replace(own[2], t2star_s=0.015), own[3], *more), lineshape="voigt"),
    }
    taken = {}
    for name, model in models.items():
        amplitudes = np.tile([1, 0.25, 0.3, 0.1, 0.2, 0.4][: len(model.names)], (n, 1))
        clean = model.fids(amplitudes, **({"gaussian_hz": 8.0} if model.lineshape == "voigt" else {}))
        fids = add_noise(clean, snr_to_sigma(model, 15.0), np.random.default_rng(0)).astype(np.complex64)
        taken[name] = seconds(partial(fit_fids, fids, model, n_jobs=1))
    return {name: taken[name] / taken["none"] for name in list(models)[1:]}


def training(iterations: int = 20) -> float:
    """FIDs a second in training, our recipe over the paper's."""
    rates = []
    for config in (TrainConfig(), TrainConfig.papers_recipe()):
        trainer = SveTrainer(config)
        taken = seconds(lambda trainer=trainer: [trainer.step() for _ in range(iterations)])
        rates.append(iterations * config.batch_size / taken)
    return rates[0] / rates[1]


def adaptive_seconds(shape) -> float:
    """Seconds that the adaptive prior takes to tune itself, for maps, intervals and islands on a grid."""
    rng, free = np.random.default_rng(0), np.random.default_rng(1).standard_normal((int(np.prod(shape)), 96))
    tissue = (ndimage.gaussian_filter(rng.standard_normal(shape), 4) > 0).astype(float)
    truth = 1 + tissue.ravel()[:, None] * [1.0, 2.0, 0.2]
    ratios, variance = truth + 0.4 * rng.standard_normal(truth.shape), np.full(truth.shape, 0.16)
    neighbors = Neighbors.of(tissue + 0.05 * rng.standard_normal(shape))

    def chain():
        settings = stein.tune(ratios, variance, neighbors, stein.probes(free, variance)).settings
        field = adaptive(ratios, variance, neighbors, settings)
        return intervals(field, neighbors, stein.probes(free, variance, DRAWS, 1)), islands(field, neighbors)

    return seconds(chain, 1)


def run(estimator: str | None = None) -> None:
    """Print it all, for the registry and one estimator more: a name, package.module:factory or file.py:factory."""
    own = [] if estimator is None else [estimate.load(estimator) if ":" in estimator else estimate.find(estimator)]
    names = list(dict.fromkeys([*(n for n in estimate.names() if n != "precise-finetune"), *own]))
    data = cube()
    times = {name: seconds(partial(estimate.make(name), data)) for name in names}
    metabolites = [m for m in data.model.names if m != data.model.reference]
    print(f"{'':20s}{'speed / fit':>12s}   SD / CRLB of {', '.join(metabolites)}; SNR 12")
    for name, ratios in precision(names).items():
        print(f"{name:20s}{times['fit'] / times[name]:12.2f}   " + "".join(f"{r:8.2f}" for r in ratios))
    each = ", ".join(f"{name} {ratio:.2f}" for name, ratio in growth().items())
    print(f"time per FID, 50,000 FIDs over 1000: {each}")
    each = ", ".join(f"{name} {ratio:.2f}" for name, ratio in terms().items())
    print(f"time of a fit with terms beyond Eq. 2, over one without: {each}")
    print(f"FIDs a second in training, ours over the paper's recipe: {training():.1f}")
    phantom = rings()
    study = partial(regularization_study, resolve(None, phantom.model).amplitudes, phantom, 12.0, [0.01], n_repeats=100)
    ratio = seconds(study, 1) / seconds(lambda: closed_form(phantom, 12.0, [0.01]), 1)
    print(f"maps of SD and bias, Monte Carlo of 100 repeats over closed form: {ratio:.0f} times the time")
    each = ", ".join(f"{np.prod(shape):,} voxels {adaptive_seconds(shape):.1f} s" for shape in GRIDS)
    print(f"the adaptive prior, tuned, with intervals: {each}")
