"""Many voxels, at reduced size: iteration against factorization, probing against rows, memory against the data."""

import tracemalloc

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import prior, smoother
from precise_lib.estimate.prior import ConjugateGradients, ExactSolver, edge_weights, laplacian
from precise_lib.estimate.weights import Sve
from precise_lib.evaluate import closed_form
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import quantify
from precise_lib.quantify.estimates import estimate
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES, tiny_network

MODEL = dmi_11t7()


def gray(shape=(11, 10, 9), seed=0, holes=0.1):
    """Blocks with texture, and voxels without data."""
    rng = np.random.default_rng(seed)
    level = np.kron(rng.random((2, 2, 2)), np.ones([-(-n // 2) for n in shape]))[tuple(slice(n) for n in shape)]
    level = level + 0.05 * rng.random(shape)
    level = (level - level.min()) / np.ptp(level)
    level[rng.random(shape) < holes] = np.nan
    return level


# conjugate gradients


@pytest.mark.parametrize("lam", [0.0, 0.001, 0.01, 0.1, 1.0, 30.0])
def test_iteration_is_the_factorization(lam):
    weights, rng = edge_weights(gray()), np.random.default_rng(1)
    direct, iterated = (ExactSolver(weights, lam, direct=d) for d in (True, False))
    sve = rng.normal(1, 1, (weights.shape[0], 5)) * [1, 1e-6, 1e6, 0, -1]
    scale = np.linalg.norm(sve, axis=0)
    assert np.abs((iterated(sve) - direct(sve)) / np.where(scale > 0, scale, 1)).max() < 1e-10
    np.testing.assert_allclose(iterated(sve[:, 0]), direct(sve[:, 0]), atol=1e-9)
    np.testing.assert_allclose(iterated.rows([0, 7, 400]), direct.rows([0, 7, 400]), atol=1e-10)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-4, 1e-8])
def test_tolerance_bounds_the_error(tolerance):
    """In the norm that the module's text names; for single precision too."""
    weights, rng = edge_weights(gray()), np.random.default_rng(1)
    solver, direct = (ExactSolver(weights, 0.05, direct=d) for d in (False, True))
    sve = rng.normal(0, 1, (weights.shape[0], 3))
    found, exact = solver(sve, tolerance), direct(sve)
    root = np.sqrt(1 + 0.1 * laplacian(weights).diagonal())[:, None]
    error = np.linalg.norm(root * (found - exact), axis=0) / np.linalg.norm(sve / root, axis=0)
    assert (error < tolerance).all()
    assert (found.dtype == np.float32) == (tolerance > 1e-5)


def test_columns_do_not_wait_in_memory(monkeypatch):
    """Right-hand sides in blocks give the same."""
    weights = edge_weights(gray((5, 5, 5)))
    sve = np.random.default_rng(0).random((weights.shape[0], 7))
    whole = ExactSolver(weights, 0.02, direct=False)(sve)
    monkeypatch.setattr(prior, "BLOCK", 2 * weights.shape[0])
    np.testing.assert_allclose(ExactSolver(weights, 0.02, direct=False)(sve), whole, rtol=1e-9)


def test_no_convergence_is_said():
    system = (np.eye(30) + 1e6 * laplacian(edge_weights(np.zeros((30, 1, 1)))).toarray()).round(6)
    from scipy import sparse

    with pytest.raises(InputError, match="lambda is too large"):
        ConjugateGradients(sparse.csr_matrix(system)).solve(np.random.default_rng(0).random((30, 1)), max_iterations=3)


def test_the_number_of_voxels_decides(monkeypatch):
    weights = edge_weights(gray((5, 5, 5)))
    assert ExactSolver(weights, 0.01).direct
    monkeypatch.setattr(prior, "DIRECT_UP_TO", 50)
    assert not ExactSolver(weights, 0.01).direct


# errors in closed form


@pytest.mark.parametrize(("lam", "off"), [(0.01, 0.002), (0.1, 0.02)])
def test_probed_errors_are_those_of_all_rows(lam, off, monkeypatch):
    """With iteration and probing, as a large set has them, against factorization and every row."""
    level = gray((14, 13, 12), seed=3)
    usable, weights, rng = np.isfinite(level), edge_weights(level), np.random.default_rng(0)
    n = weights.shape[0]
    profile = np.linspace(0.5, 1.5, level.shape[0])[:, None, None] * np.ones(level.shape)
    amplitudes = AMPLITUDES * profile[usable][:, None] * rng.uniform(0.9, 1.1, (n, 4))
    covariance = closed_form.sve_covariance(MODEL, amplitudes, 0.05)
    exact = closed_form.closed_form(MODEL, amplitudes, covariance, ExactSolver(weights, lam))
    monkeypatch.setattr(smoother, "EXACT_UP_TO", 100)
    found = closed_form.closed_form(
        MODEL, amplitudes, covariance, ExactSolver(weights, lam, direct=False), smoother.lattices(usable)
    )
    relative = found.sd[:, 1:] / exact.sd[:, 1:] - 1
    assert np.sqrt(np.mean(relative**2)) < off
    # what is stated was found on 32 rows; it is a good guess of the true one
    assert found.probing_error == pytest.approx(np.sqrt(np.mean(relative**2)), rel=0.5)
    assert exact.probing_error == 0
    np.testing.assert_allclose(found.bias, exact.bias, atol=1e-8)
    np.testing.assert_allclose(found.bias_noise[:, 1:], exact.bias_noise[:, 1:], rtol=10 * off)


# the whole chain


def cube(side=9, snr=15, seed=0):
    rng = np.random.default_rng(seed)
    level = gray((side,) * 3, holes=0.0)
    clean = MODEL.fids(np.tile(AMPLITUDES, (side, side, side, 1)), rng.uniform(-10, 10, (side,) * 3))
    fids = add_noise(clean, snr_to_sigma(MODEL, snr), rng)
    return MRSI(fids, MODEL, np.diag([4.0, 4, 4, 1]), None, level, np.diag([4.0, 4, 4, 1]))


def test_a_large_set_gets_the_same_files(tmp_path, monkeypatch):
    """Everything that is done for size, forced on 729 voxels: the same maps, and the summary says how."""
    data = cube()
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", data)
    nifti.write_image(tmp_path / "mri.nii.gz", data.mri, data.mri_affine)
    common = (tmp_path / "dmi.nii.gz", tmp_path / "small", tmp_path / "mri.nii.gz")
    small = quantify(*common, estimator="precise")
    monkeypatch.setattr(prior, "DIRECT_UP_TO", 100)
    monkeypatch.setattr(smoother, "EXACT_UP_TO", 100)
    monkeypatch.setattr(Series.chunks, "__defaults__", (100,))
    large = quantify(tmp_path / "dmi.nii.gz", tmp_path / "large", tmp_path / "mri.nii.gz", estimator="precise")
    assert "were probed" in large["errors"]["how"]
    assert "conjugate gradients" in large["errors"]["how"]
    assert not any(word in small["errors"]["how"] for word in ("were probed", "conjugate gradients"))
    assert 0 < large["errors"]["sd_relative_error_of_probing"] < 0.003
    assert small["errors"]["sd_relative_error_of_probing"] == 0
    for path in sorted((tmp_path / "small").glob("*.nii.gz")):
        a, b = (nifti.read_map(tmp_path / folder / path.name)[0] for folder in ("small", "large"))
        # SD of the small set by rows, of the large one by probes
        np.testing.assert_allclose(
            b, a, rtol=0.01 if path.name.startswith("sd_") else 1e-4, atol=2e-4, err_msg=path.name
        )
    assert large["false_negative"]["kept"]["Lac"] == pytest.approx(small["false_negative"]["kept"]["Lac"], abs=2e-4)


def test_memory_does_not_hold_the_data_twice(monkeypatch):
    """Four times the voxels: 12.6 MB more FIDs, of which the one walk over them keeps numbers, not samples."""
    monkeypatch.setattr(Series.chunks, "__defaults__", (256,))
    rng, peaks = np.random.default_rng(0), {}
    clean = MODEL.fids(np.tile(AMPLITUDES, (4096, 1)))
    fids = add_noise(clean, snr_to_sigma(MODEL, 15), rng).astype(np.complex64)
    network = Sve(tiny_network())
    for side in (8, 16):
        data = Series.of(MRSI(fids[: 16 * side**2].reshape(side, side, 16, -1), MODEL))
        tracemalloc.start()
        kept_numbers = estimate(data, network)
        peaks[side] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del kept_numbers
    kept = 3072 * 8 * (2 * 4 + 10)  # two sets of amplitudes, nuisance and residual of each voxel
    usable = 3072 * 512 * 2  # a flag for each sample while usable voxels are looked for
    assert peaks[16] - peaks[8] < kept + usable + 1e6


def test_a_file_mapped_into_memory_is_only_read(tmp_path):
    """FIDs are conjugated in place to save their size once more; an uncompressed file must not notice."""
    data = cube(3)
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii", data)
    before = (tmp_path / "dmi.nii").read_bytes()
    for _ in range(2):
        np.testing.assert_array_equal(nifti_mrs.read_mrsi(tmp_path / "dmi.nii").fids, data.fids)
    assert (tmp_path / "dmi.nii").read_bytes() == before
