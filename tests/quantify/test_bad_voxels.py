"""Voxels without signal, with an artifact or with fat: what they do to the others is nothing."""

from dataclasses import replace

import numpy as np
import pytest

from precise_lib.estimate.fit import Fit
from precise_lib.estimate.precise import Precise
from precise_lib.estimate.smoother import DenseMap, Smoother
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import quantify, report, report_tables, result
from precise_lib.quantify.errors import ErrorModel, choose_settings
from precise_lib.quantify.estimates import Smoothing, estimate
from precise_lib.quantify.flags import bright_flag
from precise_lib.quantify.proposed import proposed
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import AMPLITUDES, SHIPPED, has_shipped_weights
from tests.quantify.test_flags import line

MODEL = dmi_11t7()
SHAPE = (14, 14, 1)
DISK = (np.indices(SHAPE[:2]) - 6.5).__pow__(2).sum(0)[..., None] < 25
SPIKED = (7, 7, 0)
shipped = pytest.mark.skipif(not has_shipped_weights(), reason="the shipped weights are not here")


X, Y = np.indices(SHAPE[:2])[..., None] - 6.5
GLC = np.where(DISK, 0.4, 0.2) + 0.04 * np.sin(X) * np.cos(Y)  # varies where the MRI does not: lambda is finite
TRUTH = GLC[..., None] * [0, 1, 0, 0] + AMPLITUDES * [1, 0, 1, 1]


def fids(snr=25, seed=3):
    rng = np.random.default_rng(seed)
    return MODEL.fids(TRUTH), rng.standard_normal((*SHAPE, 512, 2)).view(complex)[..., 0] * snr_to_sigma(MODEL, snr)


def damaged(name):
    """FIDs with what is bad of them, and the good voxels."""
    clean, noise = fids()
    good, data = np.ones(SHAPE, bool), clean + noise
    if name == "noise only":
        good, data = DISK, np.where(DISK[..., None], clean, 0) + noise
    elif name == "spike":
        data[(*SPIKED, 100)] *= 1e4
        good[SPIKED] = False
    elif name == "fat":
        data[0, :, 0] += 8 * line(1.1, 1.0)
        good[0] = False
    return data.astype(np.complex64), good


def written(folder, data):
    nifti_mrs.write_mrsi(folder / "dmi.nii.gz", MRSI(data, MODEL))
    mri = 20 + 80 * DISK + np.random.default_rng(1).normal(0, 2, SHAPE)
    nifti.write_image(folder / "mri.nii.gz", mri.astype(np.float32), np.eye(4))
    return folder / "dmi.nii.gz"


def model_of(data, single, mask=None):
    """`ErrorModel` of a single-voxel estimator under a prior that knows the disk."""
    mri = (20.0 + 80 * DISK + np.random.default_rng(1).normal(0, 2, SHAPE)).astype(np.float32)
    series = Series.of(MRSI(data, MODEL, mask=mask, mri=mri, mri_affine=np.eye(4)))
    known = estimate(series, single)
    good = known.sound(known.flags(single))
    return ErrorModel(known, Smoothing.of(Precise(base="fit").smoother, series, good), good)


@shipped
@pytest.mark.parametrize("name", ["clean", "noise only", "spike", "fat"])
def test_the_sd_of_good_voxels_is_their_own(tmp_path, name):
    """That of the scatter over 80 voxels; a spike in another one made it six times that."""
    data, good = damaged(name)
    quantify(written(tmp_path, data), tmp_path / "out", estimator="sve", model=SHIPPED)
    region = good & DISK
    for k, metabolite in enumerate(("Glc", "Glx", "Lac"), 1):
        found = nifti.read_map(tmp_path / "out" / f"conc_{metabolite}.nii.gz")[0][region] - 10 * TRUTH[region][:, k]
        stated = nifti.read_map(tmp_path / "out" / f"sd_{metabolite}.nii.gz")[0][region]
        assert np.median(stated) == pytest.approx(found.std(), rel=0.25)  # 80 voxels: 8 % standard error


@pytest.mark.parametrize("name", ["clean", "noise only", "spike", "fat"])
def test_lambda_is_not_that_of_bad_voxels(name):
    """The same as under a mask of the good ones, but for a false alarm; a spike alone made it twelve times as large."""
    data, good = damaged(name)
    found, masked = (choose_settings(model_of(data, Fit(), mask))[0][1] for mask in (None, good))
    assert 0.002 < masked < 0.05
    assert found == pytest.approx(masked, rel=0.15)


def test_a_mask_is_proposed_where_there_is_none():
    data, good = damaged("noise only")
    known = model_of(data, Fit()).estimates
    snr = next(flag.hits for flag in known.flags(Fit()) if flag.reason == "snr")
    np.testing.assert_array_equal(snr, ~good.ravel())
    np.testing.assert_array_equal(proposed(known.series).inside, good)


def test_a_flagged_voxel_is_no_neighbor():
    """It keeps its value, and the others have what they would have without it."""
    data, good = damaged("spike")
    errors = model_of(data, Fit())
    assert not errors.sound[np.flatnonzero(~good.ravel())].any()
    assert errors.sound.mean() > 0.98
    smooth = errors.smoothing.concentrations(errors.estimates.amplitudes, [0.02] * 4)
    single = MODEL.concentrations(errors.estimates.amplitudes)
    np.testing.assert_allclose(smooth[~errors.sound], single[~errors.sound], rtol=1e-9)
    series = errors.series
    without = series[0].replace(mask=series.on_grid(errors.sound, False))
    alone = Precise(base="fit", lam=0.02)(without).values
    np.testing.assert_allclose(smooth[errors.sound], np.moveaxis(alone, 0, -1)[without.mask], rtol=1e-6)
    maps = errors.closed_form([0.02] * 4)
    own = errors.closed_form()
    np.testing.assert_allclose(maps.sd[~errors.sound], own.sd[~errors.sound], rtol=1e-6)
    assert (maps.sd[errors.sound, 1] < own.sd[errors.sound, 1]).mean() > 0.95


@pytest.mark.parametrize("estimator", ["precise", "fit-guided", "fit-diffusion"])
def test_neighbors_of_a_bad_voxel_are_right_in_files(tmp_path, estimator):
    """A spike of 1e4 in one voxel: Glc of its 8 neighbors within 3 SD of the mean of theirs; today down to .06."""
    data, _ = damaged("spike")
    given = {"model": SHIPPED} if estimator == "precise" and has_shipped_weights() else {}
    quantify(written(tmp_path, data), tmp_path / "out", tmp_path / "mri.nii.gz", estimator=estimator, **given)
    glc = nifti.read_map(tmp_path / "out" / "conc_Glc.nii.gz")[0][6:9, 6:9, 0].ravel()
    near = np.delete(glc, 4)
    assert abs(near.mean() - 4.0) < 0.3
    assert (abs(near - 4.0) < 0.8).all()


def test_a_voxel_far_brighter_than_those_around_gives_them_nothing(tmp_path):
    """Twenty times the water, hardly Glc: its FID fits the model, and Glc of its neighbors came out half as high."""
    data, _ = damaged("clean")
    data[SPIKED] += 20 * MODEL.fids([1.0, 0.01, 0.3, 0.8]).astype(np.complex64)
    summary = quantify(written(tmp_path, data), tmp_path / "out", tmp_path / "mri.nii.gz", estimator="precise")
    assert summary["flags"]["bright"]["voxels"] == 1
    assert nifti.read_map(tmp_path / "out" / "flag_bright.nii.gz")[0][SPIKED] == 1
    near = np.delete(nifti.read_map(tmp_path / "out" / "conc_Glc.nii.gz")[0][6:9, 6:9, 0].ravel(), 4)
    assert abs(near.mean() - 4.0) < 0.3
    assert (abs(near - 4.0) < 0.8).all()


def test_a_receive_profile_makes_no_voxel_too_bright():
    """Water that doubles from one voxel to the next, over a factor of 500, and a border of partial volume."""
    factor = 2.0 ** (np.indices((10, 5, 5))[0] - 9)
    factor[:, 0] *= 0.05
    amplitudes = (100 * factor[..., None] * AMPLITUDES).reshape(-1, 4)
    series = Series.of(MRSI(MODEL.fids(amplitudes).reshape(10, 5, 5, -1).astype(np.complex64), MODEL))
    assert not bright_flag(series, amplitudes, 1e-3, np.zeros(250, bool)).hits.any()


def test_where_every_voxel_is_flagged_the_model_is_wrong_and_the_prior_stays():
    clean, noise = fids(60)
    data = (clean + line(3.05, 0.5) + noise).astype(np.complex64)
    errors = model_of(data, Fit())
    assert errors.sound.all()
    # noise alone has no neighbors at all
    errors = model_of(noise.astype(np.complex64), Fit())
    assert errors.sound.mean() < 0.2


def test_a_map_among_voxels_that_it_leaves_alone():
    rng, usable = np.random.default_rng(0), np.ones((4, 3, 1), bool)
    inner = usable.copy()
    inner[1, 1] = inner[3, 2] = False
    matrix = rng.random((10, 10))
    whole = Smoother(inner, lambda _: DenseMap(matrix)).among(usable)
    values, full = rng.random((12, 2)), np.eye(12)
    full[np.ix_(whole.within, whole.within)] = matrix
    np.testing.assert_allclose(whole.at([1.0])[0](values), full @ values)
    np.testing.assert_allclose(whole.at([1.0])[0].rows([0, 4, 11]), full[[0, 4, 11]])


def quantified(folder, mask=None, **options):
    summary = quantify(folder / "dmi.nii.gz", folder / "out", folder / "mri.nii.gz", mask, "precise", **options)
    sd = nifti.read_map(folder / "out" / "sd_Glc.nii.gz")[0]
    return summary, sd


def test_the_proposed_mask_is_written_said_and_used(tmp_path):
    """SD and lambda of the object are those under its true mask; 'none' proposes nothing."""
    data, good = damaged("noise only")
    written(tmp_path, data)
    nifti.write_image(tmp_path / "truth.nii.gz", good, np.eye(4))
    summary, sd = quantified(tmp_path, lam="auto")
    np.testing.assert_array_equal(nifti.read_map(tmp_path / "out" / "proposed_mask.nii.gz")[0] > 0, good)
    assert summary["mask"] == {"file": "proposed_mask.nii.gz", "voxels": 80, "of": 196, "snr_at_least": 3.0}
    assert "80 of 196 voxel(s) in which water stands out" in " ".join(summary["warnings"])
    assert "proposed_mask.nii.gz" in result.files(summary)
    assert np.isfinite(sd[~good]).mean() > 0.5  # those outside are quantified too
    shown = report.read(report.Source(tmp_path / "dmi.nii.gz", tmp_path / "mri.nii.gz", None, tmp_path / "out", False))
    assert len(shown.snr) == 80
    assert np.isfinite(shown.maps["conc"]["Glc"]).sum() == 80
    assert "snr" not in shown.flags
    assert "over the voxels of the proposed mask" in report_tables.results(shown)
    masked, true_sd = quantified(tmp_path, tmp_path / "truth.nii.gz", lam="auto")
    assert masked["mask"] is None
    assert not (tmp_path / "out" / "proposed_mask.nii.gz").exists()
    for key in ("median_sd_mm", "single_voxel_sd_over_bound"):
        assert summary["errors"][key] == pytest.approx(masked["errors"][key], rel=0.05)
    chosen = [x["lambda_choice"]["chosen"]["Glc"] for x in (summary, masked)]
    assert chosen[0] == pytest.approx(chosen[1], rel=0.15)
    assert np.median(sd[good]) == pytest.approx(np.median(true_sd[good]), rel=0.05)
    off, _ = quantified(tmp_path, "none")
    assert off["mask"] is None
    assert "No mask was given" not in " ".join(off["warnings"])
    assert off["counts"]["masked_out"] == 0


@pytest.mark.parametrize("size", [1.0, 0.5])
def test_noise_alone_is_no_object(size):
    """Of 1000 FIDs of noise none is taken for water, at long and at short FIDs."""
    model = replace(MODEL, acquisition=replace(MODEL.acquisition, n_samples=int(512 * size)))
    noise = np.random.default_rng(5).standard_normal((10, 100, 1, int(512 * size), 2)).view(complex)[..., 0]
    assert proposed(Series.of(MRSI(noise.astype(np.complex64), model))) is None


def test_the_object_has_signal_in_half_of_the_frames():
    """Voxels with water in none, one, two, three of four frames."""
    has = np.arange(4)[:, None] > np.arange(4)
    clean = np.where(has[:, None, None, None], MODEL.fids(AMPLITUDES)[:, None], 0)
    noise = np.random.default_rng(2).standard_normal((*clean.shape, 2)).view(complex)[..., 0]
    data = (clean + noise * snr_to_sigma(MODEL, 15)).astype(np.complex64)
    found = proposed(Series(data, MODEL))
    np.testing.assert_array_equal(found.inside.ravel(), [False, False, True, True])
    assert found.of(Series(data, MODEL)).sum() == 8
