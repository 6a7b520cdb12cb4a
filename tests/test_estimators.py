"""What every registered estimator must do; a new one inherits these tests by its registration."""

import tracemalloc

import numpy as np
import pytest
from helpers import AMPLITUDES, SHIPPED, has_certified_weights, noisy_fids, tiny_network

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate import sve
from precise_lib.mrsi import MRSI
from precise_lib.simulate.phantoms import rings
from precise_lib.simulate.signal import dmi_11t7

NAMES = estimate.names()
# largest error in mM without noise, away from edges: Fourier has the tails of neighboring lines in its windows,
# fine-tuning stops before it has settled
DEFAULT_TOLERANCE = 0.05
TOLERANCE = {"fourier": 0.2, "precise-finetune": 0.15}


def needs_network(name: str) -> bool:
    try:
        estimate.make(name, weights=tiny_network())
    except InputError:
        return False
    return True


def build(name: str):
    """With a small network where the estimator takes one: enough for everything but accuracy."""
    return estimate.make(name, weights=tiny_network()) if needs_network(name) else estimate.make(name)


def build_accurate(name: str):
    if needs_network(name) and not has_certified_weights():
        pytest.skip(f"data/weights has no certified {SHIPPED}")
    return estimate.make(name)


@pytest.fixture(scope="module")
def data() -> MRSI:
    """A piece of the phantom around tumor C."""
    phantom = rings()
    mask = np.zeros_like(phantom.mask)
    mask[19:27, 20:28] = True
    return phantom.measure(25, seed=0).replace(mask=mask & phantom.mask)


@pytest.mark.parametrize("name", NAMES)
def test_maps_have_the_common_form(name, data):
    estimator = build(name)
    before = data.fids.copy()
    maps = estimator(data)
    assert maps.dims == ("metabolite", "x", "y", "z")
    assert maps.shape == (4, *data.grid_shape)
    assert maps["metabolite"].values.tolist() == data.model.names
    assert maps.attrs["units"] == "mM"
    assert estimator.name == maps.name == name
    assert np.isfinite(maps.values[:, data.mask]).all()
    assert np.isnan(maps.values[:, ~data.mask]).all()
    np.testing.assert_allclose(maps.sel(metabolite="water").values[data.mask], 10.0)
    np.testing.assert_array_equal(data.fids, before)


@pytest.mark.parametrize("name", NAMES)
def test_same_data_same_maps(name, data):
    np.testing.assert_array_equal(build(name)(data), build(name)(data))


@pytest.mark.parametrize("name", NAMES)
def test_bad_voxels_become_nan_and_count_as_masked(name, data):
    """What is left is estimated as if the bad voxels had been outside the mask."""
    fids, mask = data.fids.copy(), data.mask.copy()
    inside = np.argwhere(mask)
    fids[tuple(inside[3])] = 0
    fids[(*inside[10], 7)] = np.nan
    fids[(*inside[20], 0)] = complex(0, np.inf)
    for i in (3, 10, 20):
        mask[tuple(inside[i])] = False
    maps = build(name)(data.replace(fids=fids))
    assert np.isnan(maps.values[:, ~mask]).all()
    assert np.isfinite(maps.values[:, mask]).all()
    np.testing.assert_array_equal(maps, build(name)(data.replace(mask=mask)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scale", [1e-9, 4e-4, 3e5])
def test_unit_and_phase_of_the_data_do_not_matter(name, scale, data):
    phase = np.random.default_rng(0).uniform(-np.pi, np.pi, data.grid_shape)
    turned = (data.fids * scale * np.exp(1j * phase)[..., None]).astype(np.complex64)
    a, b = build(name)(data), build(name)(data.replace(fids=turned))
    # networks compute in single precision; fine-tuning does so many times over
    tolerance = 0.05 if "finetune" in name else 0.03 if needs_network(name) else 2e-3
    np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_unbiased_away_from_edges(name):
    """The ring phantom at high SNR, in voxels whose whole neighborhood is of one kind in DMI and MRI."""
    estimator = build_accurate(name)
    phantom = rings()
    data = phantom.measure(2000, seed=0, phase_rad=0.7)
    kind = phantom.compartments + 10 * sum(i * m for i, m in enumerate(phantom.tumors.values(), 1))
    deep = np.zeros_like(phantom.mask)
    reach = 3  # the exact minimizer forgets an edge by a factor 5.7 a voxel (decay length sqrt(6 lambda omega))
    padded = np.pad(kind, ((reach, reach), (reach, reach), (0, 0)), constant_values=-1)
    for x, y, z in np.argwhere(phantom.mask):
        patch = padded[x : x + 2 * reach + 1, y : y + 2 * reach + 1, z]
        deep[x, y, z] = (patch == kind[x, y, z]).all()
    assert len(set(kind[deep])) >= 2
    around = phantom.mask.copy()
    if "finetune" in name:  # a quarter of the object, for speed
        around[:, :16] = around[:16] = False
        deep &= around
    error = estimator(data.replace(mask=around)).values - phantom.concentrations.values
    assert np.abs(error[:, deep]).max() < TOLERANCE.get(name, DEFAULT_TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_homogeneous_object_stays_homogeneous(name):
    """Every voxel alike: whatever a spatial prior does, it must not move the mean."""
    estimator = build_accurate(name)
    fids, _ = noisy_fids(snr=2000, n=64)
    affine = np.diag([5.0, 5, 5, 1])
    data = MRSI(fids.reshape(4, 4, 4, -1), dmi_11t7(), affine, None, np.ones((4, 4, 4)), affine)
    values = estimator(data).values.reshape(4, -1)
    tolerance = TOLERANCE.get(name, DEFAULT_TOLERANCE)
    np.testing.assert_allclose(values, np.tile(10 * AMPLITUDES[:, None], 64), atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_without_an_mri_it_works_or_says_so(name, data):
    bare, estimator = data.replace(mri=None, mri_affine=None), build(name)
    refusal = ""
    try:
        maps = estimator(bare)
    except InputError as error:
        refusal = str(error)
    if refusal:
        assert "needs an MRI" in refusal
    else:
        np.testing.assert_array_equal(maps, estimator(data))


@pytest.mark.parametrize("name", NAMES)
def test_data_without_a_usable_voxel(name, data):
    try:
        maps = build(name)(data.replace(fids=np.zeros_like(data.fids)))
    except InputError:
        return
    assert np.isnan(maps).all()


@pytest.mark.parametrize("name", ["fourier", "fit"])
def test_memory_is_bounded(name):
    """Nothing of the size of a Jacobian (seven times the data, in double precision) is held for all voxels."""
    fids, _ = noisy_fids(n=32)
    data = MRSI(np.tile(fids, (192, 1)).reshape(64, 96, 1, -1), dmi_11t7())
    estimator = estimate.make(name)
    tracemalloc.start()
    estimator(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * data.fids.nbytes + 64e6


def test_network_sees_bounded_batches(data, monkeypatch):
    whole = build("sve")(data)
    sizes = []
    monkeypatch.setattr(sve, "BATCH", 10)
    front = type(tiny_network().network.front)
    project = front.project
    monkeypatch.setattr(front, "project", lambda self, fids: sizes.append(len(fids)) or project(self, fids))
    np.testing.assert_allclose(build("sve")(data), whole, atol=0.03)
    assert max(sizes) == 10
    assert sum(sizes) == data.usable.sum()


# the registry


def test_registry_lists_the_methods_of_the_paper():
    assert {"fourier", "fit", "sve", "precise", "precise-finetune"} <= set(NAMES)


def test_unknown_names_and_options_get_one_sentence():
    with pytest.raises(InputError, match="No estimator 'magic'; there are fourier"):
        estimate.make("magic")
    with pytest.raises(InputError, match=r"'fit' does not take these options.*lam"):
        estimate.make("fit", lam=0.1)


def test_a_new_estimator_is_one_function_and_one_registration(monkeypatch, data):
    monkeypatch.setattr(estimate, "_FACTORIES", dict(estimate._FACTORIES))

    def double(factor=2.0):
        def estimator(data):
            return data.map_usable(lambda fids: np.abs(fids[:, :1]) * [1, factor, 0, 0], "double")

        estimator.name = "double"
        return estimator

    estimate.register("double", double)
    assert estimate.names()[-1] == "double"
    values = estimate.make("double", factor=0.5)(data).values
    np.testing.assert_allclose(values[1][data.mask], 5.0)
    with pytest.raises(ValueError, match="registered already"):
        estimate.register("double", double)


# the object they all take


@pytest.mark.parametrize(("change", "words"), [
    ({"fids": np.ones((2, 2, 1, 512))}, "must be complex"),
    ({"fids": np.ones((2, 2, 512), complex)}, "axes"),
    ({"fids": np.ones((2, 2, 1, 100), complex)}, "100 time points, the signal model 512"),
    ({"mask": np.ones((3, 3, 1), bool)}, "mask has shape"),
    ({"mri": np.ones((4, 4, 1))}, "come together"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(change, words):
    values = {"fids": np.ones((2, 2, 1, 512), complex), "model": dmi_11t7()}
    with pytest.raises(InputError, match=words):
        MRSI(**(values | change))


def test_data_are_single_precision_and_usable_says_where():
    fids = np.ones((3, 1, 1, 512), complex)
    fids[0] = 0
    fids[1, ..., 5] = np.nan
    data = MRSI(fids, dmi_11t7())
    assert data.fids.dtype == np.complex64
    assert data.usable.ravel().tolist() == [False, False, True]
    assert not data.replace(mask=np.zeros((3, 1, 1), bool)).usable.any()
