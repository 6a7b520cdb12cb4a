"""What a signal model consists of: how the FID was sampled, its resonances, and what T1 leaves of their signal."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError, check_number

DEUTERIUM_MHZ_PER_T = 6.5359
MOST_SAMPLES = 2**20  # a header or card that claims more is wrong, and would fill the memory
MHZ_PER_T = {"2H": DEUTERIUM_MHZ_PER_T, "1H": 42.577, "31P": 17.2515, "13C": 10.7084, "129Xe": 11.777, "23Na": 11.262}
MHZ_PER_T |= {"19F": 40.078, "3He": 32.434, "7Li": 16.548, "17O": 5.772, "15N": 4.316}  # magnitudes
# rad^2: the Gaussian of full width g at half maximum decays as exp(-GAUSSIAN (g t)^2)
GAUSSIAN = np.pi**2 / (4 * np.log(2))
ROLES = ("metabolite", "baseline", "lipid")


@dataclass(frozen=True)
class Acquisition:
    """How the FID was sampled: complex samples, their distance in s, Larmor frequency in MHz, "2H" or "1H".

    Parameters
    ----------
    dead_time_s : from the (middle of the) excitation to the first sample
    repetition_time_s, flip_angle_deg : of the excitations, None where not known; for saturation by T1 alone

    Raises
    ------
    InputError : a number that is not positive, a dead time that is negative, fewer than two samples
    """

    n_samples: int
    dwell_time_s: float
    spectrometer_frequency_mhz: float
    nucleus: str = "2H"
    dead_time_s: float = 0.0
    repetition_time_s: float | None = None
    flip_angle_deg: float | None = None

    def __post_init__(self):
        if not 2 <= self.n_samples <= MOST_SAMPLES:
            n = self.n_samples
            raise InputError(f"The FID has {n} time point(s); at least two are needed, and at most {MOST_SAMPLES}.")
        for field in ("dwell_time_s", "spectrometer_frequency_mhz", "dead_time_s"):
            check_number(field, getattr(self, field), zero=field == "dead_time_s")

    @cached_property
    def time_s(self) -> np.ndarray:
        """Sampling times from the excitation, (n_samples,), s."""
        return self.dead_time_s + np.arange(self.n_samples) * self.dwell_time_s

    @property
    def bandwidth_hz(self) -> float:
        return 1.0 / self.dwell_time_s

    @property
    def field_t(self) -> float:
        """Field of the magnet, T; NaN for a nucleus that is not among `MHZ_PER_T`."""
        return self.spectrometer_frequency_mhz / MHZ_PER_T.get(self.nucleus, np.nan)

    def differences(self, model: Acquisition) -> list[str]:
        """How FIDs sampled so differ from those that a model is of, in words.

        The number of samples and the nucleus must be equal, the dwell time within 1e-4, the frequency within 1 %, the
        dead time within 5 us: lines 1 kHz apart turn by less than 2 degrees in that time.
        """
        compared = {
            "nucleus": ("nucleus", None),
            "number of samples": ("n_samples", None),
            "dwell time in s": ("dwell_time_s", 1e-4),
            "frequency in MHz": ("spectrometer_frequency_mhz", 0.01),
        }
        wrong = []
        for name, (field, tolerance) in compared.items():
            theirs, ours = getattr(self, field), getattr(model, field)
            if not (theirs == ours or (tolerance and abs(theirs / ours - 1) <= tolerance)):
                wrong.append(f"{name} {theirs} against {ours}")
        if abs(self.dead_time_s - model.dead_time_s) > 5e-6:
            wrong.append(f"dead time in s {self.dead_time_s:g} against {model.dead_time_s:g}")
        return wrong

    @cached_property
    def frequency_axis_hz(self) -> np.ndarray:
        """Frequencies of `spectrum`, (n_samples,), Hz from the carrier, ascending."""
        return np.fft.fftshift(np.fft.fftfreq(self.n_samples, self.dwell_time_s))


@dataclass(frozen=True)
class Resonance:
    """One Lorentzian line, or several in fixed proportion that share an amplitude.

    With lines its unit FID is ``sum_l c_l exp(2 pi i nu_l t - GAUSSIAN (g_l t)^2 - t / T2*)``, c_l complex.

    Parameters
    ----------
    ppm : of the main line
    role : "metabolite", "baseline" or "lipid"
    lines : rows (ppm, Re c_l, Im c_l, g_l in Hz); none for a single line of weight one at `ppm`
    shift_sd_hz, width_sd_hz : SD of Gaussian priors, around zero, on a shift and an extra Lorentzian full width of its
        own (temperature, pH, susceptibility); 0 where it moves and widens with all others
    t1_s, t1_sd_s, nuclei : longitudinal relaxation time and its SD, nuclei per molecule that give the signal; what
        turns an amplitude into a concentration, None where not known

    Raises
    ------
    InputError : a T2*, T1 or number of nuclei that is not positive, an SD that is negative, an unknown role, a line
        that is not four finite numbers
    """

    name: str
    ppm: float
    t2star_s: float
    role: str = "metabolite"
    lines: tuple[tuple[float, float, float, float], ...] = ()
    t1_s: float | None = None
    t1_sd_s: float | None = None
    nuclei: float | None = None
    shift_sd_hz: float = 0.0
    width_sd_hz: float = 0.0

    def __post_init__(self):
        check_number(f"T2* of {self.name}", self.t2star_s)
        for field in ("shift_sd_hz", "width_sd_hz", "t1_s", "t1_sd_s", "nuclei"):
            value = getattr(self, field)
            if value is not None:
                check_number(f"{field} of {self.name}", value, zero="sd_hz" in field)
        if self.role not in ROLES:
            raise InputError(f"The role of {self.name} is '{self.role}'; it must be one of {', '.join(ROLES)}.")
        if not isinstance(self.lines, list | tuple) or not all(isinstance(line, list | tuple) for line in self.lines):
            raise InputError(
                f"The lines of {self.name} are {self.lines!r}; they must be a list of lists of four numbers."
            )
        object.__setattr__(self, "lines", tuple(tuple(line) for line in self.lines))
        if any(len(line) != 4 or not np.isfinite(line).all() for line in self.lines):
            raise InputError(f"A line of {self.name} is not four numbers (ppm, real, imaginary, Gaussian width).")

    @property
    def lifetime_s(self) -> float:
        """``1 / (pi FWHM)``: T2*, or less where all its lines have a Gaussian width too."""
        gaussian_hz = min((line[3] for line in self.lines), default=0.0)
        return float(1 / np.hypot(1 / self.t2star_s, np.pi * gaussian_hz))

    def unit_fid(self, acquisition: Acquisition, carrier_ppm: float) -> np.ndarray:
        """FID (n_samples,) of amplitude one."""
        ppm, real, imaginary, gaussian_hz = np.array(self.lines or ((self.ppm, 1, 0, 0),), float).T
        t, hz = acquisition.time_s, (ppm - carrier_ppm) * acquisition.spectrometer_frequency_mhz
        lines = np.exp(2j * np.pi * hz[:, None] * t) * gaussian_decay(gaussian_hz, t)
        return (real + 1j * imaginary) @ lines * np.exp(-t / self.t2star_s)


def gaussian_decay(fwhm_hz, time_s) -> np.ndarray:
    """Envelope (..., t) of Gaussian lines of full width `fwhm_hz` (...)."""
    return np.exp(-GAUSSIAN * (np.asarray(fwhm_hz, float)[..., None] * time_s) ** 2)


def exponentials(rates, acquisition: Acquisition) -> np.ndarray:
    """``exp(rates t)`` (V, t) complex of rates (V,) per s: products of two short ones, several times as fast."""
    rates, root = np.asarray(rates)[:, None], int(np.ceil(np.sqrt(acquisition.n_samples)))
    n = next((n for n in range(root, 2 * root) if acquisition.n_samples % n == 0), root)
    inner, outer = np.exp(rates * acquisition.dwell_time_s * np.arange(n)), np.exp(rates * acquisition.time_s[::n])
    values = (outer[..., None] * inner[:, None]).reshape(len(rates), outer.shape[1] * n)
    return np.ascontiguousarray(values[:, : acquisition.n_samples])


def saturation(t1_s, repetition_time_s, flip_angle_deg) -> np.ndarray:
    """Signal of the steady state over that of a relaxed line under a pulse of 90 degrees; arguments broadcast.

    ``sin a (1 - E) / (1 - E cos a)`` with ``E = exp(-TR / T1)``: after many pulses of angle a, no transverse
    magnetization left at the next one (Ernst and Anderson 1966).

    >>> saturation(0.3, 3.0, 90.0).round(4).item()
    1.0
    """
    decay = np.exp(-np.asarray(repetition_time_s, float) / t1_s)
    angle = np.radians(flip_angle_deg)
    return np.sin(angle) * (1 - decay) / (1 - decay * np.cos(angle))


def sensitivity(t1_s, repetition_time_s, flip_angle_deg) -> np.ndarray:
    """Relative change of `saturation` for a relative change of T1: ``d ln S / d ln T1``, never positive."""
    ratio = np.asarray(repetition_time_s, float) / t1_s
    decay, cosine = np.exp(-ratio), np.cos(np.radians(flip_angle_deg))
    return -ratio * decay * (1 - cosine) / ((1 - decay) * (1 - decay * cosine))
