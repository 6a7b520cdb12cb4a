"""``python -m precise_lib.studies.bench``: SD / CRLB and speed of the estimators, in one run on this machine.

Absolute times depend on the machine and on what else it does; the ratios are measured side by side.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from precise_lib import estimate
from precise_lib.estimate.finetune import finetune
from precise_lib.estimate.prior import ExactSolver, edge_weights, prepare_mri
from precise_lib.estimate.sve import resolve
from precise_lib.estimate.training import TrainConfig, Trainer
from precise_lib.evaluate.crlb import ratio_sd
from precise_lib.evaluate.montecarlo import phantom_study
from precise_lib.io import nifti, nifti_mrs
from precise_lib.signal.model import add_noise, dmi_11t7, snr_to_sigma
from precise_lib.signal.mrsi import MRSI
from precise_lib.simulate.phantoms import rings
from precise_lib.studies.regularization import closed_form, regularization_study
from precise_lib.studies.timing import cube, noisy_fids, seconds, seconds_per_fid


def precision(snr: float, n_repeats: int, others=()) -> None:
    """SD of each metabolite / water over the CRLB in compartment 3 of the phantom, per estimator and for `others`."""
    phantom = rings()
    inside = phantom.compartments == 3
    names = list(dict.fromkeys([*(n for n in estimate.names() if n != "precise-finetune"), *others]))
    study = phantom_study({n: estimate.make(n) for n in names}, phantom, snr, n_repeats, mask=inside)
    amplitudes = phantom.amplitudes[inside][0]
    model = phantom.model
    bound = ratio_sd(model, amplitudes, snr_to_sigma(model, snr)) * model.reference_concentration_mm
    metabolites = [m for m in model.names if m != model.reference]
    print(f"\nSD / CRLB of metabolite over water, SNR {snr:g}, compartment 3, {n_repeats} repeats")
    print(f"{'estimator':20s}" + "".join(f"{m:>8s}" for m in metabolites))
    for name in names:
        ratios = []
        for m in metabolites:
            variance = study["sd"].sel(estimator=name, metabolite=m).values[inside] ** 2
            ratios.append(np.sqrt(variance.mean()) / bound[model.index(m)])
        print(f"{name:20s}" + "".join(f"{r:8.2f}" for r in ratios))


def speed(n_voxels: int, others=()) -> None:
    """FIDs per second of each estimator, and of `others`, on one data set of `n_voxels`."""
    model, rng = dmi_11t7(), np.random.default_rng(0)
    side = max(2, round(n_voxels ** (1 / 3)))
    shape = (side, side, side)
    n = side**3
    clean = model.fids(np.tile([1.0, 0.3, 0.4, 0.1], (n, 1)), rng.uniform(-15, 15, n), rng.uniform(0, 8, n))
    fids = add_noise(clean, snr_to_sigma(model, 12), rng).astype(np.complex64)
    data = MRSI(fids.reshape(*shape, -1), model, mri=rng.random(shape), mri_affine=np.eye(4))
    times = {
        name: seconds(partial(estimate.make(name), data)) for name in ("fourier", "fit", "sve", "precise", *others)
    }
    print(f"\nSpeed on {n} voxels")
    for name, t in times.items():
        print(f"{name:20s}{n / t:12.0f} FIDs/s  {times['fit'] / t:8.1f} times the vectorized fit")


def fits(n_voxels: int) -> None:
    """SVE against the vectorized fit, a fit one voxel at a time, and pyAMARES where it is installed (claim P5)."""
    model = dmi_11t7()
    times = seconds_per_fid(resolve(None, model).amplitudes, noisy_fids(n_voxels), model)
    print("\nSVE against fits, phantom FIDs at SNR 12.1")
    for name, t in times.items():
        print(f"{name:20s}{1 / t:12.0f} FIDs/s; SVE is {t / times['SVE']:8.1f} times as fast")
    if "pyAMARES" not in times:
        print("pyAMARES            not installed here, left out (pip install precise-lib[amares])")


def regularization() -> None:
    """Exact solve against fine-tuning on an 11 x 11 x 11 set."""
    data = cube()
    network, fids = resolve(None, data.model), data.fids[data.usable]
    sve = network.amplitudes(fids)
    weights = edge_weights(prepare_mri(data))
    exact = seconds(lambda: ExactSolver(weights, 0.01)(sve))
    start = time.perf_counter()
    tuned = finetune(network, fids, weights, 0.01)
    elapsed = time.perf_counter() - start
    solution = ExactSolver(weights, 0.01)(sve)
    distance = np.linalg.norm(tuned - solution) / np.linalg.norm(sve - solution)
    print("\nEq. 4 on 11 x 11 x 11 voxels")
    print(f"exact solve         {1e3 * exact:8.1f} ms (factorization and solution)")
    print(
        f"fine-tuning         {elapsed:8.1f} s, {elapsed / exact:.0f} times the exact solve (paper: 31 s on a GTX 1080)"
    )
    print(f"fine-tuned - exact  {distance:8.2f} of the distance SVE - exact")


def growth(sizes) -> None:
    """Time per voxel and peak memory as the number of voxels grows: flat and bounded by the data themselves."""
    model, rng = dmi_11t7(), np.random.default_rng(0)
    tile = add_noise(model.fids(np.tile([1.0, 0.3, 0.4, 0.1], (1000, 1))), snr_to_sigma(model, 12), rng)
    print("\nGrowth with the number of voxels: microseconds per voxel")
    print(f"{'voxels':>10s}{'fourier':>10s}{'fit':>10s}{'sve':>10s}{'peak memory above the data':>30s}")
    for n in sizes:
        data = np.resize(tile.astype(np.complex64), (n, tile.shape[1]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        times = [seconds(partial(estimate.make(m).amplitudes, data, model), 1) / n for m in ("fourier", "fit", "sve")]
        above = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        print(f"{n:10d}" + "".join(f"{1e6 * t:10.1f}" for t in times) + f"{above:26.0f} MiB")


def large_set(n_voxels: int = 100_000) -> None:
    """``precise quantify`` from file to files on one large 3-D set: maps, SD, bias and flags; time and peak memory.

    In a process of its own, so that the memory is that of the command alone. The set is a cube with an MRI of 64
    blocks; its FIDs are written first and do not count for the time.
    """
    model, rng = dmi_11t7(), np.random.default_rng(0)
    side = round(n_voxels ** (1 / 3))
    fids = np.empty((side, side, side, model.acquisition.n_samples), np.complex64)
    for slab in fids:
        shift, broadening = rng.uniform(-15, 15, (side, side)), rng.uniform(0, 8, (side, side))
        clean = model.fids(np.tile([1.0, 0.3, 0.4, 0.1], (side, side, 1)), shift, broadening)
        slab[:] = add_noise(clean, snr_to_sigma(model, 12), rng)
    affine, block = np.diag([4.0, 4.0, 4.0, 1.0]), -(-side // 4)
    mri = np.kron(rng.random((4, 4, 4)), np.ones((block, block, block)))[:side, :side, :side]
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        nifti_mrs.write_mrsi(folder / "dmi.nii", MRSI(fids, model, affine))
        nifti.write_image(folder / "mri.nii.gz", mri + 0.05 * rng.random(mri.shape), affine)
        size = fids.nbytes / 2**20
        del fids
        command = [sys.executable, "-m", "precise_lib.cli", "quantify", folder / "dmi.nii", "--mri"]
        start = time.perf_counter()
        done = subprocess.run(
            [*command, folder / "mri.nii.gz", "--out", folder / "out"], capture_output=True, text=True
        )
        elapsed = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(done.stderr)
        summary = json.loads((folder / "out" / "summary.json").read_text())
    n, peak = side**3, summary["peak_memory_mib"]
    probed = 100 * summary["errors"]["sd_relative_error_of_probing"]
    print(f"\nA whole set of {n} voxels ({side} x {side} x {side}): precise quantify with SD, bias and flags")
    print(f"{elapsed:.0f} s, {n / elapsed:.0f} voxels/s; SD probed to {probed:.2g} %")
    if peak is not None:
        print(f"peak memory {peak} MiB: {peak - size:.0f} MiB above the {size:.0f} MiB of the FIDs, Python included")


def training(iterations: int = 20) -> None:
    """Training iterations and FIDs per second, our recipe against the paper's."""
    rates = {}
    for label, config in {"plain recipe": TrainConfig.plain(), "our recipe": TrainConfig()}.items():
        trainer = Trainer(config)
        t = seconds(lambda trainer=trainer: [trainer.step() for _ in range(iterations)]) / iterations
        rates[label] = config.batch_size / t
        print(f"{label:20s}{1 / t:8.1f} iterations/s of {config.batch_size} FIDs, {rates[label]:10.0f} FIDs/s")
    print(f"ours sees {rates['our recipe'] / rates['plain recipe']:.1f} times the FIDs a second")


def errors(n_repeats: int) -> None:
    """Closed-form SD and bias over the phantom against Monte Carlo of the chain."""
    phantom = rings()
    closed = seconds(lambda: closed_form(phantom, 12.0, [0.01]), 1)
    network = resolve(None, phantom.model)
    study = partial(regularization_study, network.amplitudes, phantom, 12.0, [0.01], n_repeats=n_repeats)
    repeated = seconds(study, 1)
    print("\nSD and bias maps of the ring phantom")
    ratio = repeated / closed
    print(f"closed form {closed:.2f} s, Monte Carlo of {n_repeats} repeats {repeated:.1f} s: {ratio:.0f} times")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=200, help="Monte Carlo repeats of the phantom")
    parser.add_argument("--voxels", type=int, default=20_000, help="voxels of the speed test")
    parser.add_argument("--decades", type=int, default=5, choices=range(3, 7), help="grow to 10^this many voxels")
    parser.add_argument("--large", type=int, default=100_000, help="voxels of the whole chain")
    about = "also yours: package.module:factory or file.py:factory, whose code is run"
    parser.add_argument("--estimator", action="append", default=[], metavar="NAME", help=about)
    options = parser.parse_args()
    others = [estimate.load(name) if ":" in name else estimate.find(name) for name in options.estimator]
    speed(options.voxels, others)
    fits(options.voxels)
    growth([10**k for k in range(3, options.decades + 1)])
    large_set(options.large)
    regularization()
    errors(options.repeats)
    print("\nTraining")
    training()
    for snr in (8.0, 12.0, 35.0):
        precision(snr, options.repeats, others)


if __name__ == "__main__":
    main()
