"""Anisotropic diffusion and the guided filter: what their equations say, and what the mask must not let through."""

import numpy as np
import pytest
import xarray as xr

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate.peers.filters import STEP, Diffusion, anisotropic_diffusion, guided_filter
from precise_lib.estimate.prior import prepare_mri
from precise_lib.simulate.phantoms import rings


def as_maps(values) -> xr.DataArray:
    """(x, y, z) or (metabolite, x, y, z) as maps."""
    values = np.asarray(values, float)
    values = values[None] if values.ndim == 3 else values
    names = ["water", "Glc", "Glx", "Lac"][: len(values)]
    return xr.DataArray(values, dims=("metabolite", "x", "y", "z"), coords={"metabolite": names}, name="test")


def perona_malik(image, threshold, time):
    """One explicit step in 2-D: flux exp(-(g / K)^2) times the difference, g the gradient at the face of two voxels."""
    p = np.pad(image, 2, mode="edge")

    def at(dx, dy):
        return p[2 + dx : 2 + dx + image.shape[0], 2 + dy : 2 + dy + image.shape[1]]

    flux = np.zeros_like(image)
    for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        ox, oy = dy, dx  # across the face
        across = (at(ox, oy) - at(-ox, -oy) + at(dx + ox, dy + oy) - at(dx - ox, dy - oy)) / 4
        difference = at(dx, dy) - at(0, 0)
        flux += difference * np.exp(-(difference**2 + across**2) / threshold**2)
    return image + time * flux


# anisotropic diffusion


def test_diffusion_is_perona_and_malik_with_the_threshold_asked_for():
    image = np.random.default_rng(0).normal(size=(9, 7))
    expected = image
    for _ in range(3):
        expected = perona_malik(expected, 0.3 * np.ptp(image), STEP)
    found = anisotropic_diffusion(as_maps(image[..., None]), 0.3, iterations=3).values[0, ..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("shape", [(31, 31, 1), (21, 21, 21)])
def test_without_edges_it_is_a_gaussian_of_the_same_diffusion_time(shape):
    """Diffusion spreads a point by a variance of twice the time along each axis, in 2-D and 3-D alike."""
    image = np.zeros(shape)
    image[tuple(n // 2 for n in shape)] = 1
    spread = anisotropic_diffusion(as_maps(image), 1e3, iterations=10).values[0]
    position = np.arange(shape[0]) - shape[0] // 2
    variance = (spread.sum((1, 2)) * position**2).sum()
    assert spread.sum() == pytest.approx(1, abs=1e-6)
    assert variance == pytest.approx(2 * 10 * STEP, rel=1e-3)


def test_noise_goes_and_an_edge_above_the_threshold_stays():
    rng = np.random.default_rng(0)
    step = np.where(np.arange(40) < 20, 0.0, 10.0)[:, None, None] * np.ones((1, 40, 1))
    noisy = step + rng.normal(0, 0.4, step.shape)
    smooth = anisotropic_diffusion(as_maps(noisy), 0.2).values[0]
    assert smooth[:18].std() < 0.4 * noisy[:18].std()
    assert smooth[20].mean() - smooth[19].mean() == pytest.approx(10, abs=0.3)
    weak = anisotropic_diffusion(as_maps(noisy), 5.0).values[0]  # a threshold far above the edge
    assert weak[20].mean() - weak[19].mean() < 5


def test_threshold_counts_in_the_range_of_each_metabolite():
    maps = rings().measure(20, 0)
    fitted = estimate.make("fit")(maps)
    smooth = anisotropic_diffusion(fitted, 0.2)
    scaled = anisotropic_diffusion(fitted * xr.DataArray([1, 3.0, 0.01, 700], dims="metabolite"), 0.2)
    np.testing.assert_allclose(scaled / smooth, np.broadcast_to(scaled / smooth, smooth.shape))
    for k, factor in enumerate([1, 3.0, 0.01, 700]):
        np.testing.assert_allclose(scaled.values[k], factor * smooth.values[k], rtol=1e-8)


@pytest.mark.parametrize("flat", [True, False])
def test_nothing_leaks_from_outside_the_mask(flat):
    """A uniform object in NaN stays uniform, and values stay within the range of those inside."""
    shape = (12, 12, 1) if flat else (12, 12, 12)
    center = (np.array(shape) - 1) / 2
    radius = np.sqrt(sum((i - c) ** 2 for i, c in zip(np.indices(shape), center, strict=True)))
    uniform = np.where(radius < 5, 7.0, np.nan)
    np.testing.assert_allclose(anisotropic_diffusion(as_maps(uniform), 0.2).values[0], uniform)
    noisy = uniform + np.random.default_rng(1).normal(0, 1, shape)
    smooth = anisotropic_diffusion(as_maps(noisy), 3.0).values[0]
    np.testing.assert_array_equal(np.isnan(smooth), np.isnan(noisy))
    assert np.nanmin(noisy) <= np.nanmin(smooth)
    assert np.nanmax(smooth) <= np.nanmax(noisy)
    assert np.nanmean(smooth) == pytest.approx(np.nanmean(noisy), abs=0.3 / np.sqrt(np.isfinite(noisy).sum()))


def test_diffusion_does_not_see_what_lies_outside():
    image = np.random.default_rng(0).normal(size=(10, 10, 1))
    image[:, 6:] = np.nan
    np.testing.assert_allclose(
        anisotropic_diffusion(as_maps(image), 0.5).values[0, :, :6],
        anisotropic_diffusion(as_maps(image[:, :6]), 0.5).values[0],
    )


def test_no_iterations_and_an_empty_map_change_nothing():
    image = np.random.default_rng(0).normal(size=(6, 6, 1))
    np.testing.assert_array_equal(anisotropic_diffusion(as_maps(image), 0.1, iterations=0).values[0], image)
    assert np.isnan(anisotropic_diffusion(as_maps(image * np.nan), 0.1)).all()


@pytest.mark.parametrize(("change", "words"), [
    ({"threshold": 0}, "threshold of anisotropic diffusion is 0"),
    ({"threshold": np.nan}, "threshold of anisotropic diffusion is nan"),
    ({"threshold": 0.1, "iterations": -1}, "number of iterations is -1"),
])  # fmt: skip
def test_diffusion_refuses_what_makes_no_sense(change, words):
    with pytest.raises(InputError, match=words):
        anisotropic_diffusion(as_maps(np.ones((3, 3, 1))), **change)


# the guided filter


def test_a_map_that_is_a_straight_line_in_the_mri_is_kept():
    """The filter's own model: exact as eps goes to zero."""
    gray = np.random.default_rng(0).uniform(size=(9, 9, 1))
    image = 3 - 2 * gray
    np.testing.assert_allclose(guided_filter(as_maps(image), gray, 2, 1e-10).values[0], image, atol=1e-7)


def test_where_the_mri_is_flat_it_averages_twice_over_its_window():
    """No slope: the mean of means, whose noise factor is the norm of the triangular kernel."""
    image = np.zeros((11, 11, 1))
    image[5, 5] = 1
    triangle = np.array([1, 2, 3, 2, 1]) / 9
    expected = np.zeros((11, 11))
    expected[3:8, 3:8] = np.outer(triangle, triangle)
    found = guided_filter(as_maps(image), np.full(image.shape, 0.3), 1, 0.01).values[0, ..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_it_matches_least_squares_window_by_window_inside_a_mask():
    rng = np.random.default_rng(0)
    gray, image = rng.uniform(size=(2, 7, 6, 4))
    outside = rng.uniform(size=gray.shape) < 0.3
    gray[outside] = image[outside] = np.nan
    eps, radius = 0.02, 1
    lines = {}
    for at in np.ndindex(gray.shape):
        window = tuple(slice(max(i - radius, 0), i + radius + 1) for i in at)
        known = np.isfinite(gray[window])
        if not outside[at]:
            g, p = gray[window][known], image[window][known]
            slope = np.cov(g, p, bias=True)[0, 1] / (g.var() + eps)
            lines[at] = slope, p.mean() - slope * g.mean()
    expected = np.full(gray.shape, np.nan)
    for at in lines:
        near = [lines[b] for b in lines if max(abs(i - j) for i, j in zip(at, b, strict=True)) <= radius]
        slope, offset = np.mean(near, 0)
        expected[at] = slope * gray[at] + offset
    np.testing.assert_allclose(guided_filter(as_maps(image), gray, radius, eps).values[0], expected, atol=1e-10)


def test_it_keeps_an_edge_of_the_mri_and_blurs_one_that_the_mri_does_not_show():
    phantom = rings(tumor_size=4)
    gray = prepare_mri(phantom.measure(np.inf))
    lac = guided_filter(phantom.concentrations, gray, 2, 1e-3).sel(metabolite="Lac").values
    shown, hidden = lac[phantom.tumors["C"]].mean(), lac[phantom.tumors["B"]].mean()
    assert shown > 2.8  # truth 3 in a ring of 1
    assert hidden < 2.4


@pytest.mark.parametrize(("change", "words"), [
    ({"radius": 0}, "radius of the guided filter is 0"),
    ({"radius": 1.5}, "radius of the guided filter is 1.5"),
    ({"eps": 0}, "eps of the guided filter is 0"),
    ({"gray": np.ones((2, 2, 1))}, r"guide has shape \(2, 2, 1\), the maps \(3, 3, 1\)"),
])  # fmt: skip
def test_guided_filter_refuses_what_makes_no_sense(change, words):
    with pytest.raises(InputError, match=words):
        guided_filter(as_maps(np.ones((3, 3, 1))), **({"gray": np.ones((3, 3, 1))} | change))


# as estimators


def test_filters_stand_on_any_estimator():
    data = rings().measure(20, 0)
    data = data.replace(mask=data.mask & (np.indices(data.grid_shape)[0] < 8))
    over = estimate.make("fit-diffusion", base="fourier", threshold=0.2)
    assert over.name == over(data).name == "fourier-diffusion"
    expected = anisotropic_diffusion(estimate.make("fourier")(data), 0.2)
    np.testing.assert_array_equal(over(data), expected)
    nested = Diffusion(base=estimate.make("fit-guided"))
    assert nested(data).name == "fit-guided-diffusion"
    with pytest.raises(InputError, match="No estimator 'magic'"):
        estimate.make("fit-guided", base="magic")(data)
