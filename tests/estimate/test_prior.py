"""The MRI prior: Eq. 5 by hand, the exact solution against dense algebra, fine-tuning against the exact solution."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from precise_lib.errors import InputError
from precise_lib.estimate.finetune import finetune, neighborhoods
from precise_lib.estimate.precise import FineTuned, Precise
from precise_lib.estimate.prior import OMEGA_MAX, ExactSolver, edge_weights, laplacian, prepare_mri
from precise_lib.estimate.smoother import leverage_and_variance
from precise_lib.estimate.weights import Sve
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.phantoms import rings
from tests.helpers import noisy_fids, sd_bounds, tiny_network


def random_weights(shape=(5, 4, 3), seed=0, omega_max=8.0, holes=0.2):
    rng = np.random.default_rng(seed)
    gray = rng.random(shape)
    gray[rng.random(shape) < holes] = np.nan
    return edge_weights(gray, omega_max)


def loss(c, sve, weights, lam):
    """Eq. 4 as printed: every ordered pair."""
    w = weights.toarray()
    return ((c - sve) ** 2).sum() + lam * (w[..., None] * (c[:, None] - c[None]) ** 2).sum()


# Eq. 5


def test_weights_of_eq_5_by_hand():
    gray = np.array([[0.0, 0.5], [1.0, np.nan]])[..., None]
    # 0 | 0.5 : 1 / 0.25 = 4;   0 | 1 : 1;   0.5 | 1 (diagonal) : 4;   the fourth voxel is no neighbor
    expected = [[0, 4, 1], [4, 0, 4], [1, 4, 0]]
    np.testing.assert_allclose(edge_weights(gray, 100.0).toarray(), expected)
    np.testing.assert_allclose(edge_weights(gray, 3.0).toarray(), np.minimum(expected, 3))


@pytest.mark.parametrize("shape", [(4, 5, 1), (1, 1, 6), (3, 4, 5), (1, 1, 1)])
def test_weights_are_those_of_a_loop_over_all_pairs(shape):
    rng = np.random.default_rng(1)
    gray = rng.random(shape)
    gray[rng.random(shape) < 0.15] = np.nan
    places = np.argwhere(np.isfinite(gray))
    expected = np.zeros((len(places), len(places)))
    for (i, a), (j, b) in itertools.product(enumerate(places), repeat=2):
        if i != j and np.abs(a - b).max() == 1:
            expected[i, j] = min(1 / (gray[tuple(a)] - gray[tuple(b)]) ** 2, 20.0)
    np.testing.assert_allclose(edge_weights(gray, 20.0).toarray(), expected)


def test_neighbor_counts_in_2d_and_3d():
    for shape, inner, corner in (((5, 5, 1), 8, 3), ((5, 5, 5), 26, 7)):
        weights = edge_weights(np.zeros(shape), 1.0)
        counts = np.asarray((weights > 0).sum(1)).reshape(shape)
        middle = tuple(n // 2 for n in shape)
        assert counts[middle] == inner
        assert counts[0, 0, 0] == corner


def test_weights_are_symmetric_capped_and_without_self_pairs():
    weights = random_weights()
    assert (weights != weights.T).nnz == 0
    assert weights.max() == 8.0
    assert weights.min() >= 0
    assert (weights.diagonal() == 0).all()


def test_laplacian():
    weights = random_weights()
    matrix = laplacian(weights).toarray()
    np.testing.assert_allclose(matrix.sum(1), 0, atol=1e-12)
    values = np.linalg.eigvalsh(matrix)
    assert values.min() > -1e-10
    c = np.random.default_rng(0).random(len(matrix))
    w = weights.toarray()
    assert c @ matrix @ c == pytest.approx(0.5 * (w * (c[:, None] - c) ** 2).sum())


# the exact solution


def test_exact_solution_is_the_dense_one():
    weights = random_weights()
    sve = np.random.default_rng(0).random((weights.shape[0], 4))
    w = weights.toarray()
    dense = np.linalg.solve(np.eye(len(w)) + 2 * 0.3 * (np.diag(w.sum(1)) - w), sve)
    np.testing.assert_allclose(ExactSolver(weights, 0.3)(sve), dense, atol=1e-12)
    np.testing.assert_allclose(ExactSolver(weights, 0.3)(sve[:, 0]), dense[:, 0], atol=1e-12)


def test_exact_solution_minimizes_eq_4():
    weights, lam, rng = random_weights(), 0.2, np.random.default_rng(0)
    sve = rng.random((weights.shape[0], 2))
    best = ExactSolver(weights, lam)(sve)

    def eq4(c):
        return loss(c, sve, weights, lam)

    for size in (1e-4, 1e-2, 1.0):
        for _ in range(10):
            other = best + size * rng.normal(size=best.shape)
            assert eq4(other) > eq4(best)
    direction = rng.normal(size=best.shape)
    slope = (eq4(best + 1e-5 * direction) - eq4(best - 1e-5 * direction)) / 2e-5
    assert abs(slope) < 1e-6


def test_mean_is_preserved_and_lambda_has_its_limits():
    gray = np.zeros((6, 4, 1))
    gray[3] = np.nan  # two separate pieces
    weights = edge_weights(gray, 5.0)
    sve = np.random.default_rng(0).random((20, 3))
    np.testing.assert_allclose(ExactSolver(weights, 0.7)(sve).mean(0), sve.mean(0))
    np.testing.assert_array_equal(ExactSolver(weights, 0.0)(sve), sve)
    flat = ExactSolver(weights, 1e7)(sve)
    np.testing.assert_allclose(flat[:12], np.tile(sve[:12].mean(0), (12, 1)), atol=1e-5)
    np.testing.assert_allclose(flat[12:], np.tile(sve[12:].mean(0), (8, 1)), atol=1e-5)
    # smoothing never leaves the range of the data
    some = ExactSolver(weights, 0.05)(sve)
    assert some.min() > sve.min()
    assert some.max() < sve.max()


@pytest.mark.parametrize("lam", [-0.1, np.nan, np.inf])
def test_lambda_must_be_zero_or_positive(lam):
    with pytest.raises(InputError, match="lambda"):
        ExactSolver(random_weights(), lam)
    with pytest.raises(InputError, match="lambda"):
        Precise(lam=lam)


def test_sd_and_bias_in_closed_form_against_monte_carlo():
    weights = random_weights((5, 4, 1), holes=0.0)
    rng, n = np.random.default_rng(0), 20_000
    truth, sd = rng.random((20, 2)), rng.uniform(0.05, 0.3, (20, 2))
    solver = ExactSolver(weights, 0.1)
    draws = truth + sd * rng.standard_normal((n, 20, 2))
    results = solver(draws.transpose(1, 0, 2).reshape(20, -1)).reshape(20, n, 2)
    low, high = sd_bounds(n, tests=40)
    expected = np.sqrt(leverage_and_variance(solver, sd**2)[1])
    ratio = results.std(1, ddof=1) / expected
    assert ratio.min() > low
    assert ratio.max() < high
    error = results.mean(1) - solver(truth)
    assert np.abs(error / (expected / np.sqrt(n))).max() < 4.6
    h = np.linalg.inv(np.eye(20) + 0.2 * laplacian(weights).toarray())
    np.testing.assert_allclose(solver.rows([3, 17]), h[[3, 17]], atol=1e-12)


@pytest.mark.parametrize(("product", "factor"), [(0.01, 1.16), (0.02, 1.30), (0.04, 1.58), (0.08, 2.08), (0.2, 3.29)])
def test_sd_gain_far_from_any_edge(product, factor):
    """The center of a large grid against the infinite lattice, whose transfer function is known at every wave."""
    weights = edge_weights(np.full((31, 31, 1), 0.4), omega_max=5.0)
    row = ExactSolver(weights, product / 5.0).rows([31 * 15 + 15])[0]
    k = np.cos(2 * np.pi * (np.arange(256) + 0.5) / 256)
    kx, ky = np.meshgrid(k, k)
    transfer = 1 / (1 + 2 * product * (8 - 2 * kx - 2 * ky - 4 * kx * ky))
    gain = 1 / np.sqrt((row**2).sum())
    assert gain == pytest.approx(1 / np.sqrt((transfer**2).mean()), rel=1e-3)
    assert gain == pytest.approx(factor, abs=0.006)


def test_default_cap_gives_the_papers_gain_on_its_phantom():
    """About three times Fourier in all: 1.76 over SVE at lambda = 0.01."""
    phantom = rings()
    weights = edge_weights(prepare_mri(phantom.measure(np.inf)), OMEGA_MAX)
    variance = leverage_and_variance(ExactSolver(weights, 0.01), np.ones((weights.shape[0], 1)))[1]
    gain = 1 / np.sqrt(variance)
    assert np.median(gain) == pytest.approx(1.76, abs=0.1)


def test_prior_keeps_edges_that_the_mri_shows_and_blurs_others():
    phantom = rings(tumor_size=2)
    data = phantom.measure(np.inf)
    solver = ExactSolver(edge_weights(prepare_mri(data)), 0.01)
    lac = phantom.concentrations.sel(metabolite="Lac").values
    result = np.full(lac.shape, np.nan)
    result[data.usable] = solver(lac[data.usable][:, None])[:, 0]
    kept = {s: (result[m].mean() - 1.0) / 2.0 for s, m in phantom.tumors.items()}
    assert kept["C"] > 0.9 > kept["B"] > 0.5
    assert abs(kept["A"]) < 0.02
    assert abs(kept["D"]) < 0.02


# the MRI


def with_mri(mri, mri_affine, shape=(4, 4, 1), affine=None, mask=None):
    fids = np.ones((*shape, 512), complex)
    affine = np.diag([10.0, 10, 10, 1]) if affine is None else affine
    return MRSI(fids, dmi_11t7(), affine, mask, mri, mri_affine)


def aligned_affine(factor, size=10.0):
    fine = np.diag([size / factor, size / factor, size, 1.0])
    fine[:2, 3] = -size / 2 + size / factor / 2
    return fine


def unit_range(values):
    return (values - values.min()) / (values.max() - values.min())


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_aligned_mri_is_block_averaged_exactly(factor):
    mri = np.random.default_rng(0).random((4 * factor, 4 * factor, 1))
    blocks = mri.reshape(4, factor, 4, factor, 1).mean((1, 3))
    np.testing.assert_allclose(prepare_mri(with_mri(mri, aligned_affine(factor))), unit_range(blocks), atol=1e-12)


def test_gray_levels_are_rescaled_over_the_mask_only():
    rng = np.random.default_rng(0)
    mri, mask = rng.random((8, 8, 1)), rng.random((4, 4, 1)) < 0.6
    mri[:2, :2] = 1000.0
    mask[0, 0] = False
    gray = prepare_mri(with_mri(mri, aligned_affine(2), mask=mask))
    blocks = mri.reshape(4, 2, 4, 2, 1).mean((1, 3))
    np.testing.assert_allclose(gray[mask], unit_range(blocks[mask]))
    assert np.isnan(gray[~mask]).all()
    # unit and offset of the MRI are arbitrary
    again = prepare_mri(with_mri(300 * mri - 40, aligned_affine(2), mask=mask))
    np.testing.assert_allclose(again[mask], gray[mask], atol=1e-9)


def test_mri_in_another_orientation_gives_the_same_gray_levels():
    """Flipped, permuted and larger grids over the same place."""
    rng = np.random.default_rng(0)
    mri, affine = rng.random((20, 20, 1)), aligned_affine(5)
    reference = prepare_mri(with_mri(mri, affine))
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, 19
    np.testing.assert_allclose(prepare_mri(with_mri(mri[::-1], affine @ flip)), reference, atol=1e-9)
    for order in itertools.permutations(range(3)):
        permuted = affine.copy()
        permuted[:, :3] = affine[:, order]
        result = prepare_mri(with_mri(mri.transpose(order), permuted))
        np.testing.assert_allclose(result, reference, atol=1e-9, err_msg=str(order))
    padded, moved = np.pad(mri, ((5, 7), (3, 0), (0, 0))), affine.copy()
    moved[:3, 3] = (affine @ [-5, -3, 0, 1])[:3]
    np.testing.assert_allclose(prepare_mri(with_mri(padded, moved)), reference, atol=1e-9)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_thin_mri_slice_in_any_orientation(order):
    """One slice, thinner than the DMI slab: what it covers is averaged in-plane."""
    mri, affine = np.random.default_rng(0).random((20, 20, 1)), aligned_affine(5)
    affine[2, 2] = 1.0
    permuted = affine.copy()
    permuted[:, :3] = affine[:, order]
    blocks = mri.reshape(4, 5, 4, 5, 1).mean((1, 3))
    result = prepare_mri(with_mri(mri.transpose(order), permuted))
    np.testing.assert_allclose(result, unit_range(blocks), atol=1e-9)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
def test_shift_and_rotation_follow_the_affines(angle):
    """A linear gradient is known at every point, whatever the grids."""
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[c, -s, 0, 3.0], [s, c, 0, -2.0], [0, 0, 1, 0], [0, 0, 0, 1]])
    mri_affine = (
        turn @ np.diag([2.0, 2.0, 10.0, 1]) @ np.array([[1, 0, 0, -25], [0, 1, 0, -25], [0, 0, 1, 0], [0, 0, 0, 1]])
    )
    index = np.stack([*np.meshgrid(np.arange(51), np.arange(51), [0], indexing="ij"), np.ones((51, 51, 1))])
    world = np.einsum("ij,jxyz->ixyz", mri_affine, index)
    affine = np.diag([10.0, 10, 10, 1])
    affine[:2, 3] = -15
    gray = prepare_mri(with_mri(world[0] + 0.3 * world[1], mri_affine, affine=affine))
    x, y = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")
    np.testing.assert_allclose(gray[..., 0], unit_range(x + 0.3 * y), atol=1e-9)


def test_an_mri_elsewhere_is_refused():
    affine = aligned_affine(5)
    affine[0, 3] += 500
    with pytest.raises(InputError, match="does not cover"):
        prepare_mri(with_mri(np.ones((20, 20, 1)), affine))
    affine[0, 3] -= 500 - 20  # half of it
    with pytest.raises(InputError, match="50 %"):
        prepare_mri(with_mri(np.ones((20, 20, 1)), affine))


@pytest.mark.parametrize(("mri", "affine", "words"), [
    (None, None, "needs an MRI"),
    (np.ones((20, 20)), aligned_affine(5), "2 dimensions"),
    (np.full((20, 20, 1), np.nan), aligned_affine(5), "not finite"),
    (np.ones((20, 20, 1)), np.zeros((4, 4)), "affine"),
])  # fmt: skip
def test_bad_mri_gets_one_sentence(mri, affine, words):
    with pytest.raises(InputError, match=words):
        prepare_mri(with_mri(mri, affine))


def test_nan_in_the_mri_outside_the_mask_does_no_harm():
    mri = np.random.default_rng(0).random((20, 20, 1))
    mask = np.ones((4, 4, 1), bool)
    mask[3] = False
    reference = prepare_mri(with_mri(mri, aligned_affine(5), mask=mask))
    mri[15:] = np.nan
    np.testing.assert_allclose(prepare_mri(with_mri(mri, aligned_affine(5), mask=mask))[mask], reference[mask])


def test_no_usable_voxel():
    mri = np.ones((20, 20, 1))
    with pytest.raises(InputError, match="No usable voxel"):
        prepare_mri(with_mri(mri, aligned_affine(5), mask=np.zeros((4, 4, 1), bool)))


def test_a_constant_mri_knows_no_edge():
    gray = prepare_mri(with_mri(np.full((20, 20, 1), 7.0), aligned_affine(5)))
    assert (gray == 0).all()
    assert (edge_weights(gray, 3.0).data == 3.0).all()


def test_voxels_without_data_take_no_part():
    data = with_mri(np.random.default_rng(0).random((20, 20, 1)), aligned_affine(5))
    fids = data.fids.copy()
    fids[1, 1, 0, 7] = np.nan
    fids[2, 3] = 0
    gray = prepare_mri(data.replace(fids=fids))
    assert np.argwhere(np.isnan(gray)).tolist() == [[1, 1, 0], [2, 3, 0]]
    assert edge_weights(gray).shape == (14, 14)


# fine-tuning


@pytest.fixture(scope="module")
def patch():
    """A piece of the phantom with a tumor, its weights and FIDs."""
    phantom = rings()
    data = phantom.measure(15, seed=0)
    mask = np.zeros_like(phantom.mask)
    mask[18:26, 18:26] = True
    data = data.replace(mask=mask & data.mask)
    return data, edge_weights(prepare_mri(data)), data.fids[data.usable]


def test_neighborhoods_hold_the_rows_of_the_weights():
    for weights in (random_weights(), random_weights((4, 4, 1)), sparse.csr_matrix((3, 3))):
        index, omega = neighborhoods(weights)
        rebuilt = np.zeros(weights.shape)
        np.add.at(rebuilt, (np.arange(len(index))[:, None], index), omega)
        np.testing.assert_array_equal(rebuilt, weights.toarray())
        assert (index[omega == 0] == np.nonzero(omega == 0)[0]).all()


def test_lambda_zero_is_sve_bit_for_bit(patch):
    data, weights, fids = patch
    network = tiny_network()
    sve = network.amplitudes(fids)
    np.testing.assert_array_equal(finetune(network, fids, weights, 0.0), sve)
    maps = Sve(network)(data)
    for method in (Precise, FineTuned):
        np.testing.assert_array_equal(method(network, lam=0.0)(data), maps)


def test_finetuning_approaches_the_exact_minimum_and_does_not_pass_it(patch):
    _, weights, fids = patch
    network, lam = tiny_network(), 0.04
    sve = network.amplitudes(fids)
    exact = ExactSolver(weights, lam)(sve)
    few, more = (finetune(network, fids, weights, lam, epochs=e) for e in (4, 60))
    at = [loss(c, sve, weights, lam) for c in (sve, few, more, exact)]
    assert at[0] > at[1] > at[2] > at[3] > 0
    assert at[2] - at[3] < 0.35 * (at[0] - at[3])
    # and in the maps themselves
    assert np.linalg.norm(more - exact) < 0.6 * np.linalg.norm(sve - exact)


def test_finetuning_is_deterministic_and_leaves_the_network_alone(patch):
    _, weights, fids = patch
    network = tiny_network()
    before = {k: v.clone() for k, v in network.network.state_dict().items()}
    a, b, c = (finetune(network, fids, weights, 0.02, epochs=2, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    assert all((before[k] == v).all() for k, v in network.network.state_dict().items())
    assert not any(p.requires_grad for p in network.network.parameters())


def test_finetuning_does_not_know_the_unit_of_the_data(patch):
    _, weights, fids = patch
    a, b = (finetune(tiny_network(), u * fids, weights, 0.02, epochs=3) / u for u in (1.0, 1e-5))
    np.testing.assert_allclose(a, b, atol=2e-3)


def test_precise_on_maps(patch):
    data, weights, fids = patch
    network = tiny_network()
    maps = Precise(network, lam=0.02)(data)
    expected = ExactSolver(weights, 0.02)(network.amplitudes(fids))
    np.testing.assert_allclose(maps.values[:, data.usable].T, 10 * expected / expected[:, :1], rtol=1e-9)
    assert maps.name == "precise"
    assert np.isnan(maps.values[:, ~data.usable]).all()
    tuned = FineTuned(network, lam=0.02, epochs=3)
    assert tuned.name == "precise-finetune"
    np.testing.assert_array_equal(tuned(data), tuned(data))


def test_3d_data():
    rng = np.random.default_rng(0)
    fids, _ = noisy_fids(snr=20, n=60)
    affine = np.diag([2.0, 2, 2, 1])
    data = MRSI(fids.reshape(4, 5, 3, -1), dmi_11t7(), affine, None, rng.random((4, 5, 3)), affine)
    plain, smooth = Sve(tiny_network())(data), Precise(tiny_network(), lam=0.5)(data)
    assert (smooth.std(("x", "y", "z")) < plain.std(("x", "y", "z")))[1:].all()
