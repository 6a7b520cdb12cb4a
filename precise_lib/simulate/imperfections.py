"""What scanners and living tissue do to a signal that Eq. 2 leaves out: one entry each, to add, combine and measure.

An `Imperfection` changes one or more of three things: the signal model (what the right model would be), the amplitudes
(what saturation or labeled water make of them), and the data (filters, coils, drift). `IMPERFECTIONS` is a dictionary:
anyone can add an entry. Those that change the signal model also serve the naming of what a data set's residual shows
(`quantify.mismatch`), with no further line of code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, peak_height, snr_to_sigma
from precise_lib.signal.parts import Resonance

T1_S = {"water": 0.320, "Glc": 0.064, "Glx": 0.146, "Lac": 0.297}  # rat brain, 11.7 T (De Feyter 2018); others as Lac
FLIP_DEG = 60.0
PATTERN = (-1.0, -0.625, 0.625)  # of the changes of one line after another: unlike, as in tissue
EXTRA = "extra line"  # name of a resonance that the ideal model lacks


def unchanged(model: SignalModel, size: float) -> SignalModel:
    """The signal model as it is: for what happens elsewhere."""
    return model


@dataclass(frozen=True)
class Imperfection:
    """One way to leave Eq. 2, by a `size` in `unit`; `sizes` are those met in practice.

    Parameters
    ----------
    reason : the imperfection in a sentence ("likeliest reason: ...")
    signal : (model, size) -> the model that the FIDs really follow; a resonance more is fine
    extra : (model, size) -> amplitudes (E,) of the resonances that only that model has, in units of the reference
    weights : (model, size) -> factors (M,) on the amplitudes
    data : (model, FIDs (x, y, z, t), noise (x, y, z, t), size, generator) -> FIDs and noise as measured
    taught : whether a data set can teach it to the signal model
    per_line : whether it may concern one line and not the others
    """

    name: str
    reason: str
    unit: str
    sizes: tuple[float, ...]
    signal: Callable = unchanged
    extra: Callable | None = None
    weights: Callable | None = None
    data: Callable | None = None
    taught: bool = False
    per_line: bool = False


@dataclass(frozen=True)
class Measured:
    """Noisy FIDs (x, y, z, t) complex64, true amplitudes (x, y, z, M), and the model that the FIDs follow."""

    fids: np.ndarray
    amplitudes: np.ndarray
    right: SignalModel


def simulate(
    imperfections, model: SignalModel, amplitudes, snr: float, seed=0, shift_hz=0.0, broadening_hz=0.0, phase_rad=0.0
) -> Measured:
    """A measurement of true amplitudes (x, y, z, M) under imperfections, a list of (name, size).

    The noise is that of a water SNR `snr` of the ideal model, so that it is the same for every imperfection.
    """
    rng, right = np.random.default_rng(seed), model
    amplitudes = np.asarray(amplitudes, float)
    scale = amplitudes[..., [model.index(model.reference)]]
    seen, extra = amplitudes.copy(), []
    for name, size in imperfections:
        entry = IMPERFECTIONS[name]
        right = entry.signal(right, size)
        if entry.weights:
            seen = seen * entry.weights(model, size)
        if entry.extra:
            extra.append(scale * entry.extra(model, size))
    seen = np.concatenate([seen, *extra], -1)
    clean = right.fids(seen, shift_hz, broadening_hz, phase_rad)
    noise = add_noise(np.zeros_like(clean), snr_to_sigma(model, snr), rng)
    for name, size in imperfections:
        if IMPERFECTIONS[name].data:
            clean, noise = IMPERFECTIONS[name].data(model, clean, noise, size, rng)
    return Measured((clean + noise).astype(np.complex64), np.concatenate([amplitudes, *extra], -1), right)


def _others(model: SignalModel) -> list[int]:
    return [k for k in range(len(model.names)) if k != model.index(model.reference)]


def _with_lines(model: SignalModel, change: Callable) -> SignalModel:
    """The model with `change` (resonance, place among all but the reference or None) of each resonance."""
    others = _others(model)
    place = [others.index(k) if k in others else None for k in range(len(model.names))]
    return replace(model, resonances=tuple(change(r, p) for r, p in zip(model.resonances, place, strict=True)))


def rows_of(resonance: Resonance) -> np.ndarray:
    """Lines (L, 4) of a resonance: ppm, real, imaginary, Gaussian width in Hz."""
    return np.array(resonance.lines or ((resonance.ppm, 1.0, 0.0, 0.0),), float)


def _dead_time(model, ms):
    return replace(model, acquisition=replace(model.acquisition, dead_time_s=model.acquisition.dead_time_s + ms / 1e3))


def _own_widths(model, share):
    def change(r, p):
        return r if p is None else replace(r, t2star_s=r.t2star_s * (1 + share * PATTERN[p % 3]))

    return _with_lines(model, change)


def _gaussian(model, hz):
    def change(r, _):
        return replace(r, lines=tuple((a, b, c, float(np.hypot(g, hz))) for a, b, c, g in rows_of(r)))

    return _with_lines(model, change)


def _own_frequencies(model, hz):
    mhz, pattern = model.acquisition.spectrometer_frequency_mhz, (1.0, -1.0, 1.25)

    def change(r, p):
        ppm = 0.0 if p is None else hz * pattern[p % 3] / mhz
        rows = rows_of(r) + np.array([ppm, 0, 0, 0]) if r.lines else ()
        return replace(r, ppm=r.ppm + ppm, lines=tuple(map(tuple, rows)))

    return _with_lines(model, change)


def second_line(model: SignalModel, ppm: float, which: int = 0) -> SignalModel:
    """Half of the signal of a resonance (by default the first after the reference) moved up by `ppm`."""

    def change(r, p):
        if p != which:
            return r
        half = rows_of(r) * [1, 0.5, 0.5, 1]
        return replace(r, lines=tuple(map(tuple, np.concatenate([half, half + np.array([ppm, 0, 0, 0])]))))

    return _with_lines(model, change)


def _one_more(model: SignalModel, ppm: float, t2star_s: float, gaussian_hz: float = 0.0) -> SignalModel:
    lines = ((ppm, 1.0, 0.0, gaussian_hz),) if gaussian_hz else ()
    name = EXTRA if EXTRA not in model.names else f"{EXTRA} {len(model.names)}"
    return replace(model, resonances=(*model.resonances, Resonance(name, ppm, t2star_s, "baseline", lines)))


def _lipid(model, share):
    return _one_more(model, 1.2, 1 / (np.pi * 40))


def _hump(model, percent):
    return _one_more(model, 3.0, 10.0, 300.0)


def _hump_amplitude(model, percent):
    own = np.abs(_hump(model, percent).basis()[:, -1]).sum()
    return np.array([percent / 100 * peak_height(model) / own])


def saturation(model: SignalModel, repetition_time_s: float, flip_deg: float = FLIP_DEG, t1_s=T1_S) -> np.ndarray:
    """Steady state of a spoiled pulse-acquire over that of the reference, (M,)."""
    decay = np.exp(-repetition_time_s / np.array([t1_s.get(n, t1_s["Lac"]) for n in model.names]))
    left = (1 - decay) / (1 - decay * np.cos(np.radians(flip_deg)))
    return left / left[model.index(model.reference)]


def _labeled_water(model, factor):
    return np.where(np.arange(len(model.names)) == model.index(model.reference), factor, 1.0)


def _offset(model, clean, noise, size, rng):
    return clean + size * np.abs(clean[..., 0]).max() * np.exp(1j), noise


def _drift(model, clean, noise, hz, rng):
    """The mean of 16 averages whose frequency drifts by `hz` in all."""
    steps = np.linspace(-hz / 2, hz / 2, 16)[:, None]
    return clean * np.exp(2j * np.pi * steps * model.acquisition.time_s).mean(0), noise


def _in_space(values, kernel):
    """A filter (x, y, z) on the k-space of data (x, y, z, t)."""
    axes = (0, 1, 2)
    return np.fft.ifftn(np.fft.fftn(values, axes=axes) * kernel[..., None], axes=axes)


def _hamming(model, clean, noise, size, rng):
    """Hamming filter of k-space; the noise keeps its level, and neighbors come to share it."""
    one = [np.fft.ifftshift(0.54 + 0.46 * np.cos(2 * np.pi * (np.arange(n) - n // 2) / n)) for n in clean.shape[:3]]
    kernel = one[0][:, None, None] * one[1][:, None] * one[2]
    kernel = 1 + size * (kernel - 1)
    return clean, _in_space(noise, kernel) / np.sqrt((kernel**2).mean())


def _zero_filled(model, clean, noise, factor, rng):
    """The inner part of k-space alone, as of a coarser measurement that was zero-filled by `factor` in plane."""
    inner = [np.abs(np.fft.fftfreq(n)) < 0.5 / factor for n in clean.shape[:2]]
    kernel = (inner[0][:, None, None] & inner[1][:, None]) * np.ones(clean.shape[2])
    return clean, _in_space(noise, kernel) / np.sqrt(kernel.mean())


def _digital_filter(model, clean, noise, passed, rng):
    """A filter that passes a share of the bandwidth: the noise outside is gone."""
    inside = np.abs(np.fft.fftfreq(noise.shape[-1])) < passed / 2
    return clean, np.fft.ifft(np.fft.fft(noise, axis=-1) * inside, axis=-1)


def _coils(model, clean, noise, n, rng):
    """`n` coils added with the phases that they happen to have, as if they were one."""
    weight = np.exp(1j * rng.uniform(-1.0, 1.0, int(n))).sum() / np.sqrt(int(n))
    return clean * np.abs(weight) / np.sqrt(int(n)), noise


_OWN = {"taught": True, "per_line": True}
_ALL = (
    Imperfection("dead time", "a dead time before the first sample", "ms", (0.3, 0.6, 1.0), _dead_time, taught=True),
    Imperfection("T2* per line", "widths that differ between lines", "share", (0.1, 0.4), _own_widths, **_OWN),
    Imperfection("lineshape", "a lineshape that is not Lorentzian", "Hz", (8.0, 15.0), _gaussian, **_OWN),
    Imperfection("line shifts", "lines at other frequencies", "Hz", (2.0, 4.0), _own_frequencies, **_OWN),
    Imperfection("second line", "a second line of a metabolite", "ppm", (0.10, 0.17), second_line),
    Imperfection("lipid", "lipid under or near lactate", "of water", (0.05, 0.2), _lipid, lambda m, s: np.array([s])),
    Imperfection("hump", "a broad baseline", "% of the height of water", (1.0, 4.0), _hump, _hump_amplitude),
    Imperfection("offset", "a constant offset", "of the first sample", (0.003, 0.01), data=_offset),
    Imperfection("T1", "saturation by a short TR", "s (TR, 60 deg)", (0.4,), weights=saturation),
    Imperfection("labeled water", "water that carries label", "fold", (1.5,), weights=_labeled_water),
    Imperfection("Hamming filter", "noise that neighbors share", "share", (1.0,), data=_hamming),
    Imperfection("zero filling", "noise that neighbors share", "fold, in plane", (2.0,), data=_zero_filled),
    Imperfection("digital filter", "noise that is colored", "passes", (0.6, 0.3), data=_digital_filter),
    Imperfection("drift", "a frequency that drifts between averages", "Hz in all", (4.0, 16.0), data=_drift),
    Imperfection("coils", "coils added without their phases", "coils", (4.0,), data=_coils),
)
IMPERFECTIONS: dict[str, Imperfection] = {entry.name: entry for entry in _ALL}
