"""The signal model of Eqs 1 and 2 of PRECISE-DMI: acquisition, resonances, FIDs, noise and SNR.

Sign convention: a resonance above the carrier (higher ppm) has a positive frequency under a plain
``numpy.fft.fft``. Line broadening is an extra Lorentzian full width ``broadening_hz`` common to all lines:
``1/T2*' = 1/T2* + pi * broadening_hz``. For lines with one common T2*, this is Eq. 2's ``T + delta T`` in
other words (`broadening_from_delta_t` converts).

Proton spectra need three terms more (PRECISE-DMI, Discussion), and a signal model may have any of them:

* baseline: resonances of role "baseline" (macromolecules) are fitted but not of interest. A resonance may consist of
  many lines in fixed proportion, ``sum_l c_l exp(2 pi i nu_l t - GAUSSIAN (g_l t)^2 - t / T2*)`` with complex c_l;
* lipids: resonances of role "lipid" come from elsewhere, the scalp, and have a frequency of their own: all of them are
  shifted by one further ``offset_hz``;
* lineshape "voigt": an unknown Gaussian width g common to all lines, ``exp(-GAUSSIAN (g t)^2)``, beside the Lorentzian.

So ``S(t) = exp(i phi + (2 pi i shift - pi broadening) t - GAUSSIAN (g t)^2) sum_m a_m B_m(t) exp(2 pi i o_m t)``, with
``o_m = offset_hz`` for lipids and zero for all others.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from precise_lib.errors import InputError, reason
from precise_lib.signal.presets import SHIFTS_2H_PPM

DEUTERIUM_MHZ_PER_T = 6.5359
MOST_SAMPLES = 2**20  # a header or card that claims more is wrong, and would fill the memory
_MHZ_PER_T = {"2H": DEUTERIUM_MHZ_PER_T, "1H": 42.577}
# rad^2: the Gaussian of full width g at half maximum decays as exp(-GAUSSIAN (g t)^2)
GAUSSIAN = np.pi**2 / (4 * np.log(2))
ROLES = ("metabolite", "baseline", "lipid")
LINESHAPES = ("lorentzian", "voigt")


@dataclass(frozen=True)
class Acquisition:
    """How the FID was sampled.

    Parameters
    ----------
    n_samples : number of complex time samples
    dwell_time_s : time between two samples, s
    spectrometer_frequency_mhz : Larmor frequency of the nucleus, MHz
    nucleus : "2H" or "1H"

    Raises
    ------
    InputError : a number is not positive, or fewer than two samples
    """

    n_samples: int
    dwell_time_s: float
    spectrometer_frequency_mhz: float
    nucleus: str = "2H"

    def __post_init__(self):
        if not 2 <= self.n_samples <= MOST_SAMPLES:
            raise InputError(
                f"The FID has {self.n_samples} time point(s); at least two are needed, and at most {MOST_SAMPLES}."
            )
        for field in ("dwell_time_s", "spectrometer_frequency_mhz"):
            value = getattr(self, field)
            if not (np.isfinite(value) and value > 0):
                raise InputError(f"{field} is {value}; it must be a positive number.")

    @cached_property
    def time_s(self) -> np.ndarray:
        """Sampling times, (n_samples,), s."""
        return np.arange(self.n_samples) * self.dwell_time_s

    @property
    def bandwidth_hz(self) -> float:
        return 1.0 / self.dwell_time_s

    @property
    def field_t(self) -> float:
        """Field of the magnet, T; NaN for a nucleus that is neither 2H nor 1H."""
        return self.spectrometer_frequency_mhz / _MHZ_PER_T.get(self.nucleus, np.nan)

    @cached_property
    def frequency_axis_hz(self) -> np.ndarray:
        """Frequencies of `spectrum`, (n_samples,), Hz from the carrier, ascending."""
        return np.fft.fftshift(np.fft.fftfreq(self.n_samples, self.dwell_time_s))


@dataclass(frozen=True)
class Resonance:
    """One Lorentzian line, or several in fixed proportion that share an amplitude.

    Parameters
    ----------
    name, ppm, t2star_s : chemical shift (of the main line) in ppm, T2* in s
    role : "metabolite", "baseline" or "lipid"
    lines : rows (ppm, real, imaginary, gaussian_hz): place, complex weight and Gaussian width of each line;
        none for a single line of weight one at `ppm`

    Raises
    ------
    InputError : a T2* that is not positive, an unknown role, a line that is not four finite numbers
    """

    name: str
    ppm: float
    t2star_s: float
    role: str = "metabolite"
    lines: tuple[tuple[float, float, float, float], ...] = ()

    def __post_init__(self):
        if not (np.isfinite(self.t2star_s) and self.t2star_s > 0):
            raise InputError(f"T2* of {self.name} is {self.t2star_s} s; it must be a positive number.")
        if self.role not in ROLES:
            raise InputError(f"The role of {self.name} is '{self.role}'; it must be one of {', '.join(ROLES)}.")
        object.__setattr__(self, "lines", tuple(tuple(line) for line in self.lines))
        if any(len(line) != 4 or not np.isfinite(line).all() for line in self.lines):
            raise InputError(f"A line of {self.name} is not four numbers (ppm, real, imaginary, Gaussian width).")

    def unit_fid(self, acquisition: Acquisition, carrier_ppm: float) -> np.ndarray:
        """FID (n_samples,) of amplitude one."""
        ppm, real, imaginary, gaussian_hz = np.array(self.lines or ((self.ppm, 1, 0, 0),), float).T
        t, hz = acquisition.time_s, (ppm - carrier_ppm) * acquisition.spectrometer_frequency_mhz
        lines = np.exp(2j * np.pi * hz[:, None] * t) * gaussian_decay(gaussian_hz, t)
        return (real + 1j * imaginary) @ lines * np.exp(-t / self.t2star_s)


@dataclass(frozen=True)
class SignalModel:
    """Acquisition and resonances: everything an estimator may assume of a FID.

    Parameters
    ----------
    acquisition : `Acquisition`
    resonances : tuple of `Resonance`; their order is the order of every metabolite axis
    carrier_ppm : chemical shift at zero frequency
    reference : name of the resonance whose concentration is known
    reference_concentration_mm : that concentration (natural-abundance HDO: 10 mM)
    lineshape : "lorentzian", or "voigt" where estimators must reckon with a Gaussian width too

    Example
    -------
    >>> model = dmi_11t7()
    >>> fid = model.fids([1.0, 0.3, 0.6, 0.1], shift_hz=5.0)
    >>> fid.shape
    (512,)
    """

    acquisition: Acquisition
    resonances: tuple[Resonance, ...]
    carrier_ppm: float = 4.7
    reference: str = "water"
    reference_concentration_mm: float = 10.0
    lineshape: str = "lorentzian"

    def __post_init__(self):
        object.__setattr__(self, "resonances", tuple(self.resonances))
        if self.lineshape not in LINESHAPES:
            raise InputError(f"The lineshape is '{self.lineshape}'; it must be one of {', '.join(LINESHAPES)}.")
        if len(set(self.names)) != len(self.names):
            raise InputError(f"Resonance names must differ, not {', '.join(self.names)}.")
        if self.reference not in self.names:
            names = ", ".join(self.names) or "none"
            raise InputError(f"The reference '{self.reference}' is not one of the resonances: {names}.")

    @property
    def names(self) -> list[str]:
        return [r.name for r in self.resonances]

    def index(self, name: str) -> int:
        """Position of a resonance; raises `InputError` for a name the model lacks."""
        if name not in self.names:
            raise InputError(f"The signal model has no '{name}', only {', '.join(self.names)}.")
        return self.names.index(name)

    def of_role(self, *roles: str) -> np.ndarray:
        """(M,) bool: the resonances of these roles."""
        return np.array([r.role in roles for r in self.resonances])

    @property
    def common(self) -> tuple[str, ...]:
        """Names of what a FID depends on besides amplitudes, in the order of `derivatives.jacobian`."""
        names = ("shift_hz", "broadening_hz", "phase_rad")
        names += ("gaussian_hz",) if self.lineshape == "voigt" else ()
        return names + (("offset_hz",) if self.of_role("lipid").any() else ())

    @property
    def frequencies_hz(self) -> np.ndarray:
        """Line frequencies from the carrier, (M,), Hz."""
        ppm = np.array([r.ppm for r in self.resonances])
        return (ppm - self.carrier_ppm) * self.acquisition.spectrometer_frequency_mhz

    @property
    def t2star_s(self) -> np.ndarray:
        return np.array([r.t2star_s for r in self.resonances])

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
        shift, broad, phase = (np.asarray(v, float)[..., None] for v in (shift_hz, broadening_hz, phase_rad))
        envelope = np.exp((2j * np.pi * shift - np.pi * broad) * self.acquisition.time_s + 1j * phase)
        return envelope * gaussian_decay(gaussian_hz, self.acquisition.time_s) if np.any(gaussian_hz) else envelope

    def lipid_rotation(self, offset_hz=0.0) -> np.ndarray:
        """The factor of each line, (..., M, n_samples): ``exp(2 pi i offset t)`` for lipids, one for all others."""
        offset = np.asarray(offset_hz, float)[..., None, None] * self.of_role("lipid")[:, None]
        return np.exp(2j * np.pi * offset * self.acquisition.time_s)

    def fids(
        self, amplitudes, shift_hz=0.0, broadening_hz=0.0, phase_rad=0.0, gaussian_hz=0.0, offset_hz=0.0
    ) -> np.ndarray:
        """Noiseless FIDs of Eq. 2.

        Parameters
        ----------
        amplitudes : (..., M)
        shift_hz, broadening_hz, phase_rad, gaussian_hz : scalars or arrays that broadcast to (...)
        offset_hz : of the lipids, as well

        Returns
        -------
        (..., n_samples) complex128
        """
        amplitudes = np.asarray(amplitudes, float)
        clean = amplitudes @ self.basis().T
        if np.any(offset_hz):
            lipid = self.of_role("lipid")
            turn = np.exp(2j * np.pi * np.asarray(offset_hz, float)[..., None] * self.acquisition.time_s)
            clean = clean + amplitudes[..., lipid] @ self.basis()[:, lipid].T * (turn - 1)
        return clean * self.envelope(shift_hz, broadening_hz, phase_rad, gaussian_hz)

    def concentrations(self, amplitudes) -> np.ndarray:
        """Amplitudes (..., M) to mM by the reference; NaN where the reference is not positive."""
        amplitudes = np.asarray(amplitudes, float)
        water = amplitudes[..., [self.index(self.reference)]]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(water > 0, amplitudes / water, np.nan) * self.reference_concentration_mm

    def to_dict(self) -> dict:
        """Plain values; terms that the model does not have are left out, so that names (`hash`) of others last."""
        values = json.loads(json.dumps(asdict(self)))
        for resonance in values["resonances"]:
            _drop_defaults(resonance, role="metabolite", lines=[])
        return _drop_defaults(values, lineshape="lorentzian")

    @classmethod
    def from_dict(cls, values: dict) -> SignalModel:
        """Inverse of `to_dict`; raises `InputError` on a missing or unknown field."""
        try:
            values = dict(values)
            acquisition = Acquisition(**values.pop("acquisition"))
            resonances = tuple(Resonance(**r) for r in values.pop("resonances"))
            return cls(acquisition=acquisition, resonances=resonances, **values)
        except (KeyError, TypeError) as error:
            raise InputError(f"The signal model is not readable: {reason(error)}.") from error

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that name this signal model."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]


def _drop_defaults(values: dict, **defaults) -> dict:
    for name, default in defaults.items():
        if values[name] == default:
            del values[name]
    return values


def gaussian_decay(fwhm_hz, time_s) -> np.ndarray:
    """Envelope (..., t) of Gaussian lines of full width `fwhm_hz` (...)."""
    return np.exp(-GAUSSIAN * (np.asarray(fwhm_hz, float)[..., None] * time_s) ** 2)


def broadening_from_delta_t(t2star_s: float, delta_t_s):
    """Extra Lorentzian width (Hz) that turns T2* into T2* + delta T, as Eq. 2 writes it."""
    return (1 / (t2star_s + np.asarray(delta_t_s)) - 1 / t2star_s) / np.pi


def spectrum(fids) -> np.ndarray:
    """Spectra of FIDs (..., t) on `Acquisition.frequency_axis_hz`: a plain FFT, zero frequency centered."""
    return np.fft.fftshift(np.fft.fft(fids, axis=-1), axes=-1)


def add_noise(fids, sigma, rng: np.random.Generator) -> np.ndarray:
    """Add white complex noise; `sigma` (broadcast to (...)) is the SD of the real and of the imaginary part."""
    fids = np.asarray(fids)
    noise = rng.standard_normal((*fids.shape, 2)).view(np.complex128)[..., 0]
    return fids + np.asarray(sigma)[..., None] * noise


def peak_height(model: SignalModel, broadening_hz=0.0) -> np.ndarray:
    """Spectral peak height of the reference line at unit amplitude: the sum of its FID envelope."""
    t2 = model.t2star_s[model.index(model.reference)]
    rate = 1 / t2 + np.pi * np.asarray(broadening_hz, float)
    return np.exp(-rate[..., None] * model.acquisition.time_s).sum(-1)


def snr_to_sigma(model: SignalModel, snr, amplitude=1.0, broadening_hz=0.0):
    """Time-domain noise SD for the SNR of PRECISE-DMI.

    SNR is the height of the water peak in the spectrum over the SD of one channel of the spectral noise, which
    is ``sigma * sqrt(n_samples)`` under the plain FFT. `amplitude` is that of water.
    """
    snr = np.asarray(snr, float)
    return amplitude * peak_height(model, broadening_hz) / (snr * np.sqrt(model.acquisition.n_samples))


# The lines of PRECISE-DMI; T2* is not printed there: 20 ms is the middle of the plausible 15-30 ms.
_2H_LINES = tuple((name, SHIFTS_2H_PPM[name]) for name in ("water", "Glc", "Glx", "Lac"))


def default_2h_model(acquisition: Acquisition, t2star_s: float = 0.020) -> SignalModel:
    """Water, Glc, Glx and Lac for any 2H acquisition; raises `InputError` for another nucleus."""
    if acquisition.nucleus != "2H":
        raise InputError(f"The data are of {acquisition.nucleus}; deuterium (2H) data are needed.")
    return SignalModel(acquisition, tuple(Resonance(n, ppm, t2star_s) for n, ppm in _2H_LINES))


def dmi_11t7(t2star_s: float = 0.020) -> SignalModel:
    """The phantom study of PRECISE-DMI: 76.7 MHz, 512 samples, 2.5 kHz."""
    return default_2h_model(Acquisition(512, 1 / 2500, 76.7), t2star_s)


def dmi_rat(t2star_s: float = 0.020) -> SignalModel:
    """The in vivo rat studies of PRECISE-DMI: 76.7 MHz (11.74 T), 5 kHz; 1024 samples are ours (TR is 400 ms)."""
    return default_2h_model(Acquisition(1024, 1 / 5000, 76.7), t2star_s)


def dmi_7t(t2star_s: float = 0.025) -> SignalModel:
    """Human brain at 7 T: 45.75 MHz, 512 samples, 2.5 kHz; lines 13 Hz wide, the closest 46 Hz apart.

    T2* is assumed: below the T2 of 33-37 ms that is measured there.
    """
    return default_2h_model(Acquisition(512, 1 / 2500, 45.75), t2star_s)


def dmi_4t(t2star_s: float = 0.030) -> SignalModel:
    """Human brain at 4 T: 26.14 MHz, 512 samples, 2.5 kHz; lines 11 Hz wide, the closest 26 Hz apart, overlap."""
    return default_2h_model(Acquisition(512, 1 / 2500, 26.14), t2star_s)


def dmi_3t(t2star_s: float = 0.030) -> SignalModel:
    """Human brain at 3 T: 19.613053 MHz, 1400 samples, 5 kHz; lines 10 Hz wide, 20 Hz apart, overlap."""
    return default_2h_model(Acquisition(1400, 1 / 5000, 19.613053), t2star_s)
