"""Spin simulation: against analytic multiplets, product operators, matrix exponentials and conservation laws."""

import time

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.signal import find_peaks

from precise_lib.errors import InputError
from precise_lib.proton import spins
from precise_lib.proton.spins import TIMINGS, Moiety, fid, load_systems, transitions

MHZ, CARRIER, DWELL, POINTS = 123.25, 4.65, 1 / 4000, 4096
PROTONS = {"NAA": 7, "tCr": 6.5, "mI": 6, "Glu": 5, "Glc": 7, "NAAG": 13, "Gln": 7, "GSH": 12, "sI": 6, "Gly": 2}
PROTONS |= {"Asp": 3, "PE": 4, "Tau": 4, "Lac": 4, "GABA": 6, "tCho": 15.5}


def lines(metabolite, te_s=0.0, **settings):
    parts = [transitions(m, MHZ, te_s, carrier_ppm=CARRIER, **settings) for m in load_systems()[metabolite]]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def ppm_of(hz):
    return CARRIER + np.asarray(hz) / MHZ


def absorption(metabolite, te_s=0.0, fwhm_hz=3.0, zero_fill=4):
    """Spectrum of 3 Hz lines and its ppm axis; the integral over Hz of a line of one proton is 1/2."""
    signal = fid(*lines(metabolite, te_s), POINTS, DWELL) * np.exp(-np.pi * fwhm_hz * DWELL * np.arange(POINTS))
    signal[0] /= 2
    spectrum = np.fft.fftshift(np.fft.fft(signal, zero_fill * POINTS)).real * DWELL
    hz = np.fft.fftshift(np.fft.fftfreq(zero_fill * POINTS, DWELL))
    return ppm_of(hz), spectrum


def pair(j, delta_hz, name="pair"):
    """Two coupled protons, delta_hz apart, around the carrier."""
    half = delta_hz / 2 / MHZ
    return Moiety(name, (CARRIER - half, CARRIER + half), ((0, 1, j),))


def operators(n):
    """I_x, I_y, I_z of each of n spins by Kronecker products: a route that shares nothing with the module."""
    pauli = [np.array(p) / 2 for p in ([[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])]

    def embed(matrix, k):
        out = np.eye(1)
        for i in range(n):
            out = np.kron(out, matrix if i == k else np.eye(2))
        return out

    return [[embed(p, k) for p in pauli] for k in range(n)]


def brute_force(hz, couplings, timing, te_s, times, protons=None, weak=()):
    """FID by matrix exponentials, pulses included; only `protons` are pulsed and seen, `weak` couplings are I_z I_z."""
    spin = operators(len(hz))
    protons = range(len(hz)) if protons is None else protons
    h = sum(2 * np.pi * f * s[2] for f, s in zip(hz, spin, strict=True))
    for k, o, j in couplings:
        h = h + 2 * np.pi * j * sum(spin[k][i] @ spin[o][i] for i in range(3))
    for k, o, j in weak:
        h = h + 2 * np.pi * j * spin[k][2] @ spin[o][2]
    x, y, z = (sum(spin[k][i] for k in protons) for i in range(3))
    quarter, half = expm(-0.5j * np.pi * y), expm(-1j * np.pi * x)
    rho = quarter @ z @ quarter.conj().T
    for k, share in enumerate(TIMINGS[timing]):
        for u in [half] * (k > 0) + [expm(-1j * h * share * te_s)]:
            rho = u @ rho @ u.conj().T
    scale = np.trace(x @ (x + 1j * y)).real / len(protons)
    signal = []
    for t in times:
        u = expm(-1j * h * t)
        signal.append(np.trace(u @ rho @ u.conj().T @ (x + 1j * y)) / scale)
    return np.array(signal)


@pytest.mark.parametrize(
    ("metabolite", "ppm", "tolerance"),
    [("NAA", 2.008, 0.003), ("tCr", 3.028, 0.003), ("tCr", 3.92, 0.012), ("tCho", 3.21, 0.004), ("sI", 3.34, 0.003)],
)
def test_singlets_lie_where_published(metabolite, ppm, tolerance):
    axis, spectrum = absorption(metabolite)
    near = np.abs(axis - ppm) < 0.1
    assert abs(axis[near][spectrum[near].argmax()] - ppm) < tolerance


def test_lactate_doublet():
    axis, spectrum = absorption("Lac", fwhm_hz=1.0)
    near = np.abs(axis - 1.31) < 0.1
    peaks = find_peaks(spectrum[near], height=0.3 * spectrum[near].max())[0]
    assert len(peaks) == 2
    assert abs(np.diff(axis[near][peaks])[0]) * MHZ == pytest.approx(6.933, abs=0.1)
    assert axis[near][peaks].mean() == pytest.approx(1.3142, abs=0.002)


@pytest.mark.parametrize("metabolite", PROTONS)
def test_area_is_the_proton_count(metabolite):
    assert sum(m.protons for m in load_systems()[metabolite]) == pytest.approx(PROTONS[metabolite])
    assert lines(metabolite)[1].sum() == pytest.approx(PROTONS[metabolite], rel=1e-6)
    axis, spectrum = absorption(metabolite)
    # a proton at S(0) = 1 has an integral of 1/2 over Hz (the first point halved); axis in ppm
    assert np.trapezoid(spectrum, axis) * MHZ == pytest.approx(PROTONS[metabolite] / 2, rel=1e-3)


def test_area_of_one_group():
    axis, spectrum = absorption("Lac", fwhm_hz=1.0)
    methyl = np.trapezoid(spectrum[axis < 2.7], axis[axis < 2.7])
    assert methyl / np.trapezoid(spectrum, axis) == pytest.approx(3 / 4, abs=0.005)


def test_weak_coupling_doublet_and_triplet():
    """Far apart, A of AX is 1:1 and A of AX2 is 1:2:1, split by J."""
    triplet = Moiety("AX2", (CARRIER, 900.0, 900.0), ((0, 1, 8.0), (0, 2, 8.0)))
    for moiety, expected in (
        (pair(7.0, 1e5), {-3.5: 0.5, 3.5: 0.5}),
        (triplet, {-8.0: 0.25, 0.0: 0.5, 8.0: 0.25}),
    ):
        hz, amplitude = transitions(moiety, MHZ, carrier_ppm=moiety.ppm[0])
        near = np.abs(hz) < 50
        for position, weight in expected.items():
            at = near & (np.abs(hz - position) < 0.02)
            assert amplitude[at].sum() == pytest.approx(weight, abs=2e-4)
        assert amplitude[near].sum() == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize(("j", "delta"), [(10.0, 15.0), (7.0, 60.0), (-14.0, 8.0)])
def test_strong_coupling_quartet_in_closed_form(j, delta):
    """The AB quartet: lines at (+-C +- J)/2 with C^2 = J^2 + delta^2, inner lines 1 + |J|/C, outer 1 - |J|/C."""
    hz, amplitude = transitions(pair(j, delta), MHZ, carrier_ppm=CARRIER)
    c = np.hypot(j, delta)
    for sign in (-1, 1):
        for inner in (-1, 1):
            at = np.isclose(hz, sign * (c - inner * abs(j)) / 2, atol=1e-6)
            assert amplitude[at].sum() == pytest.approx((1 + inner * abs(j) / c) / 2)


def test_zero_echo_time_is_pulse_acquire():
    for timing in TIMINGS:
        hz, amplitude = transitions(load_systems()["Glu"][0], MHZ, 0.0, timing)
        m = load_systems()["Glu"][0]
        direct = brute_force(
            (np.array(m.ppm) - 4.65) * MHZ, m.couplings_hz, timing, 0.0, t := np.array([0.0, 0.011, 0.2])
        )
        assert np.exp(2j * np.pi * np.outer(t, hz)) @ amplitude == pytest.approx(direct, abs=1e-8)


@pytest.mark.parametrize("timing", TIMINGS)
def test_two_spins_by_product_operators(timing):
    """Weak coupling: every 180 refocuses the shift, J evolves for TE whatever their number: cos(pi J (TE + t))."""
    j, delta, te = 7.0, 1e6, 0.035
    hz, amplitude = transitions(pair(j, delta), MHZ, te, timing, carrier_ppm=CARRIER)
    t = np.linspace(0, 0.3, 7)
    simulated = np.exp(2j * np.pi * np.outer(t, hz)) @ amplitude
    # both protons; the shift of each is that of the uncoupled proton
    expected = 2 * np.cos(np.pi * delta * t) * np.cos(np.pi * j * (te + t))
    # second order: the lines lie J^2 / (2 delta) off, the amplitudes J / delta
    assert simulated == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("timing", TIMINGS)
def test_strongly_coupled_spins_by_matrix_exponentials(timing):
    te, t = 0.061, np.linspace(0, 0.25, 6)
    moiety = Moiety("ABC", (4.5, 4.56, 4.8), ((0, 1, -14.0), (0, 2, 9.0), (1, 2, 3.5)))
    hz, amplitude = transitions(moiety, MHZ, te, timing)
    expected = brute_force((np.array(moiety.ppm) - 4.65) * MHZ, moiety.couplings_hz, timing, te, t)
    assert np.exp(2j * np.pi * np.outer(t, hz)) @ amplitude == pytest.approx(expected, abs=1e-8)


def test_phosphorus_is_neither_pulsed_nor_seen():
    """PE-like AB pair beside 31P: the average over its states equals a third spin that no pulse touches."""
    te, t = 0.035, np.linspace(0, 0.2, 6)
    moiety = Moiety("ABX", (4.6, 4.7), ((0, 1, 12.0),), nuclei_hz=(("31P", (7.0, -2.0)),))
    hz, amplitude = transitions(moiety, MHZ, te)
    offsets = [*((np.array(moiety.ppm) - 4.65) * MHZ), 0.0]
    weak = ((0, 2, 7.0), (1, 2, -2.0))
    expected = brute_force(offsets, moiety.couplings_hz, "semi-laser", te, t, protons=(0, 1), weak=weak)
    assert np.exp(2j * np.pi * np.outer(t, hz)) @ amplitude == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("te_s", "sign"), [(0.144, -1), (0.288, 1), (0.072, 0)])
def test_lactate_inverts_at_one_over_j(te_s, sign):
    """Four hard 180s leave J alone: the methyl doublet follows cos(pi J TE), inverted at 144 ms, upright at 288 ms."""
    hz, amplitude = lines("Lac", te_s)
    methyl = amplitude[np.abs(ppm_of(hz) - 1.3142) < 0.3].sum()
    assert methyl.real == pytest.approx(3 * np.cos(np.pi * 6.933 * te_s), abs=0.1)
    assert methyl.real == pytest.approx(3 * sign, abs=0.15)


@pytest.mark.parametrize("metabolite", ["sI", "Gly"])
def test_singlets_do_not_know_the_echo_time(metabolite):
    assert lines(metabolite, 0.2)[1] == pytest.approx(lines(metabolite)[1])


def test_trace_norm_and_energy_are_conserved():
    moiety = load_systems()["GABA"][0]
    hz = (np.array(moiety.ppm) - 4.65) * MHZ
    h = spins.hamiltonian(hz, moiety.couplings_hz)
    start, energies, vectors = spins.echo(hz, moiety.couplings_hz)
    end, _, _ = spins.echo(hz, moiety.couplings_hz, 0.035)
    assert abs(np.trace(end)) < 1e-10
    assert end == pytest.approx(end.conj().T, abs=1e-12)
    assert np.linalg.norm(end) == pytest.approx(np.linalg.norm(start))
    mixed = start + np.diag(spins.spin_states(6).sum(1))
    later = spins.evolve(mixed, energies, vectors, 0.0123)
    assert np.trace(later @ h).real == pytest.approx(np.trace(mixed @ h).real)
    assert np.linalg.norm(later) == pytest.approx(np.linalg.norm(mixed))


def test_fid_equals_the_plain_sum():
    rng = np.random.default_rng(1)
    hz, amplitude = rng.uniform(-2000, 2000, 50), rng.standard_normal(50) + 1j * rng.standard_normal(50)
    for n in (1, 63, 64, 65, 1000):
        plain = np.exp(2j * np.pi * np.outer(np.arange(n) * DWELL, hz)) @ amplitude
        assert fid(hz, amplitude, n, DWELL) == pytest.approx(plain, abs=1e-9)


def test_all_metabolites_in_seconds():
    start = time.process_time()
    for metabolite in PROTONS:
        fid(*lines(metabolite, 0.035), POINTS, DWELL)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: Moiety("far", (1.0, 2.0), ((0, 2, 7.0),)),
        lambda: Moiety("self", (1.0, 2.0), ((1, 1, 7.0),)),
        lambda: Moiety("count", (1.0, 2.0), count=3),
        lambda: Moiety("many", tuple(range(11))),
        lambda: Moiety("nucleus", (1.0,), nuclei_hz=(("13C", (7.0,)),)),
        lambda: transitions(Moiety("te", (1.0,)), MHZ, -0.01),
        lambda: transitions(Moiety("timing", (1.0,)), MHZ, 0.03, "steam"),
        lambda: load_systems("no_such_file.yaml"),
    ],
)
def test_says_what_is_wrong(make):
    with pytest.raises(InputError):
        make()
