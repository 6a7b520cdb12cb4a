"""The ring phantom: what each compartment and tumor holds in DMI and MRI, and how it is measured."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.signal.model import spectrum
from precise_lib.signal.noise import peak_height
from precise_lib.signal.presets import dmi_3t
from precise_lib.simulate.phantoms import SITES, b0_map, b1_map, rings
from tests.helpers import sd_bounds


def block_means(mri, factor):
    x, y, z = mri.shape
    return mri.reshape(x // factor, factor, y // factor, factor, z).mean((1, 3))


def test_sizes_and_fields_of_view_of_the_paper():
    phantom = rings()
    assert phantom.concentrations.dims == ("metabolite", "x", "y", "z")
    assert phantom.concentrations.shape == (4, 32, 32, 1)
    assert phantom.mri.shape == (160, 160, 1)
    assert phantom.concentrations.attrs["units"] == "mM"
    for affine, matrix in ((phantom.affine, 32), (phantom.mri_affine, 160)):
        corners = affine @ np.array([[-0.5, -0.5, 0, 1], [matrix - 0.5, matrix - 0.5, 0, 1]]).T
        np.testing.assert_allclose(corners[:2].T, [[-80, -80], [80, 80]], atol=1e-9)
    acquisition = phantom.model.acquisition
    assert (acquisition.n_samples, acquisition.bandwidth_hz) == (512, 2500)


def test_water_is_ten_mm_everywhere_and_about_ten_times_lactate():
    phantom = rings()
    maps = phantom.concentrations
    inside = phantom.mask
    assert (maps.sel(metabolite="water").values[inside] == 10).all()
    healthy = inside & ~np.any(list(phantom.tumors.values()), axis=0)
    np.testing.assert_allclose(10 / maps.sel(metabolite="Lac").values[healthy], 10)
    assert np.isnan(maps.values[:, ~inside]).all()
    assert not inside[0].any()
    assert not inside[:, 0].any()


def test_three_compartments_differ_in_every_modality():
    phantom = rings()
    profiles = {}
    tumor = np.any(list(phantom.tumors.values()), axis=0)
    for ring in (1, 2, 3):
        voxels = (phantom.compartments == ring) & ~tumor
        values = phantom.concentrations.values[:, voxels]
        assert np.ptp(values, axis=1).max() == 0
        profiles[ring] = tuple(values[:, 0])
    assert len(set(profiles.values())) == 3
    gray = block_means(phantom.mri, 5)
    pure = [np.unique(gray[(phantom.compartments == ring) & ~tumor].round(9)) for ring in (1, 2, 3)]
    assert len({np.median(p) for p in pure}) == 3


@pytest.mark.parametrize(("site", "in_mri", "in_dmi"), [
    ("A", False, False), ("B", False, True), ("C", True, True), ("D", True, False),
])  # fmt: skip
def test_sites_agree_or_disagree_as_in_the_paper(site, in_mri, in_dmi):
    phantom = rings()
    tumor = phantom.tumors[site]
    elsewhere = (phantom.compartments == 2) & ~np.any(list(phantom.tumors.values()), axis=0)
    maps, gray = phantom.concentrations, block_means(phantom.mri, 5)
    glx, lac = maps.sel(metabolite="Glx").values, maps.sel(metabolite="Lac").values
    assert (glx[tumor].max() < glx[elsewhere].min()) == in_dmi
    assert (lac[tumor].min() > lac[elsewhere].max()) == in_dmi
    assert np.allclose(lac[tumor], lac[elsewhere][0]) != in_dmi
    assert (gray[tumor].min() > 0.95) == in_mri
    assert np.allclose(gray[tumor], np.median(gray[elsewhere])) != in_mri


@pytest.mark.parametrize("size", range(1, 7))
def test_tumors_of_every_size_lie_inside_the_middle_ring(size):
    phantom = rings(tumor_size=size)
    masks = np.stack(list(phantom.tumors.values()))
    assert masks.sum((1, 2, 3)).tolist() == [size**2] * 4
    assert masks.sum(0).max() == 1
    assert (phantom.compartments[masks.any(0)] == 2).all()
    for site, mask in phantom.tumors.items():
        center = np.argwhere(mask).mean(0)[:2] - 15.5
        assert np.sign(center).tolist() == list(SITES[site])
        # what the MRI shows fills whole DMI voxels
        whole = block_means(phantom.mri == 1.0, 5)
        assert np.allclose(whole[mask], 1.0 if site in "CD" else 0.0)


def test_edges_of_the_rings_are_partial_volume_in_the_mri_only():
    phantom = rings()
    blocks = block_means(phantom.mri, 5)
    spread = block_means(phantom.mri**2, 5) - blocks**2
    mixed = (spread > 1e-9) & phantom.mask
    assert 50 < mixed.sum() < 300
    pure = phantom.mask & ~mixed
    assert set(blocks[pure].round(9)) == set(np.unique(phantom.mri)) - {0.0}


def test_mri_of_any_multiple_has_the_same_gray_levels_on_the_dmi_grid():
    fine, coarse = rings(mri_matrix=320), rings(mri_matrix=160)
    np.testing.assert_allclose(block_means(fine.mri, 10), block_means(coarse.mri, 5), atol=0.06)


@pytest.mark.parametrize(("options", "words"), [
    ({"tumor_size": 0}, "does not fit"),
    ({"tumor_size": 7}, "1 to 6"),
    ({"mri_matrix": 150}, "multiple"),
])  # fmt: skip
def test_impossible_phantoms_are_refused(options, words):
    with pytest.raises(InputError, match=words):
        rings(**options)


def test_other_acquisition_and_matrix():
    phantom = rings(tumor_size=2, matrix=16, mri_matrix=64, model=dmi_3t())
    assert phantom.measure(np.inf).fids.shape == (16, 16, 1, 1400)


# measurement


def test_without_noise_the_fids_are_eq_2():
    phantom = rings()
    data = phantom.measure(np.inf, phase_rad=0.5)
    assert data.fids.dtype == np.complex64
    t = phantom.model.acquisition.time_s
    voxel = (16, 15, 0)
    lines = phantom.concentrations.values[(slice(None), *voxel)] / 10
    hz = np.array([0, -76.7, -176.41, -260.78])
    expected = np.exp(0.5j) * (lines * np.exp(2j * np.pi * hz * t[:, None] - t[:, None] / 0.02)).sum(1)
    np.testing.assert_allclose(data.fids[voxel], expected, atol=1e-5)
    assert (data.fids[~phantom.mask] == 0).all()
    assert (data.mask == phantom.mask).all()
    assert data.mri is phantom.mri


def test_noise_outside_the_object_gives_the_snr_asked_for():
    phantom = rings()
    data = phantom.measure(12.1, seed=0)
    noise = spectrum(data.fids[~phantom.mask])
    low, high = sd_bounds(2 * noise.size)
    measured = np.sqrt((np.abs(noise) ** 2).mean() / 2)
    assert low < measured / (peak_height(phantom.model) / 12.1) < high


def test_same_seed_same_data():
    phantom = rings()
    one, same, other = (phantom.measure(10, seed=s).fids for s in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).any(-1).all()
    from_generator = phantom.measure(10, np.random.default_rng(1)).fids
    assert (one == from_generator).all()


def test_b0_shifts_and_its_gradient_broadens():
    phantom = rings()
    ramp = np.repeat(np.arange(32.0)[:, None] * 2.0, 32, axis=1)[..., None] - 31.0
    t = phantom.model.acquisition.time_s
    distorted, clean = phantom.measure(np.inf, b0_hz=ramp).fids, phantom.measure(np.inf).fids
    for x in (8, 16, 24):
        factor = np.exp(2j * np.pi * (2.0 * x - 31.0) * t - np.pi * 2.0 * t)
        np.testing.assert_allclose(distorted[x, 16, 0], clean[x, 16, 0] * factor, atol=2e-5)
    shift_only = phantom.measure(np.inf, b0_hz=ramp, broadening_hz=0.0).fids
    np.testing.assert_allclose(np.abs(shift_only), np.abs(clean), atol=1e-5)
    real = phantom.measure(np.inf, b0_hz=b0_map())
    assert np.abs(real.fids[..., 60]).sum() < np.abs(clean[..., 60]).sum()


def test_b1_scales_the_signal_and_not_the_noise():
    phantom, profile = rings(), b1_map()
    np.testing.assert_allclose(
        phantom.measure(np.inf, b1=profile).fids, phantom.measure(np.inf).fids * profile[..., None], atol=1e-6
    )
    noisy = phantom.measure(10, seed=5, b1=profile).fids - phantom.measure(10, seed=5).fids
    np.testing.assert_allclose(noisy[~phantom.mask], 0, atol=1e-6)


@pytest.mark.parametrize("snr", [0, -3, np.nan])
def test_snr_must_be_positive(snr):
    with pytest.raises(InputError, match="must be positive"):
        rings().measure(snr)


def test_crop_keeps_what_it_shows_in_its_place():
    whole = rings()
    part = whole.crop(whole.compartments == 3)
    assert part.mask.sum() == (whole.compartments == 3).sum()
    assert part.mask.shape[:2] == (10, 10)
    first = np.argwhere(whole.compartments == 3).min(0)
    np.testing.assert_allclose(part.affine[:3, 3], (whole.affine @ [*first, 1])[:3])
    np.testing.assert_array_equal(part.amplitudes[part.mask], whole.amplitudes[whole.compartments == 3])
    outside = part.concentrations.values[:, ~part.mask]
    assert np.isnan(outside).all()
