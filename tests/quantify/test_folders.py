"""What users met with files: stale maps, masks that are no masks, an MRI with a vessel or without a position."""

import nibabel as nib
import numpy as np
import pytest

from precise_lib import cli
from precise_lib.errors import InputError
from precise_lib.estimate.prior import gray_range, prepare_mri
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import quantify
from precise_lib.run import tables
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import add_noise
from precise_lib.signal.presets import dmi_11t7

MODEL = dmi_11t7()
AFFINE = np.diag([5.0, 5, 5, 1])


def write(path, glc=0.25, seed=0):
    clean = MODEL.fids(np.broadcast_to([1.0, glc, 0.3, 0.12], (4, 4, 1, 4)))
    fids = add_noise(clean, 0.05, np.random.default_rng(seed)).astype(np.complex64)
    nifti_mrs.write_mrsi(path, MRSI(fids, MODEL, AFFINE))
    return path


def test_maps_of_an_earlier_run_do_not_stay(tmp_path, monkeypatch, capsys):
    first, second, out = write(tmp_path / "s1.nii.gz"), write(tmp_path / "s2.nii.gz", 0.6, 1), tmp_path / "o"
    nifti.write_image(tmp_path / "mri.nii.gz", np.random.default_rng(0).random((4, 4, 1)), AFFINE)
    quantify(first, out, tmp_path / "mri.nii.gz", estimator="precise")
    (out / "notes.txt").write_text("of the user")
    assert (out / "bias_Glc.nii.gz").exists()
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def run(*more):
        monkeypatch.setattr("sys.argv", ["precise", "quantify", str(second), "--out", str(out), *more])
        with pytest.raises(SystemExit) as leaving:
            cli.app_main()
        return leaving.value.code, capsys.readouterr().err

    code, said = run("--estimator", "fourier")
    assert code == 2
    assert "maps of an earlier run" in said
    assert "--overwrite" in said
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    code, said = run("--estimator", "fourier", "--overwrite")
    assert code == 0
    assert not list(out.glob("bias_*")) + list(out.glob("sd_*"))
    assert nib.load(out / "conc_Glc.nii.gz").get_fdata().mean() > 4
    assert (out / "notes.txt").read_text() == "of the user"


def test_a_run_that_fails_leaves_the_earlier_one(tmp_path):
    out, path = tmp_path / "o", write(tmp_path / "s1.nii.gz")
    quantify(path, out, estimator="fit")
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(InputError):
        quantify(path, out, estimator="fit", reference_frame=7)
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@pytest.mark.parametrize(
    ("values", "inside", "said"),
    [
        ([0, 1, 1, 0], [0, 1, 1, 0], None),
        ([0, 7, 7, 0], [0, 1, 1, 0], None),
        ([1, 1, 1, 1], [1, 1, 1, 1], None),
        ([1e-7, 1 + 1e-7, 1, -1e-7], [0, 1, 1, 0], "labels"),  # ringing of an interpolation
        ([0.1, 0.5, 0.9, 0.4], [0, 1, 1, 0], "from 0.45 on"),  # probabilities
        ([10, 50.5, 100, 20], [0, 1, 1, 0], "from 50 on"),  # in percent
        ([-1, 1, 2, 0], [0, 1, 1, 0], "from -1 to 2"),  # labels
        ([np.nan, 1, 1, 0], [0, 1, 1, 0], None),
        ([-1, -1, 0, 0], [0, 0, 0, 0], "labels"),
    ],
)
def test_what_a_mask_holds(values, inside, said):
    mask, notes = nifti.inside(np.array(values, float).reshape(4, 1, 1))
    np.testing.assert_array_equal(mask.ravel(), np.array(inside, bool))
    assert bool(notes) == (said is not None)
    assert said is None or said in notes[0]


def test_the_gray_range_and_a_bright_vessel():
    gray = np.random.default_rng(0).uniform(0.4, 0.8, 400)
    assert gray_range(gray) == (gray.min(), gray.max())
    gray[7] = 20.0
    low, high = gray_range(gray)
    assert 0.4 <= low < 0.42
    assert 0.78 < high <= 0.8


def test_an_mri_that_helps_little_is_said(tmp_path):
    path, values = write(tmp_path / "d.nii.gz"), np.linspace(0, 1, 16).reshape(4, 4, 1)

    def said(image, affine=AFFINE):
        nifti.write_image(tmp_path / "mri.nii.gz", image, affine)
        return " ".join(quantify(path, tmp_path / "o", tmp_path / "mri.nii.gz", estimator="precise")["warnings"])

    assert "vessel" not in said(values)
    assert "constant over the voxels" in said(0 * values + 3)
    assert "says nothing of its position" not in said(values)
    plain = nib.Nifti1Image(np.ones((40, 40, 40), np.float32), np.eye(4))
    nib.save(plain, tmp_path / "mri.nii.gz")
    series = nifti_mrs.read_series(path, tmp_path / "mri.nii.gz")
    assert any("says nothing of its position" in note for note in series.notes)
    gray = np.random.default_rng(0).random((8, 8, 1))
    gray[3, 3, 0] = 50
    data = MRSI(np.ones((8, 8, 1, 512), np.complex64), MODEL, AFFINE, None, gray, AFFINE)
    assert np.nanmax(prepare_mri(data)) > 40


def test_tables_with_tabs(tmp_path):
    (tmp_path / "t.tsv").write_text("dmi\tlam\na b.nii.gz\t0.02\n")
    assert tables.read(tmp_path / "t.tsv", {"dmi": "x", "lam": None}) == [{"dmi": "a b.nii.gz", "lam": 0.02}]
