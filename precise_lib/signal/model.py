"""The signal model of Eqs 1 and 2 of PRECISE-DMI: acquisition, resonances and noiseless FIDs.

``S(t) = exp(i phi + (2 pi i shift - pi broadening) t - GAUSSIAN (g t)^2) sum_m a_m B_m(t) exp((2 pi i o_m - pi w_m)t)``

Time counts from the excitation, so amplitudes and phase are those there; the first sample is one dead time later.
Higher ppm is a positive frequency under a plain ``numpy.fft.fft``; broadening is an extra Lorentzian full width common
to all lines. For proton spectra: role "baseline" (macromolecules, fitted but not of interest), role "lipid" (scalp, one
offset o of their own) and lineshape "voigt" (an unknown common Gaussian width g). A resonance may have a shift o and a
width w of its own, near zero by a Gaussian prior.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError, check_number, filled
from precise_lib.signal.parts import Acquisition, Resonance, exponentials, gaussian_decay

# what `SignalModel.to_dict` leaves out
_ACQUISITION = {"dead_time_s": 0.0, "repetition_time_s": None, "flip_angle_deg": None}
_RESONANCE = {"role": "metabolite", "lines": [], "t1_s": None, "t1_sd_s": None, "nuclei": None}
_RESONANCE |= {"shift_sd_hz": 0.0, "width_sd_hz": 0.0}
LINESHAPES = ("lorentzian", "voigt")


@dataclass(frozen=True)
class SignalModel:
    """Acquisition and resonances: everything an estimator may assume of a FID.

    Parameters
    ----------
    resonances : their order is the order of every metabolite axis
    carrier_ppm : chemical shift at zero frequency
    reference, reference_concentration_mm : the resonance whose concentration is known (natural-abundance HDO: 10 mM);
        None for amplitudes in units of the data
    lineshape : "lorentzian", or "voigt" where estimators must reckon with a Gaussian width too

    Example
    -------
    >>> from precise_lib.signal.presets import dmi_11t7
    >>> dmi_11t7().fids([1.0, 0.3, 0.6, 0.1], shift_hz=5.0).shape
    (512,)
    """

    acquisition: Acquisition
    resonances: tuple[Resonance, ...]
    carrier_ppm: float = 4.7
    reference: str | None = "water"
    reference_concentration_mm: float = 10.0
    lineshape: str = "lorentzian"

    def __post_init__(self):
        object.__setattr__(self, "resonances", tuple(self.resonances))
        if self.lineshape not in LINESHAPES:
            raise InputError(f"The lineshape is '{self.lineshape}'; it must be one of {', '.join(LINESHAPES)}.")
        check_number("The concentration of the reference", self.reference_concentration_mm)
        if not np.isfinite(self.carrier_ppm):
            raise InputError(f"The carrier is at {self.carrier_ppm} ppm; it must be a number.")
        if len(set(self.names)) != len(self.names):
            raise InputError(f"Resonance names must differ, not {', '.join(self.names)}.")
        if self.reference is None:
            object.__setattr__(self, "reference_concentration_mm", 1.0)
        elif self.reference not in self.names:
            raise InputError(f"The reference '{self.reference}' is none of the resonances {', '.join(self.names)}.")

    @property
    def names(self) -> list[str]:
        return [r.name for r in self.resonances]

    @property
    def units(self) -> str:
        """Of what estimators make of amplitudes."""
        return "a.u." if self.reference is None else "mM"

    @property
    def divisor(self) -> int | None:
        """Position of the resonance that amplitudes are divided by; None without a reference."""
        return None if self.reference is None else self.index(self.reference)

    def index(self, name: str | None) -> int:
        """Position of a resonance; raises `InputError` for a name the model lacks. None: of the first metabolite."""
        if name is None:
            return int(self.of_role("metabolite").argmax())
        if name not in self.names:
            raise InputError(f"The signal model has no '{name}', only {', '.join(self.names)}.")
        return self.names.index(name)

    def of_role(self, *roles: str) -> np.ndarray:
        """(M,) bool: the resonances of these roles."""
        return np.array([r.role in roles for r in self.resonances])

    @property
    def common(self) -> tuple[str, ...]:
        """Names of what a FID depends on besides amplitudes, in the order of `information.jacobian`; `own` last."""
        more = ("gaussian_hz",) * (self.lineshape == "voigt") + ("offset_hz",) * bool(self.of_role("lipid").any())
        return ("shift_hz", "broadening_hz", "phase_rad", *more, *self.own)

    @cached_property
    def own(self) -> dict[str, tuple[int, complex, float]]:
        """By ``shift_hz_NAME``, ``width_hz_NAME``: index, change of its rate per Hz (rad/s), SD of the prior, Hz."""
        return {
            f"{kind}_hz_{r.name}": (k, rate, sd)
            for kind, rate in (("shift", 2j * np.pi), ("width", -np.pi))
            for k, r in enumerate(self.resonances)
            if (sd := getattr(r, f"{kind}_sd_hz"))
        }

    @property
    def frequencies_hz(self) -> np.ndarray:
        """Line frequencies from the carrier, (M,), Hz."""
        ppm = np.array([r.ppm for r in self.resonances])
        return (ppm - self.carrier_ppm) * self.acquisition.spectrometer_frequency_mhz

    @property
    def t2star_s(self) -> np.ndarray:
        return np.array([r.t2star_s for r in self.resonances])

    @property
    def lifetime_s(self) -> np.ndarray:
        """T2* (M,) of Lorentzian lines as wide as each: shorter than `t2star_s` where a Gaussian width adds, s."""
        return np.array([r.lifetime_s for r in self.resonances])

    def basis(self) -> np.ndarray:
        """Unit-amplitude FIDs, (n_samples, M), complex128: Eq. 1 with every amplitude one."""
        t = self.acquisition.time_s[:, None]
        basis = np.exp(2j * np.pi * self.frequencies_hz * t - t / self.t2star_s)
        for k, resonance in enumerate(self.resonances):
            if resonance.lines:
                basis[:, k] = resonance.unit_fid(self.acquisition, self.carrier_ppm)
        return basis

    def envelope(self, shift_hz=0.0, broadening_hz=0.0, phase_rad=0.0, gaussian_hz=0.0) -> np.ndarray:
        """The factor common to all lines, (..., n_samples): shift, broadening and phase of Eq. 2, Gaussian width."""
        shift, broad, phase = (np.asarray(v, float) for v in (shift_hz, broadening_hz, phase_rad))
        rates = 2j * np.pi * shift - np.pi * broad
        envelope = exponentials(rates.ravel(), self.acquisition).reshape(*rates.shape, self.acquisition.n_samples)
        envelope = envelope * np.exp(1j * phase)[..., None] if phase.ndim or phase else envelope
        return envelope * gaussian_decay(gaussian_hz, self.acquisition.time_s) if np.any(gaussian_hz) else envelope

    def turns(self, offset_hz=0.0, **own) -> dict[int, np.ndarray]:
        """Factors (..., n_samples) of single resonances by their index: offset of lipids, shifts and widths `own`."""
        if unknown := sorted(set(own) - set(self.own)):
            raise TypeError(f"the signal model has no {', '.join(unknown)}")
        lipids = np.flatnonzero(self.of_role("lipid")) if np.any(offset_hz) else ()
        rates = {int(k): 2j * np.pi * np.asarray(offset_hz, float) for k in lipids}
        for name, value in own.items():
            if np.any(value):
                k, rate, _ = self.own[name]
                rates[k] = rates.get(k, 0) + rate * np.asarray(value, float)
        return {k: np.exp(rate[..., None] * self.acquisition.time_s) for k, rate in rates.items()}

    def fids(
        self, amplitudes, shift_hz=0.0, broadening_hz=0.0, phase_rad=0.0, gaussian_hz=0.0, offset_hz=0.0, **own
    ) -> np.ndarray:
        """Noiseless FIDs (..., n_samples) complex128 of amplitudes (..., M); all else broadcasts to (...)."""
        amplitudes, basis = np.asarray(amplitudes, float), self.basis()
        clean = amplitudes @ basis.T
        for k, turn in self.turns(offset_hz, **own).items():
            clean = clean + amplitudes[..., k, None] * basis[:, k] * (turn - 1)
        return clean * self.envelope(shift_hz, broadening_hz, phase_rad, gaussian_hz)

    def concentrations(self, amplitudes) -> np.ndarray:
        """Amplitudes (..., M) to mM by the reference; NaN where it is not positive. Without one: the amplitudes."""
        amplitudes = np.array(amplitudes, float)
        if self.reference is None:
            return amplitudes
        water = amplitudes[..., [self.divisor]]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(water > 0, amplitudes / water, np.nan) * self.reference_concentration_mm

    def to_dict(self) -> dict:
        """Plain values; terms that the model does not have are left out, so that names (`hash`) of others last."""
        values = json.loads(json.dumps(asdict(self)))
        values["resonances"] = [_without(r, **_RESONANCE) for r in values["resonances"]]
        values["acquisition"] = _without(values["acquisition"], **_ACQUISITION)
        return _without(values, lineshape="lorentzian")

    @classmethod
    def from_dict(cls, values: dict) -> SignalModel:
        """Inverse of `to_dict`; raises `InputError` on a missing or unknown field."""
        return filled(cls, _with_parts(values) if isinstance(values, dict) else values, "The signal model")

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this signal model."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def _with_parts(values: dict) -> dict:
    """Plain values of a signal model with its `Acquisition` and `Resonance` objects made from theirs."""
    parts, lines = {}, values.get("resonances", ())
    if "acquisition" in values:
        parts["acquisition"] = filled(Acquisition, values["acquisition"], "The acquisition of the signal model")
    if isinstance(lines, list | tuple):
        lines = tuple(filled(Resonance, r, f"Resonance {k} of the signal model") for k, r in enumerate(lines, 1))
        parts |= {"resonances": lines} if lines else {}
    return values | parts


def _without(values: dict, **defaults) -> dict:
    """What differs from the defaults."""
    return {name: value for name, value in values.items() if name not in defaults or value != defaults[name]}


def spectrum(fids) -> np.ndarray:
    """Spectra of FIDs (..., t) on `Acquisition.frequency_axis_hz`: a plain FFT, zero frequency centered."""
    return np.fft.fftshift(np.fft.fft(fids, axis=-1), axes=-1)


def turned(fids, carrier_ppm: float | None, model: SignalModel) -> np.ndarray:
    """FIDs (x, y, z, t, ...) received at a carrier as if received at that of the model: noise stays what it was."""
    if carrier_ppm is None or carrier_ppm == model.carrier_ppm:
        return fids
    hz = (carrier_ppm - model.carrier_ppm) * model.acquisition.spectrometer_frequency_mhz
    turn = np.exp(2j * np.pi * hz * model.acquisition.time_s).astype(np.complex64)
    return fids * turn.reshape(-1, *[1] * (fids.ndim - 4))
