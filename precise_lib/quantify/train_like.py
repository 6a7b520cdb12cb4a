"""A network for the acquisition of one's own data: the work of ``precise train --like``.

The acquisition is from the header of a NIfTI-MRS file, T2* from a fit of its voxels unless given. The network goes into
the user's model folder, where `precise quantify` finds it for every file of the same acquisition.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from precise_lib.errors import InputError
from precise_lib.estimate import catalog
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.network import NetworkConfig
from precise_lib.estimate.sampling import signal_families
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.training import train
from precise_lib.evaluate.accuracy import certify, train_and_certify
from precise_lib.io import nifti_mrs
from precise_lib.io.atomic import alone
from precise_lib.io.lines import read_signal_model
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import peak_height
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.plausible import plausible
from precise_lib.signal.presets import parse_metabolites

PROVISIONAL_T2STAR_S = 0.030  # where the fit starts; it goes from nearly undamped to ten times this width
MOST_VOXELS, LOWEST_SNR = 1000, 5.0  # of a measurement of line widths


@dataclass(frozen=True)
class Lines:
    """Width (FWHM of the lines' common Lorentzian) and shift (V,) in Hz of each voxel that could be measured."""

    width_hz: np.ndarray
    shift_hz: np.ndarray

    @property
    def t2star_s(self) -> float:
        """T2* of the median width, to the millisecond."""
        return max(0.001, round(1 / (np.pi * float(np.median(self.width_hz))), 3))


def signal_model(acquisition: Acquisition, metabolites: str, t2star_s: float) -> SignalModel:
    """Lines of `parse_metabolites` with one T2* under an acquisition; the reference is water.

    Raises `InputError`: no water, a T2* not in seconds, lines beyond the bandwidth or at (nearly) the same place.
    """
    plausible("T2*", t2star_s, "--t2star sets it")
    shifts = parse_metabolites(metabolites)
    if "water" not in shifts:
        raise InputError(f"The metabolites '{metabolites}' lack water, which concentrations refer to: add it.")
    model = SignalModel(acquisition, tuple(Resonance(name, ppm, t2star_s) for name, ppm in shifts.items()))
    beyond = np.abs(model.frequencies_hz) >= acquisition.bandwidth_hz / 2
    if beyond.any():
        raise InputError(
            f"The metabolite {model.names[int(beyond.argmax())]} lies beyond the bandwidth of "
            f"{acquisition.bandwidth_hz:.4g} Hz: leave it out."
        )
    for first, second, gap in close_lines(model, 0.05):
        raise InputError(
            f"The metabolites {first} and {second} are {gap:.2g} Hz apart, which no data can tell apart: leave out one."
        )
    return model


def close_lines(model: SignalModel, share: float) -> list[tuple[str, str, float]]:
    """Neighboring lines closer than a share of their width: two names and the distance in Hz."""
    order = np.argsort(model.frequencies_hz)
    gaps, width = np.diff(model.frequencies_hz[order]), 1 / (np.pi * model.t2star_s.max())
    names = [model.names[i] for i in order]
    return [(names[i], names[i + 1], float(gap)) for i, gap in enumerate(gaps) if gap < share * width]


def measure_lines(data: MRSI) -> Lines:
    """Width and shift of the lines, by `fit_fids`, in the `MOST_VOXELS` voxels of the greatest energy early in the FID.

    What did not converge, or has water below an SNR of `LOWEST_SNR`, does not count; raises `InputError` when no voxel
    is left. The width is common to all lines of a voxel, so water, the greatest by far, decides it.
    """
    model, fids = data.model, data.fids[data.usable]
    early = max(2, int(PROVISIONAL_T2STAR_S / model.acquisition.dwell_time_s))
    energy = np.linalg.norm(fids[:, :early], axis=-1)
    fids = fids[np.sort(np.argsort(-energy, kind="stable")[:MOST_VOXELS])]
    if len(fids):
        fit = fit_fids(fids, model, TrainConfig.for_model(model).shift_range_hz[1] * 1.5)
        height = fit.amplitudes[:, model.index(model.reference)] * peak_height(model, fit.broadening_hz)
        snr = height / (fit.sigma * np.sqrt(model.acquisition.n_samples)).clip(1e-30)
        good = fit.converged & (snr >= LOWEST_SNR)
        width = fit.broadening_hz + 1 / (np.pi * model.t2star_s[model.index(model.reference)])
        if good.any():
            return Lines(width[good], fit.shift_hz[good])
    raise InputError("No voxel has a water line that can be measured: give --t2star, for example --t2star 0.02.")


def settings_for(model: SignalModel, iterations: int | None = None) -> TrainConfig:
    """Our recipe for any signal model, in about the time that the shipped `dmi_11t7` took (15 minutes on 2 cores).

    The two subspaces of the front end leave residuals of the training family below 0.2 % and 0.5 %, and are those of
    `dmi_11t7` at least; an iteration costs more for longer FIDs and more lines, so there are fewer of them.
    """
    config = TrainConfig.for_model(model)
    size, n, ranks = NetworkConfig(), model.acquisition.n_samples, []
    least_and_residual = (size.rank, 2e-3), (size.aligned_rank, 5e-3)
    for family, (least, residual) in zip(signal_families(config, 1000), least_and_residual, strict=True):
        smaller = family if len(family) <= n else family.T
        energy = np.linalg.eigvalsh(smaller @ smaller.conj().T)[::-1].clip(0)
        left = 1 - np.cumsum(energy) / energy.sum()
        needed = int(np.argmax(left < residual**2)) + 1
        ranks.append(min(n, max(least, 4 * -(-needed // 4))))
    if iterations is None:
        cost = 0.55 + 0.45 * len(model.names) * n / (4 * 512)  # measured, of an iteration
        iterations = int(round(min(1.0, 1 / cost) * config.iterations, -3))
    return replace(config, network=replace(size, rank=ranks[0], aligned_rank=ranks[1]), iterations=iterations)


def plan(like, metabolites: str, t2star_s: float | None = None, iterations=None, look=False, given=None):
    """Training settings for the acquisition of a file: a `TrainConfig`, and sentences on what was found in it.

    Those are what the header says, what was measured, and warnings that begin with "Note:". `metabolites` are as in
    `parse_metabolites`; T2* (s) of all lines is measured in the first frame where it is None, the lines also with
    `look`; `iterations` None are those of `settings_for`. A signal model `given` as a file replaces names and T2*.
    """
    stored = nifti_mrs.open_mrsi(like)
    # a network does not care how strongly the lines were saturated
    acquisition = replace(stored.acquisition, repetition_time_s=None, flip_angle_deg=None)
    if given is None and acquisition.nucleus != "2H":
        raise InputError(f"{like} holds data of {acquisition.nucleus}: give deuterium (2H) data, or a --model.")
    if given is None:
        model = signal_model(acquisition, metabolites, PROVISIONAL_T2STAR_S if t2star_s is None else t2star_s)
    else:
        model = read_signal_model(given, acquisition, stored.header.carrier_ppm)
        t2star_s = float(model.t2star_s.max())
        if model.reference is None:
            raise InputError(f"The signal model {given} has no reference, which a network measures all lines by.")
    header = (
        f"{like}: {acquisition.nucleus} at {acquisition.spectrometer_frequency_mhz:.6g} MHz "
        f"({acquisition.field_t:.4g} T), {acquisition.n_samples} points of {1e6 * acquisition.dwell_time_s:.4g} us."
    )
    said, lines = [header], None
    if t2star_s is None or look:
        lines = measure_lines(nifti_mrs.read_series(stored, model=model)[0])
        n = len(lines.width_hz)
        voxels = "the one voxel with signal" if n == 1 else f"the median of {n} voxels"
        used = "" if t2star_s is not None else f", so T2* is taken as {1e3 * lines.t2star_s:.0f} ms"
        said.append(f"The water line is {np.median(lines.width_hz):.1f} Hz wide in {voxels}{used}.")
    if t2star_s is None:
        model = signal_model(acquisition, metabolites, lines.t2star_s)
    for first, second, gap in close_lines(model, 0.5):
        said.append(
            f"Note: {first} and {second} are {gap:.1f} Hz apart, less than half their width: their sum is measured "
            "far better than either."
        )
    config = settings_for(model, iterations)
    return config, said + ([] if lines is None else coverage(lines, config))


def coverage(lines: Lines, config: TrainConfig) -> list[str]:
    """What of the measured shifts and widths the training covers, in sentences."""
    widths = 1 / (np.pi * float(config.signal_model.t2star_s.max())) + np.array(config.broadening_range_hz)
    found = {"Frequency shifts": (lines.shift_hz, config.shift_range_hz), "Line widths": (lines.width_hz, widths)}
    said = []
    for what, (values, span) in found.items():
        outside = float(np.mean((values < span[0]) | (values > span[1])))
        low, high = np.percentile(values, (5, 95))
        said.append(
            f"{what}: {low:.1f} to {high:.1f} Hz from the 5th to the 95th percentile of the voxels; training covers "
            f"{span[0]:.1f} to {span[1]:.1f} Hz."
        )
        if outside > 0.05:
            said.append(
                f"Note: {100 * outside:.0f} % of the voxels are outside this range: check the shift of water "
                "(water:ppm) and the shim, or train with ranges of your own by --config."
            )
    return said


def check_storable(config: TrainConfig, name: str | None = None) -> None:
    """Raise `InputError` where the model folder cannot be written or the name is taken."""
    key = config.signal_model.hash
    catalog.check_name(name or key, key)
    catalog.check_folder()


def train_into_folder(config: TrainConfig, name: str | None = None, device="cpu", progress=True):
    """Train, certify and store a network in the user's model folder; the same call resumes where one was interrupted.

    Returns the `catalog.Entry` and whether it is new: a network of the same settings is not trained twice. `name` is
    that on the card, by default the hash of the signal model. Raises `InputError` for a folder that cannot be written,
    a name that is taken, a damaged checkpoint, or where another process trains the same.
    """
    key = config.signal_model.hash
    check_storable(config, name)
    settings = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True).encode()).hexdigest()[:8]
    work = catalog.folder() / f".training-{key}-{settings}"
    with alone(f"{work}.lock", f"Another process trains this network for {catalog.folder()}: wait for it."):
        for entry in catalog.trained():
            if entry.hash == key and entry.problem is None and entry.card.config == config:
                shutil.rmtree(work, ignore_errors=True)  # of a call that ended between the last two lines
                return entry, False
        named = partial(certify, name=name or key)
        train_and_certify(config, work, key, train, named, device=device, progress=progress)
        stored = catalog.store(work / f"{key}.safetensors")
        shutil.rmtree(work)
        return next(entry for entry in catalog.trained() if entry.path == stored), True
