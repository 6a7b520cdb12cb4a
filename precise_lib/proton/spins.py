"""Spin systems under ideal pulses: transition frequencies and amplitudes of coupled protons, any echo time and field.

The Hamiltonian of a moiety of n protons (angular frequencies, rotating frame of the carrier) is
``H = 2 pi (sum_k nu_k I_kz + sum_{k<o} J_ko I_k . I_o)``. An echo is ``90 - d_0 - 180 - d_1 - 180 - ... - acquire``.
Pulses act on all protons at once: 90 about y makes the density matrix the sum of the I_kx; 180 about x turns every spin
over, which only reverses the order of the product states. The FID is ``sum_ab A_ab exp(2 pi i nu_ab t)`` over the
transitions: ``S = <I_x> + i <I_y>``, so a proton above the carrier has a positive frequency, and contributes 1 to S(0)
at echo time zero. A nucleus that no pulse touches (31P, 14N) shifts the protons by ``J m``; the FID is the mean over
its states m. Amplitudes hold no relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import yaml

from precise_lib.errors import InputError, check_number, reason
from precise_lib.io.shipped import data_path

# delays between the pulses and up to the acquisition, as shares of the echo time
TIMINGS = {
    "spin-echo": (1 / 2, 1 / 2),
    "press": (1 / 4, 1 / 2, 1 / 4),
    "semi-laser": (1 / 8, 1 / 4, 1 / 4, 1 / 4, 1 / 8),
}
NUCLEUS_STATES = {"31P": (-0.5, 0.5), "14N": (-1.0, 0.0, 1.0)}
LARGEST = 10  # protons in one moiety: 1024 states, a few seconds


@dataclass(frozen=True)
class Moiety:
    """Protons that no coupling connects to the rest of their molecule."""

    name: str  # unique within its metabolite
    ppm: tuple[float, ...]  # chemical shifts, one per proton
    couplings_hz: tuple[tuple[int, int, float], ...] = ()  # (proton, proton, J in Hz), numbered from 0
    count: int = 1  # protons of one shift and no couplings that a single entry of `ppm` stands for
    fraction: float = 1.0  # of the molecule in a mixture
    nuclei_hz: tuple[tuple[str, tuple[float, ...]], ...] = ()  # ("31P" or "14N", couplings in Hz to each proton)

    def __post_init__(self):
        n = len(self.ppm)
        if not 1 <= n <= LARGEST:
            raise InputError(f"{self.name} has {n} coupled protons; from 1 to {LARGEST} can be simulated.")
        if self.count != 1 and n != 1:
            raise InputError(f"{self.name} has a count and several shifts; a count is for protons of one shift.")
        if any(not (0 <= a < n and 0 <= b < n) or a == b for a, b, _ in self.couplings_hz):
            raise InputError(f"{self.name} has a coupling to a proton that it lacks, or of one to itself.")
        for nucleus, hz in self.nuclei_hz:
            if nucleus not in NUCLEUS_STATES or len(hz) != n:
                known = ", ".join(NUCLEUS_STATES)
                raise InputError(f"{self.name} needs one coupling per proton to a nucleus of {known}.")

    @property
    def protons(self) -> float:
        """Protons per molecule of the mixture."""
        return len(self.ppm) * self.count * self.fraction


@lru_cache
def load_systems(path=None) -> dict[str, tuple[Moiety, ...]]:
    """Spin systems by metabolite, from ``data/spin_systems.yaml`` or a file like it; `InputError` for another."""
    path = data_path("spin_systems.yaml") if path is None else path
    try:
        with open(path, encoding="utf-8") as file:
            metabolites = yaml.safe_load(file)["metabolites"]
        return {name: tuple(_moiety(m) for m in entry["moieties"]) for name, entry in metabolites.items()}
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"The spin systems in {path} are not readable: {reason(error)}.") from error


def _moiety(entry: dict) -> Moiety:
    return Moiety(
        name=entry["name"],
        ppm=tuple(map(float, entry["ppm"])),
        couplings_hz=tuple((a - 1, b - 1, float(j)) for a, b, j in entry.get("couplings_hz", ())),
        count=entry.get("count", 1),
        fraction=entry.get("fraction", 1.0),
        nuclei_hz=tuple((name, tuple(map(float, hz))) for name, hz in entry.get("nuclei_hz", {}).items()),
    )


def spin_states(n: int) -> np.ndarray:
    """Quantum numbers m (2**n, n) of the product states; reversing their order turns every spin over."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    return 0.5 - bits


def hamiltonian(frequencies_hz, couplings_hz) -> np.ndarray:
    """H (2**n, 2**n) in rad/s, real and symmetric, for protons at `frequencies_hz` (n,) and couplings (k, o, J)."""
    n = len(frequencies_hz)
    m = spin_states(n)
    h = np.diag(m @ np.asarray(frequencies_hz, float))
    states = np.arange(2**n)
    for k, o, j in couplings_hz:
        h[states, states] += j * m[:, k] * m[:, o]
        unlike = states[m[:, k] != m[:, o]]
        h[unlike, unlike ^ (1 << k) ^ (1 << o)] += j / 2
    return 2 * np.pi * h


def raising(n: int) -> np.ndarray:
    """Total I+ (2**n, 2**n) of n protons, ``<a|I+|b>``."""
    states, operator = np.arange(2**n), np.zeros((2**n, 2**n))
    for k in range(n):
        down = states[(states >> k) & 1 == 1]
        operator[down ^ (1 << k), down] = 1.0
    return operator


def evolve(rho, energies, vectors, duration_s) -> np.ndarray:
    """Density matrix after a delay under the Hamiltonian of these eigenvalues (rad/s) and eigenvectors."""
    u = (vectors * np.exp(-1j * energies * duration_s)) @ vectors.T
    return u @ rho @ u.conj().T


def echo(frequencies_hz, couplings_hz, te_s: float = 0.0, timing="semi-laser"):
    """Density matrix at the start of acquisition, and the eigenvalues and eigenvectors of H, for `frequencies_hz` (n,)
    from the carrier; `InputError` for a timing that is none of `TIMINGS` (a 180 between two delays), and a negative
    echo time.
    """
    if timing not in TIMINGS:
        raise InputError(f"There is no timing '{timing}'; known are {', '.join(TIMINGS)}.")
    check_number("The echo time", te_s, zero=True)
    energies, vectors = np.linalg.eigh(hamiltonian(frequencies_hz, couplings_hz))
    plus = raising(len(frequencies_hz))
    rho = (plus + plus.T) / 2
    for k, share in enumerate(TIMINGS[timing]):
        if k:
            rho = rho[::-1, ::-1]
        if te_s > 0:
            rho = evolve(rho, energies, vectors, share * te_s)
    return rho, energies, vectors


def transitions(moiety: Moiety, spectrometer_frequency_mhz: float, te_s=0.0, timing="semi-laser", carrier_ppm=4.65):
    """Frequencies (K,) in Hz from the carrier and complex amplitudes (K,) of the lines of one moiety.

    Amplitudes count protons per molecule: at echo time zero they sum to `moiety.protons`. Lines below 1e-9 of the
    strongest are left out.

    >>> hz, amplitude = transitions(Moiety("CHCH", (4.1, 1.3), ((0, 1, 7.0),)), 123.25)
    >>> len(hz), round(float(amplitude.sum().real), 6)
    (4, 2.0)
    """
    offsets = (np.asarray(moiety.ppm) - carrier_ppm) * spectrometer_frequency_mhz
    n, plus = len(offsets), raising(len(offsets))
    frequencies, amplitudes = [], []
    states = list(product(*(NUCLEUS_STATES[name] for name, _ in moiety.nuclei_hz)))
    for ms in states:
        shifted = offsets + sum((m * np.asarray(hz) for m, (_, hz) in zip(ms, moiety.nuclei_hz, strict=True)), 0.0)
        rho, energies, vectors = echo(shifted, moiety.couplings_hz, te_s, timing)
        # <S>(t) = sum_ab rho_ab exp(-i (E_a - E_b) t) (I+)_ba
        amplitude = (vectors.T @ rho @ vectors) * (vectors.T @ plus @ vectors).T
        amplitude *= moiety.count * moiety.fraction / (len(states) * 2.0 ** (n - 2))
        keep = np.abs(amplitude) > 1e-9 * np.abs(amplitude).max()
        frequencies.append(((energies[None, :] - energies[:, None]) / (2 * np.pi))[keep])
        amplitudes.append(amplitude[keep])
    return np.concatenate(frequencies), np.concatenate(amplitudes)


def fid(frequencies_hz, amplitudes, n_samples: int, dwell_time_s: float, block: int = 64) -> np.ndarray:
    """FID (n_samples,) of the lines, ``sum_k A_k exp(2 pi i nu_k t)``."""
    # the time index is block * a + b: two small tables of exponentials replace n_samples x K exponentials
    rate = 2j * np.pi * dwell_time_s * np.asarray(frequencies_hz)
    coarse = np.exp(np.outer(block * np.arange(-(-n_samples // block)), rate))
    fine = np.exp(np.outer(rate, np.arange(block)))
    return ((coarse * amplitudes) @ fine).ravel()[:n_samples]
