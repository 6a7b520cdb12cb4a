"""A time course is quantified frame by frame: every frame as if it were alone, the work on the prior done once."""

import json

import nibabel as nib
import numpy as np
import pytest
from nifti_mrs.create_nmrs import gen_nifti_mrs
from nifti_mrs.nifti_mrs import NIFTI_MRS

from precise_lib.errors import InputError
from precise_lib.estimate import precise
from precise_lib.estimate.prior import ExactSolver
from precise_lib.estimate.weights import Sve
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import quantify
from precise_lib.quantify.errors import ErrorModel
from precise_lib.quantify.estimates import Smoothing, estimate
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.phantoms import rings
from tests.helpers import tiny_network

MODEL = dmi_11t7()
NAMES = ("water", "Glc", "Glx", "Lac")
PHANTOM = rings()
PART = PHANTOM.crop(np.pad(np.ones((9, 8, 1), bool), ((12, 11), (17, 7), (0, 0))) & PHANTOM.mask)


def frames(n=3, snr=20, seed=0) -> list[MRSI]:
    """Measurements of a part of the phantom; Glc is fed in while time passes."""
    out = []
    for i in range(n):
        growing = PART.concentrations * np.where(np.array(NAMES) == "Glc", i / n, 1.0)[:, None, None, None]
        out.append(type(PART)(**{**PART.__dict__, "concentrations": growing}).measure(snr, [seed, i]))
    return out


def series(sets) -> Series:
    first = sets[0]
    fids = np.stack([s.fids for s in sets], -1)
    return Series(fids, MODEL, first.affine, first.mask, first.mri, first.mri_affine)


@pytest.fixture
def files(tmp_path):
    """dynamic.nii.gz, 0.nii.gz to 2.nii.gz, mri and mask."""
    sets = frames()
    nifti_mrs.write_mrsi(tmp_path / "dynamic.nii.gz", series(sets))
    for i, data in enumerate(sets):
        nifti_mrs.write_mrsi(tmp_path / f"{i}.nii.gz", data)
    nifti.write_image(tmp_path / "mri.nii.gz", PART.mri, PART.mri_affine)
    nifti.write_image(tmp_path / "mask.nii.gz", PART.mask, PART.affine)
    return tmp_path


def error_model(data: Series) -> ErrorModel:
    """Of PRECISE with a small network."""
    network = tiny_network()
    return ErrorModel(estimate(data, Sve(network)), Smoothing.of(precise.Precise(network).smoother, data))


def ratios(errors: ErrorModel, lams):
    return errors.smoothing.concentrations(errors.estimates.amplitudes, lams)


def maps(folder, prefix):
    return np.stack([nifti.read_map(folder / f"{prefix}_{name}.nii.gz")[0] for name in NAMES])


# files


def test_a_series_survives_a_file(files):
    back, sets = nifti_mrs.read_series(files / "dynamic.nii.gz"), frames()
    assert len(back) == 3
    for i, data in enumerate(sets):
        np.testing.assert_array_equal(back[i].fids, data.fids)
    theirs = NIFTI_MRS(files / "dynamic.nii.gz")
    assert theirs.dim_tags == ["DIM_MEAS", None, None]
    np.testing.assert_array_equal(theirs[:], np.stack([s.fids for s in sets], -1))
    with pytest.raises(InputError, match=r"several frames \(DIM_MEAS \(3\)\)"):
        nifti_mrs.read_mrsi(files / "dynamic.nii.gz")


@pytest.mark.parametrize(
    ("shape", "tags", "said"),
    [
        ((3,), ["DIM_DYN"], None),
        ((3,), ["DIM_MEAS"], None),
        ((1, 3), ["DIM_COIL", "DIM_MEAS"], None),
        ((3, 1), ["DIM_DYN", "DIM_COIL"], None),
        ((4,), ["DIM_COIL"], "combine them first"),
        ((4, 3), ["DIM_COIL", "DIM_DYN"], "combine them first"),
        ((2,), ["DIM_EDIT"], "no time course"),
        ((2,), ["DIM_PHASE_CYCLE"], "no time course"),
        ((2,), ["DIM_USER_0"], "no time course"),
        ((2, 3), ["DIM_DYN", "DIM_MEAS"], "more than one axis of repeats"),
    ],
)
def test_which_axes_are_a_time_course(tmp_path, shape, tags, said):
    rng = np.random.default_rng(0)
    fids = (rng.random((2, 1, 1, 16, *shape)) + 1j).astype(np.complex64)
    padded = [*tags, None, None][:3]
    gen_nifti_mrs(fids, 1 / 2500, 76.7, nucleus="2H", dim_tags=padded).save(tmp_path / "d.nii.gz")
    if said is None:
        found = nifti_mrs.read_series(tmp_path / "d.nii.gz")
        np.testing.assert_array_equal(found.fids, fids.reshape(2, 1, 1, 16, 3))
        assert bool(found.notes) == ("DIM_DYN" in tags)  # transients may be averages: the reader is asked
    else:
        with pytest.raises(InputError, match=said) as caught:
            nifti_mrs.read_series(tmp_path / "d.nii.gz")
        assert all(f"{t} ({n})" in str(caught.value) for t, n in zip(tags, shape, strict=True))


def test_the_order_of_voxel_frames():
    rng = np.random.default_rng(0)
    fids = rng.random((3, 2, 2, 512, 4)).astype(np.complex64)
    fids[1, 1, 0, 5, 2] = np.nan
    mask = np.ones((3, 2, 2), bool)
    mask[0, 0, 0] = False
    data = Series(fids, MODEL, mask=mask)
    assert data.usable.sum((1, 2, 3)).tolist() == [11, 11, 10, 11]
    joined = np.concatenate(list(data.chunks(4)))
    np.testing.assert_array_equal(joined, np.concatenate([data[i].fids[data[i].usable] for i in range(4)]))
    assert max(len(c) for c in data.chunks(4)) == 4
    values = np.arange(len(joined))
    grid = data.on_grid(values, -1)
    assert grid.shape == (3, 2, 2, 4)
    for i, part in enumerate(data.parts):
        np.testing.assert_array_equal(grid[..., i][data[i].usable], values[part])
    assert grid[1, 1, 0, 2] == -1
    assert (grid[0, 0, 0] == -1).all()
    assert len(data.sample(10)) <= 11
    with pytest.raises(InputError, match="frame"):
        Series(fids[..., 0], MODEL)


# quantification


@pytest.mark.parametrize(
    "options", [{"estimator": "fit"}, {"estimator": "sve"}, {"lam": 0.02}, {"estimator": "fourier"}]
)
def test_every_frame_as_if_alone(files, options):
    common = {"mask": files / "mask.nii.gz", "mri": files / "mri.nii.gz"} | options
    together = quantify(files / "dynamic.nii.gz", files / "all", **common)
    found = maps(files / "all", "conc")
    assert found.shape == (4, *PART.mask.shape, 3)
    assert together["frames"] == 3
    assert together["counts"]["estimated"] == 3 * PART.mask.sum()
    for i in range(3):
        alone = quantify(files / f"{i}.nii.gz", files / str(i), **common)
        # networks and sums in single precision depend on the size of a batch, by rounding alone
        np.testing.assert_allclose(found[..., i], maps(files / str(i), "conc"), rtol=2e-5, atol=1e-5)
        assert alone["frames"] == 1
        for kind in ("sd", "bias"):
            if (files / "all" / f"{kind}_Glx.nii.gz").exists():
                both = maps(files / "all", kind)[..., i], maps(files / str(i), kind)
                # the noise level is that of all frames, more certain than that of one
                np.testing.assert_allclose(both[0], both[1], rtol=0.06, atol=2e-4)
        for reason, about in together["flags"].items():
            flag = np.asarray(nib.load(files / "all" / about["file"]).dataobj)[..., i]
            one = np.asarray(nib.load(files / str(i) / about["file"]).dataobj)
            assert (flag != one).sum() <= 1, reason
    # Glc grows from nothing to two thirds, at 2 % standard error of a mean over the region
    if options.get("estimator") != "fourier":
        glc = np.nanmean(found[1], (0, 1, 2))
        truth = PART.concentrations.sel(metabolite="Glc").mean().item() * np.arange(3) / 3
        assert glc == pytest.approx(truth, abs=0.15)


def test_one_frame_is_the_3d_set(files):
    """To the byte, in every map and flag."""
    one = series(frames(1))
    nifti_mrs.write_mrsi(files / "one.nii.gz", one)
    common = {"mri": files / "mri.nii.gz", "mask": files / "mask.nii.gz"}
    a = quantify(files / "one.nii.gz", files / "a", **common)
    b = quantify(files / "0.nii.gz", files / "b", **common)
    names = sorted(p.name for p in (files / "a").iterdir())
    assert names == sorted(p.name for p in (files / "b").iterdir())
    for name in names:
        if name.endswith(".nii.gz"):
            first, second = nib.load(files / "a" / name), nib.load(files / "b" / name)
            assert first.shape == PART.mask.shape
            np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
    for key in ("errors", "flags", "counts", "false_negative", "warnings"):
        a[key], b[key] = ({**x[key], "seconds": 0} if key == "errors" else x[key] for x in (a, b))
        assert a[key] == b[key]


def test_the_prior_is_factorized_once(monkeypatch):
    made = []

    class Counted(ExactSolver):
        def __init__(self, *args, **options):
            made.append(args[1])
            super().__init__(*args, **options)

    monkeypatch.setattr(precise, "ExactSolver", Counted)
    errors = error_model(series(frames(4)))
    lams = [0.01, 0.01, 0.02, 0.01]
    assert ratios(errors, lams).shape == (4 * PART.mask.sum(), 4)
    errors.closed_form(lams)
    assert sorted(made) == [0.01, 0.02]


def test_frames_with_other_voxels_have_their_own_prior():
    sets = frames(3)
    fids = sets[1].fids.copy()
    fids[tuple(np.argwhere(PART.mask)[5])] = np.nan
    broken = [sets[0], sets[1].replace(fids=fids), sets[2]]
    errors = error_model(series(broken))
    assert [frames_of for _, frames_of in errors.smoothing.groups] == [[0, 2], [1]]
    together, sd = ratios(errors, [0.02] * 4), errors.closed_form([0.02] * 4).sd
    for i, data in enumerate(broken):
        alone = error_model(Series.of(data))
        part = errors.series.parts[i]
        np.testing.assert_allclose(together[part], ratios(alone, [0.02] * 4), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(sd[part], alone.closed_form([0.02] * 4).sd, rtol=0.06, atol=1e-6)


def test_a_frame_without_data_stays_empty(tmp_path):
    sets = frames(3)
    sets[1] = sets[1].replace(fids=np.zeros_like(sets[1].fids))
    nifti_mrs.write_mrsi(tmp_path / "d.nii.gz", series(sets))
    nifti.write_image(tmp_path / "mri.nii.gz", PART.mri, PART.mri_affine)
    nifti.write_image(tmp_path / "mask.nii.gz", PART.mask, PART.affine)
    summary = quantify(tmp_path / "d.nii.gz", tmp_path / "out", tmp_path / "mri.nii.gz", tmp_path / "mask.nii.gz")
    assert summary["counts"]["zero"] == PART.mask.sum()
    found = maps(tmp_path / "out", "conc")
    assert np.isnan(found[..., 1]).all()
    assert np.isfinite(found[..., 0][:, PART.mask]).all()


def test_one_lambda_and_monte_carlo_for_a_time_course(files):
    common = (files / "mri.nii.gz", files / "mask.nii.gz")
    auto = quantify(files / "dynamic.nii.gz", files / "auto", *common, lam="auto")
    chosen = auto["lambda_choice"]["chosen"]
    assert set(chosen) == {"Glc", "Glx", "Lac"}
    assert all(np.isscalar(x) for x in chosen.values())
    closed = maps(files / "auto", "sd")
    mc = quantify(files / "dynamic.nii.gz", files / "mc", *common, lam=chosen["Glx"], errors="montecarlo", repeats=30)
    assert mc["errors"]["method"] == "monte carlo"
    sd = maps(files / "mc", "sd")
    assert sd.shape == (4, *PART.mask.shape, 3)
    ratio = np.sqrt((sd[2] ** 2)[PART.mask].mean() / (closed[2] ** 2)[PART.mask].mean())
    assert ratio == pytest.approx(1, abs=0.06)
    assert json.loads((files / "mc" / "summary.json").read_text())["frames"] == 3
