"""Grids meet by their affines alone: an analytic image seen through rotated, flipped, anisotropic, shifted grids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from precise_lib.errors import InputError
from precise_lib.estimate.prior import prepare_mri
from precise_lib.io import nifti, nifti_mrs
from precise_lib.signal import align
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model

MODEL = default_2h_model(Acquisition(16, 1 / 2500, 76.7))
WAVE = np.array([0.055, -0.04, 0.03])  # rad/mm: a wave length of 90 mm and more


def image(world):
    """A wave and a bump, of positions (3, ...) in mm: no symmetry that could hide a flip or a permutation."""
    x, y, z = world
    return (
        np.sin(WAVE[0] * x + WAVE[1] * y + WAVE[2] * z + 0.7) + 0.02 * x - 0.01 * z + 0.5 * np.cos(0.05 * y - 0.02 * x)
    )


def grid(shape, voxel_mm, angles=(0, 0, 0), flips=(1, 1, 1), order=(0, 1, 2), center=(0, 0, 0)):
    """Affine of a grid of that shape and voxel size, its middle at `center` (mm)."""
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = (turn * (np.array(voxel_mm) * flips))[:, order]
    affine[:3, 3] = np.array(center) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def positions(shape, affine, inner=1):
    """World positions (3, *shape, inner^3): `inner` points along each axis of every voxel."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    o = (np.arange(inner) + 0.5) / inner - 0.5
    offsets = np.stack(np.meshgrid(o, o, o, indexing="ij")).reshape(3, -1)
    index = index[..., None] + offsets[:, None, None, None]
    return np.einsum("ij,j...->i...", affine[:3, :3], index) + affine[:3, 3].reshape(3, 1, 1, 1, 1)


def scene(mri_shape, mri_affine, shape, affine, mask=None):
    mri = image(positions(mri_shape, mri_affine))[..., 0]
    return MRSI(np.ones((*shape, 16), complex), MODEL, affine, mask, mri.astype(np.float32), mri_affine)


def expected(shape, affine):
    """The mean of the image over each voxel."""
    return image(positions(shape, affine, 8)).mean(-1)


def unit_range(values):
    return (values - values.min()) / (values.max() - values.min())


@st.composite
def two_grids(draw):
    """An MRI of 2 to 4 mm that covers a DMI grid of 6 to 14 mm, both anywhere in space and in any orientation."""

    def orientation():
        angles = [draw(st.floats(-180, 180)) for _ in range(3)]
        return angles, [draw(st.sampled_from([1, -1])) for _ in range(3)], draw(st.permutations(range(3)))

    shape = tuple(draw(st.integers(2, 6)) for _ in range(3))
    voxel = [draw(st.floats(6, 14)) for _ in range(3)]
    center = [draw(st.floats(-300, 300)) for _ in range(3)]
    angles, flips, order = orientation()
    affine = grid(shape, voxel, angles, flips, order, center)
    reach = 2 * np.abs(affine[:3, :3] @ (np.array(shape) / 2)).max() + 2 * 8 * max(shape)
    mri_voxel = [draw(st.floats(2, 4)) for _ in range(3)]
    angles, flips, order = orientation()
    mri_shape = tuple(int(np.ceil(1.4 * reach / v)) for v in np.array(mri_voxel)[list(order)])
    return mri_shape, grid(mri_shape, mri_voxel, angles, flips, order, np.array(center) + 3.3), shape, affine


@settings(max_examples=12, deadline=None)
@given(two_grids())
def test_any_two_grids_see_the_same_image(grids):
    found = prepare_mri(scene(*grids))
    want = expected(*grids[2:])
    # linear interpolation at h = 4 mm of waves of k = 0.075 rad/mm: (k h)^2 / 8 = 1 % of the amplitude at most
    np.testing.assert_allclose(found * np.ptp(want) + want.min(), want, atol=0.02)


@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 0, 90), (25, -40, 60), (180, 0, 10)])
def test_gray_levels_do_not_depend_on_the_grid_of_the_mri(angles):
    """The same image on a straight isotropic grid, and on an oblique anisotropic one with a flipped axis."""
    shape, affine = (5, 4, 3), grid((5, 4, 3), (12, 10, 14), (10, 20, 30))
    straight = prepare_mri(scene((60, 60, 60), grid((60, 60, 60), (2, 2, 2)), shape, affine))
    oblique = grid((70, 100, 40), (2, 1.5, 3), angles, (1, -1, 1), center=(4, -3, 2))
    np.testing.assert_allclose(prepare_mri(scene((70, 100, 40), oblique, shape, affine)), straight, atol=0.01)


def test_equal_shapes_do_not_mean_equal_grids():
    """A flipped and shifted MRI of the same matrix as the DMI: by array index it would be wrong everywhere."""
    shape = (6, 6, 6)
    affine = grid(shape, (8, 8, 8))
    mri_affine = grid(shape, (10, 10, 10), (0, 0, 0), (-1, 1, -1), center=(2, -1, 3))
    data = scene(shape, mri_affine, shape, affine)
    found, want = prepare_mri(data), unit_range(image(positions(shape, affine))[..., 0])
    by_index = unit_range(data.mri.astype(float))
    error, naive = (np.sqrt(np.mean((x - want) ** 2)) for x in (found, by_index))
    assert error < 0.03
    assert naive > 5 * error


def test_an_oblique_mri_that_cuts_a_corner_is_told():
    shape, affine = (6, 6, 6), grid((6, 6, 6), (10, 10, 10))
    turned = grid((50, 50, 60), (1, 1, 1), (0, 0, 45))  # a square of 50 mm on its corner does not hold those of 60 mm
    with pytest.raises(InputError, match="does not cover"):
        prepare_mri(scene((50, 50, 60), turned, shape, affine))
    corners = np.abs(positions(shape, affine)[:2, ..., 0]).sum(0) < 42
    inside = prepare_mri(scene((50, 50, 60), turned, shape, affine, corners))
    np.testing.assert_array_equal(np.isfinite(inside), corners)


# masks


def in_ball(places, center, radius):
    return np.linalg.norm(places - np.reshape(center, (3, *[1] * (places.ndim - 1))), axis=0) < radius


@pytest.mark.parametrize("angles", [(0, 0, 0), (20, 30, -50)])
@pytest.mark.parametrize("mask_mm", [1.5, 4.0])
def test_a_mask_on_another_grid_is_brought_there(tmp_path, angles, mask_mm):
    shape, affine = (10, 9, 8), grid((10, 9, 8), (8, 9, 10), (5, -10, 15), center=(20, -30, 10))
    fine = int(120 / mask_mm)
    mask_affine = grid((fine,) * 3, (mask_mm, mask_mm, 1.2 * mask_mm), angles, (1, -1, 1), center=(22, -28, 12))
    center, radius = (24, -26, 8), 25.0
    inside = in_ball(positions((fine,) * 3, mask_affine)[..., 0], center, radius)
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", MRSI(np.ones((*shape, 16), complex), MODEL, affine))
    nifti.write_image(tmp_path / "mask.nii.gz", inside, mask_affine)
    series = nifti_mrs.read_series(tmp_path / "dmi.nii.gz", mask=tmp_path / "mask.nii.gz")
    # share of each voxel in the ball
    share = (np.linalg.norm(positions(shape, affine, 8) - np.reshape(center, (3, 1, 1, 1, 1)), axis=0) < radius).mean(
        -1
    )
    unclear = np.abs(share - 0.5) < 0.15
    assert unclear.sum() < 0.5 * series.mask.sum()
    np.testing.assert_array_equal(series.mask[~unclear], share[~unclear] > 0.5)
    assert len(series.notes) == 1
    assert f"{series.mask.sum()} voxels" in series.notes[0]
    assert "another grid" in series.notes[0]
    assert series[0].usable.sum() == series.mask.sum()


def test_a_mask_on_the_same_grid_is_taken_as_it_is(tmp_path):
    shape, affine = (5, 4, 3), grid((5, 4, 3), (8, 9, 10), (5, -10, 15), center=(20, -30, 10))
    mask = np.random.default_rng(0).random(shape) < 0.4
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", MRSI(np.ones((*shape, 16), complex), MODEL, affine))
    nifti.write_image(tmp_path / "mask.nii.gz", mask, affine)
    series = nifti_mrs.read_series(tmp_path / "dmi.nii.gz", mask=tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(series.mask, mask)
    assert series.notes == ()
    # the same grid stored back to front is another grid, and the same mask
    flipped = affine @ np.array([[-1, 0, 0, 4], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    nifti.write_image(tmp_path / "flipped.nii.gz", mask[::-1], flipped)
    np.testing.assert_array_equal(
        nifti_mrs.read_series(tmp_path / "dmi.nii.gz", mask=tmp_path / "flipped.nii.gz").mask, mask
    )


def test_a_mask_elsewhere_is_refused(tmp_path):
    shape, affine = (5, 4, 3), grid((5, 4, 3), (8, 9, 10))
    assert align.mask_on_grid(np.ones((9, 9, 9)), grid((9, 9, 9), (2, 2, 2), center=(200, 0, 0)), shape, affine) is None
    # half of a voxel, and less of the next one
    half = align.mask_on_grid(np.ones((20, 40, 40)), grid((20, 40, 40), (1, 1, 1), center=(-10, 0, 0)), shape, affine)
    np.testing.assert_array_equal(half[:, 1, 1], [True, True, True, False, False])
