"""The command line: good input against the truth and the bound, bad input in one sentence and exit code 2."""

import inspect
import json
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nifti_mrs.nifti_mrs import NIFTI_MRS

from precise_lib import __version__, cli, estimate
from precise_lib.cli import quantify as commands
from precise_lib.evaluate import crlb
from precise_lib.io import nifti, nifti_mrs
from precise_lib.io.shipped import data_path
from precise_lib.quantify import page
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model, dmi_11t7

SNR = 20
NAMES = ("water", "Glc", "Glx", "Lac")
PRECISE = Path(sys.executable).with_name("precise")


def shipped(name: str) -> bool:
    try:
        return data_path("weights", f"{name}.safetensors").is_file()
    except FileNotFoundError:
        return False


needs_weights = pytest.mark.skipif(not shipped("dmi_11t7"), reason="the weights dmi_11t7 are not there yet")


@pytest.fixture
def refused(precise, tmp_path):
    """Run a command that must be refused: exit code 2, one sentence, nothing written. Returns the sentence."""

    def run(*arguments):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = precise(*arguments)
        assert code == 2, (code, out, err)
        assert out == ""
        assert err.startswith("precise: ")
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    """The simulated rings, written by the command itself."""
    folder = tmp_path_factory.mktemp("rings")
    command = [PRECISE, "simulate", "rings", "--snr", str(SNR), "--seed", "1", "--out", folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return folder


def maps(folder, prefix):
    return np.stack([nifti.read_map(folder / f"{prefix}_{name}.nii.gz")[0] for name in NAMES])


# ---------------------------------------------------------------- good input


def test_version_is_quick():
    started = time.perf_counter()
    done = subprocess.run([PRECISE, "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, f"precise {__version__}")
    assert time.perf_counter() - started < 5  # below 0.3 s where nothing else runs
    heavy = "import sys, precise_lib.cli; assert not {'torch', 'nibabel', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", heavy], check=True, timeout=60)


def test_simulated_rings(rings, precise, tmp_path):
    expected = {"dmi", "mri", "mask", *(f"truth_{name}" for name in NAMES)}
    assert {p.name for p in rings.iterdir()} == {f"{name}.nii.gz" for name in expected}
    dmi = NIFTI_MRS(rings / "dmi.nii.gz")
    assert dmi.shape == (32, 32, 1, 512)
    assert dmi.nucleus == ["2H"]
    truth, mask = maps(rings, "truth"), nifti.read_map(rings / "mask.nii.gz")[0] > 0
    np.testing.assert_array_equal(np.isfinite(truth), np.broadcast_to(mask, truth.shape))
    np.testing.assert_allclose(truth[0][mask], 10)
    assert nib.load(rings / "mri.nii.gz").shape == (160, 160, 1)
    # the same seed gives the same data, another seed others
    for seed in (1, 2):
        assert precise("simulate", "rings", "--snr", SNR, "--seed", seed, "--out", tmp_path / str(seed))[0] == 0
    again, other = (NIFTI_MRS(tmp_path / s / "dmi.nii.gz")[:] for s in ("1", "2"))
    np.testing.assert_array_equal(again, dmi[:])
    assert not np.array_equal(other, dmi[:])


def errors_over_bound(rings, out):
    """(estimate - truth) / CRLB of the concentration, (3, V), for Glc, Glx and Lac."""
    mask = nifti.read_map(rings / "mask.nii.gz")[0] > 0
    truth, estimate = maps(rings, "truth")[:, mask], maps(out, "conc")[:, mask]
    model = dmi_11t7()
    bound = 10 * crlb.ratio_sd(model, truth.T / 10, snr_to_sigma(model, SNR)).T
    np.testing.assert_allclose(estimate[0], 10, rtol=1e-5)
    return ((estimate - truth) / bound)[1:]


def check_summary(out, estimator, network=None):
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["estimator"] == estimator
    assert summary["versions"]["precise_lib"] == __version__
    assert {"python", "numpy", "torch"} <= set(summary["versions"])
    assert summary["counts"]["voxels"] == 1024
    assert summary["counts"]["masked_out"] + summary["counts"]["estimated"] == 1024
    assert [r["name"] for r in summary["signal_model"]["resonances"]] == list(NAMES)
    assert set(summary["timings_s"]) == {"read", "estimate", "write", "total"}
    if network is None:
        assert summary["weights"] is None
    else:
        assert summary["weights"]["name"] == network
        assert len(summary["weights"]["sha256"]) == 64
    return summary


def test_fit_attains_the_bound(rings, precise, tmp_path):
    out = tmp_path / "new" / "fit"
    code, said, notes = precise(
        "quantify", rings / "dmi.nii.gz", "--mask", rings / "mask.nii.gz", "--estimator", "fit", "--out", out
    )
    assert code == 0
    assert "Quantified" in said
    assert notes.startswith("Note: No signal model was given")
    z = errors_over_bound(rings, out)
    # 732 voxels: 2.6 % standard error of an SD, 0.037 of a mean
    assert z.std(1) == pytest.approx(1, abs=0.10)
    assert z.mean(1) == pytest.approx(0, abs=0.15)
    summary = check_summary(out, "fit")
    assert summary["files"] == [f"conc_{name}.nii.gz" for name in NAMES]
    image = nib.load(out / "conc_Glx.nii.gz")
    np.testing.assert_allclose(image.affine, nib.load(rings / "dmi.nii.gz").affine)
    assert b"mM" in bytes(image.header["descrip"])
    assert np.isnan(image.get_fdata()[0, 0, 0])


def test_fourier_is_near_the_truth_and_above_the_bound(rings, precise, tmp_path):
    code, *_ = precise(
        "quantify", rings / "dmi.nii.gz", "--mask", rings / "mask.nii.gz", "--estimator", "fourier", "--out", tmp_path
    )
    assert code == 0
    z = errors_over_bound(rings, tmp_path)
    assert (z.std(1) > 1.1).all()
    assert (z.std(1) < 2.0).all()
    assert (np.abs(z.mean(1)) < 2).all()
    check_summary(tmp_path, "fourier")


@needs_weights
def test_sve_by_default_and_a_prior_with_an_mri(rings, precise, tmp_path):
    common = ("quantify", rings / "dmi.nii.gz", "--mask", rings / "mask.nii.gz", "--out")
    assert precise(*common, tmp_path / "sve")[0] == 0
    check_summary(tmp_path / "sve", "sve", "dmi_11t7")
    sve = errors_over_bound(rings, tmp_path / "sve")
    assert sve.std(1) == pytest.approx(1, abs=0.2)
    assert sve.mean(1) == pytest.approx(0, abs=0.25)
    assert precise(*common, tmp_path / "adaptive", "--mri", rings / "mri.nii.gz")[0] == 0
    check_summary(tmp_path / "adaptive", "adaptive", "dmi_11t7")
    assert (errors_over_bound(rings, tmp_path / "adaptive").std(1) < 0.5 * sve.std(1)).all()
    # lambda is that of Eq. 4
    assert precise(*common, tmp_path / "prior", "--mri", rings / "mri.nii.gz", "--lam", "0.01")[0] == 0
    assert check_summary(tmp_path / "prior", "precise", "dmi_11t7")["settings"]["lambda"] == 0.01
    prior = errors_over_bound(rings, tmp_path / "prior")
    # at this SNR lambda = 0.01 is too much for Glx, whose bias at the edges takes back what its SD gains
    assert (prior.std(1) < [0.9 * sve.std(1)[0], 1.1 * sve.std(1)[1], 0.9 * sve.std(1)[2]]).all()
    chosen = (*common, tmp_path / "auto", "--mri", rings / "mri.nii.gz", "--lam", "auto")
    assert precise(*chosen)[0] == 0
    assert (errors_over_bound(rings, tmp_path / "auto").std(1) < 0.95 * sve.std(1)).all()
    summary = check_summary(tmp_path / "auto", "precise", "dmi_11t7")
    assert summary["settings"]["lambda"] == "auto"
    choice = summary["lambda_choice"]
    assert set(choice["chosen"]) == {"Glc", "Glx", "Lac"}
    assert 0.001 < choice["chosen"]["Glx"] < choice["chosen"]["Glc"] < choice["chosen"]["Lac"] < 0.3
    accepted = summary["errors"]["rms_bias_without_noise_mm"]
    assert all(0.1 < accepted[n] / summary["errors"]["rms_sd_mm"][n] < 2 for n in ("Glc", "Glx", "Lac"))
    zero = (*common, tmp_path / "zero", "--mri", rings / "mri.nii.gz", "--lam", "0")
    assert precise(*zero)[0] == 0
    np.testing.assert_allclose(maps(tmp_path / "zero", "conc"), maps(tmp_path / "sve", "conc"), rtol=1e-4)


@needs_weights
def test_errors_are_those_that_occur(rings, precise, tmp_path):
    """SD and bias maps against repeated measurements of the truth; both ways agree with each other."""
    from precise_lib.estimate.precise import Precise
    from precise_lib.evaluate.montecarlo import phantom_study
    from precise_lib.simulate import phantoms

    phantom = phantoms.rings()
    study = phantom_study({"precise": Precise(lam=0.02)}, phantom, SNR, n_repeats=60).isel(estimator=0)
    mask, real = phantom.mask, study["sd"].values[1:]
    common = ("quantify", rings / "dmi.nii.gz", "--mask", rings / "mask.nii.gz", "--mri", rings / "mri.nii.gz")
    for way, extra in (("closed form", ()), ("monte carlo", ("--errors", "montecarlo", "--repeats", 60))):
        out = tmp_path / way
        assert precise(*common, "--lam", 0.02, "--out", out, *extra)[0] == 0
        sd, bias = maps(out, "sd"), maps(out, "bias")
        np.testing.assert_array_equal(np.isfinite(sd[1]), mask)
        assert np.nanmax(sd[0]) < 1e-6  # water is the reference: its concentration is given
        assert np.nanmin(bias) >= 0
        # single voxels of 60 repeats: 9 % each; 700 voxels together: well below 1 %
        ratio = np.sqrt((sd[1:] ** 2)[:, mask].mean(1) / (real**2)[:, mask].mean(1))
        assert ratio == pytest.approx(1, abs=0.04), way
        tumor = phantom.tumors["B"]
        expected = np.abs(study["bias"].values)[1:, tumor].mean(1)
        assert bias[1:, tumor].mean(1)[[1, 2]] == pytest.approx(expected[[1, 2]], rel=0.3), way
        summary = check_summary(out, "precise", "dmi_11t7")["errors"]
        assert summary["method"] == way
        assert summary["noise_sd"] == pytest.approx(float(snr_to_sigma(dmi_11t7(), SNR)), rel=0.01)
        assert summary["files"] == [f"{kind}_{name}.nii.gz" for kind in ("sd", "bias") for name in NAMES]
    out = tmp_path / "none"
    assert precise(*common, "--lam", 0.02, "--errors", "none", "--out", out)[0] == 0
    expected = {"summary.json", "result.nc", *(f"conc_{name}.nii.gz" for name in NAMES)}
    assert {p.name for p in out.iterdir() if not p.name.startswith("flag_")} == expected
    assert check_summary(out, "precise", "dmi_11t7")["errors"]["method"] == "none"


def test_errors_of_estimators_without_a_closed_form(rings, precise, tmp_path):
    common = ("quantify", rings / "dmi.nii.gz", "--mask", rings / "mask.nii.gz", "--estimator")
    assert precise(*common, "fourier", "--errors", "montecarlo", "--repeats", 30, "--out", tmp_path / "f")[0] == 0
    assert precise(*common, "fit", "--out", tmp_path / "fit")[0] == 0
    mask = nifti.read_map(rings / "mask.nii.gz")[0] > 0
    fourier, fit = (maps(tmp_path / name, "sd")[1:, mask].mean(1) for name in ("f", "fit"))
    assert (fourier > 1.2 * fit).all()
    assert not list(tmp_path.rglob("bias_*"))


def test_a_signal_model_of_ones_own(rings, precise, tmp_path):
    model = tmp_path / "model.yaml"
    model.write_text(
        "resonances:\n  - {name: water, ppm: 4.7, t2star_s: 0.02}\n  - {name: Glx, ppm: 2.4, t2star_s: 0.02}\n"
    )
    command = ("quantify", rings / "dmi.nii.gz", "--estimator", "fourier", "--model", model, "--out", tmp_path / "o")
    assert precise(*command)[0] == 0
    written = {p.name for p in (tmp_path / "o").iterdir()}
    flags = {f"flag_{reason}.nii.gz" for reason in ("residual", "snr", "offset", "negative", "overlap")}
    files = {
        "conc_water.nii.gz",
        "conc_Glx.nii.gz",
        "summary.json",
        "result.nc",
        "calibrated.yaml",
        "proposed_mask.nii.gz",
    }
    assert written == files | flags
    # the phantom has two lines more than this model
    said = json.loads((tmp_path / "o" / "summary.json").read_text())["warnings"]
    assert any("the signal model lacks" in sentence for sentence in said)
    as_json = tmp_path / "model.json"
    as_json.write_text(json.dumps(dmi_11t7().to_dict()))
    assert precise(*command[:5], as_json, *command[6:], "--overwrite")[0] == 0
    summary = check_summary(tmp_path / "o", "fourier")
    assert summary["signal_model_hash"] == dmi_11t7().hash


def write(path, fids=None, model=None, affine=None):
    """A 2 x 2 x 1 data set of the phantom's acquisition, or another."""
    model = model or dmi_11t7()
    if fids is None:
        fids = np.broadcast_to(model.fids([1.0, 0.3, 0.6, 0.1]), (2, 2, 1, model.acquisition.n_samples))
    nifti_mrs.write_mrsi(path, MRSI(fids, model, np.diag([5.0, 5, 5, 1]) if affine is None else affine))
    return path


def test_bad_voxels_stay_nan_and_are_counted(precise, tmp_path):
    fids = np.broadcast_to(dmi_11t7().fids([1.0, 0.3, 0.6, 0.1]), (2, 2, 1, 512)).astype(np.complex64)
    fids[0, 0, 0, 3] = np.nan
    fids[0, 1, 0, 4] = np.inf
    fids[1, 0] = 0
    dmi, out = write(tmp_path / "dmi.nii.gz", fids), tmp_path / "out"
    out.mkdir()
    (out / "conc_Glc.nii.gz").write_text("an older result")
    (out / "mine.txt").write_text("not ours")
    code, _, notes = precise("quantify", dmi, "--estimator", "fit", "--lam", "0.1", "--out", out, "--overwrite")
    assert code == 0
    counts = json.loads((out / "summary.json").read_text())["counts"]
    assert {k: counts[k] for k in ("voxels", "not_finite", "zero", "estimated")} == {
        "voxels": 4,
        "not_finite": 2,
        "zero": 1,
        "estimated": 1,
    }
    glc = nifti.read_map(out / "conc_Glc.nii.gz")[0][..., 0]
    np.testing.assert_array_equal(np.isnan(glc), [[True, True], [True, False]])
    assert glc[1, 1] == pytest.approx(3.0, rel=1e-3)
    assert "not finite" in notes
    assert "zero at every" in notes
    assert "does not use lambda" in notes
    assert (out / "mine.txt").read_text() == "not ours"
    assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_train_reads_its_configuration(precise, refused, tmp_path, monkeypatch):
    pytest.importorskip("precise_lib.estimate.training")
    from precise_lib.estimate import training
    from precise_lib.estimate.train_config import TrainConfig
    from precise_lib.evaluate import accuracy

    seen = []
    monkeypatch.setattr(training, "train", lambda *a, **k: seen.append((a, k)) or "w.safetensors")
    monkeypatch.setattr(accuracy, "certify", lambda weights: None)
    config = tmp_path / "config.yaml"
    config.write_text("iterations: 3\n")
    assert precise("train", "--config", config, "--out", tmp_path / "w")[0] == 0
    assert precise("train", "--out", tmp_path / "w")[0] == 0
    assert [a[0].iterations for a, _ in seen] == [3, TrainConfig().iterations]
    config.write_text("iterationz: 3\n")
    assert "iterationz" in refused("train", "--config", config, "--out", tmp_path / "w")
    for text in ("a: [1", "- 1\n- 2\n", "\0"):
        config.write_text(text)
        assert str(config) in refused("train", "--config", config, "--out", tmp_path / "w")
    assert "nowhere.yaml" in refused("train", "--config", tmp_path / "nowhere.yaml", "--out", tmp_path / "w")
    assert "cannot be written" in refused("train", "--out", config / "below")
    assert len(seen) == 2


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize("arguments", [("--bogus",), ("quantify",), ("simulate", "squares"), ("train", "--lam", "1")])
def test_usage_errors_leave_with_two(precise, arguments):
    code, out, err = precise(*arguments)
    assert code == 2
    assert out == ""
    assert "Traceback" not in err


def test_bad_options(refused, rings, tmp_path):
    dmi = rings / "dmi.nii.gz"
    out = ("--out", tmp_path / "out")
    fit = ("--estimator", "fit")
    assert "fourier, fit, sve, precise" in refused("quantify", dmi, *out, "--estimator", "magic")
    assert "lambda" in refused("quantify", dmi, *out, *fit, "--lam", "-1")
    assert "auto" in refused("quantify", dmi, *out, *fit, "--lam", "much")
    assert "'fit'" in refused("quantify", dmi, *out, *fit, "--lam", "auto")
    assert "'sve'" in refused("quantify", dmi, *out, "--lam", "auto")
    assert "bootstrap" in refused("quantify", dmi, *out, *fit, "--errors", "bootstrap")
    assert "closed form" in refused("quantify", dmi, *out, "--estimator", "fourier", "--errors", "closed")
    assert "at least 2" in refused("quantify", dmi, *out, *fit, "--errors", "montecarlo", "--repeats", "1")
    assert "lambda" in refused("quantify", dmi, *out, "--mri", rings / "mri.nii.gz", "--lam", "nan")
    assert "needs an MRI" in refused("quantify", dmi, *out, "--estimator", "precise")
    assert "no_such_weights" in refused("quantify", dmi, *out, "--estimator", "sve", "--model", "no_such_weights")
    assert "no_such" in refused("quantify", dmi, *out, *fit, "--model", tmp_path / "no_such.safetensors")
    assert "SNR" in refused("simulate", "rings", *out, "--snr", "-3")
    assert "SNR" in refused("simulate", "rings", *out, "--snr", "nan")
    assert "tumor" in refused("simulate", "rings", *out, "--tumor-size", "40")
    (tmp_path / "file").write_text("")
    for command in (("simulate", "rings"), ("quantify", dmi, *fit)):
        assert "cannot be written" in refused(*command, "--out", tmp_path / "file" / "below")
        assert "not a folder" in refused(*command, "--out", tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("resonances: [", "not readable"),
        ("- 1", "mapping"),
        ("carrier_ppm: 4.7", "resonances"),
        ("resonances: [{name: water, ppm: 4.7}]", "t2star_s"),
        ("resonances: [{name: Glc, ppm: 4.7, t2star_s: 0.02}]", "reference"),
        ("resonances: [{name: water, ppm: high, t2star_s: 0.02}]", "cannot be used"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: -1}]", "positive"),
        ("resonances: 7", "cannot be used"),
        ("resonances: [{name: water, ppm: .nan, t2star_s: 0.02}]", "cannot be used"),
        (json.dumps(default_2h_model(Acquisition(64, 1e-3, 76.7)).to_dict()), "number of samples 512 against 64"),
    ],
)
def test_bad_signal_models(refused, rings, tmp_path, content, said):
    model = tmp_path / "model.yaml"
    model.write_text(content)
    command = ("quantify", rings / "dmi.nii.gz", "--out", tmp_path / "out", "--model", model)
    assert said in refused(*command, "--estimator", "fit")
    assert "precise train" in refused(*command, "--estimator", "sve")
    assert "nowhere" in refused(*command[:-1], tmp_path / "nowhere.json", "--estimator", "fit")


def test_bad_data(refused, rings, tmp_path):
    out = ("--out", tmp_path / "out", "--estimator", "fit")
    assert "no file" in refused("quantify", tmp_path / "nowhere.nii.gz", *out)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes((rings / "dmi.nii.gz").read_bytes()[:5000])
    assert "cut off" in refused("quantify", cut, *out)
    plain = tmp_path / "plain.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((2, 2, 1, 512), np.complex64), np.eye(4)), plain)
    assert "header extension" in refused("quantify", plain, *out)
    proton = Acquisition(512, 1 / 2500, 500.0, "1H")
    model = dmi_11t7()
    other = write(tmp_path / "1h.nii.gz", None, type(model)(proton, model.resonances))
    assert "1H" in refused("quantify", other, *out)
    assert "1H" in refused("quantify", other, "--out", tmp_path / "out")
    for value in (np.nan, 0):
        empty = write(tmp_path / "empty.nii.gz", np.full((2, 2, 1, 512), value, np.complex64))
        assert "No voxel" in refused("quantify", empty, *out)
        empty.unlink()
    unknown = write(tmp_path / "unknown.nii.gz", model=default_2h_model(Acquisition(333, 1e-3, 30.0)))
    said = refused("quantify", unknown, "--out", tmp_path / "out", "--estimator", "sve")
    assert "precise train" in said
    assert "fit" in said


def test_bad_mri_and_mask(refused, rings, tmp_path):
    base = ("quantify", rings / "dmi.nii.gz", "--out", tmp_path / "out", "--estimator", "fit")
    elsewhere = np.eye(4)
    elsewhere[:3, 3] = 1000
    nifti.write_image(tmp_path / "far.nii.gz", np.ones((4, 4, 4)), elsewhere)
    assert "does not overlap" in refused(*base, "--mri", tmp_path / "far.nii.gz")
    assert "does not overlap" in refused(*base, "--mask", tmp_path / "far.nii.gz")
    nifti.write_image(tmp_path / "none.nii.gz", np.zeros((32, 32, 1)), nib.load(rings / "dmi.nii.gz").affine)
    assert "empty" in refused(*base, "--mask", tmp_path / "none.nii.gz")
    (tmp_path / "cut.nii.gz").write_bytes((rings / "mri.nii.gz").read_bytes()[:200])
    assert "not readable" in refused(*base, "--mri", tmp_path / "cut.nii.gz")


@needs_weights
def test_an_mri_that_covers_too_little(refused, rings, tmp_path):
    affine = nib.load(rings / "mri.nii.gz").affine
    nifti.write_image(tmp_path / "half.nii.gz", np.ones((80, 160, 1)), affine)
    said = refused(
        "quantify",
        rings / "dmi.nii.gz",
        *("--mask", rings / "mask.nii.gz", "--mri", tmp_path / "half.nii.gz", "--out", tmp_path / "out"),
    )
    assert "does not cover" in said


def test_the_installed_command_says_it_in_one_line(tmp_path):
    """The same through a process of its own, as a user sees it."""
    command = [PRECISE, "quantify", "nowhere.nii.gz", "--out", "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "precise: There is no file nowhere.nii.gz: check the name of the MRSI (NIfTI-MRS).\n"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "dmi.nii.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    done = subprocess.run([*command[:2], "dmi.nii.gz", *command[3:]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["dmi.nii.gz"]


@needs_weights
def test_cap_of_the_edge_weights_reaches_maps_and_errors(rings, precise, tmp_path):
    """A higher cap couples equal gray levels more: what the registered estimator gives with it, and a smaller SD."""
    images = [part for name in ("mri", "mask") for part in (f"--{name}", rings / f"{name}.nii.gz")]
    for out, more in (("low", ("--omega-max", "5.5")), ("high", ("--omega-max", "100"))):
        assert precise("quantify", rings / "dmi.nii.gz", *images, *more, "--out", tmp_path / out)[0] == 0
    summary = json.loads((tmp_path / "high" / "summary.json").read_text())
    assert summary["settings"]["omega_max"] == 100
    data = nifti_mrs.read_mrsi(rings / "dmi.nii.gz", rings / "mri.nii.gz", rings / "mask.nii.gz")
    expected = estimate.make("precise", omega_max=100.0)(data).sel(metabolite="Lac").values
    low, high = (nib.load(tmp_path / out / "conc_Lac.nii.gz").get_fdata() for out in ("low", "high"))
    np.testing.assert_allclose(high, expected, rtol=1e-4)
    assert not np.allclose(low, high, equal_nan=True)
    low, high = (np.nanmedian(nib.load(tmp_path / o / "sd_Lac.nii.gz").get_fdata()) for o in ("low", "high"))
    assert high < 0.6 * low


def test_report_takes_the_options_of_quantify(rings, tmp_path, monkeypatch, capsys):
    """One definition; what another run left in the folder is refused in the same words, and kept."""
    quantify, report = (inspect.signature(f).parameters for f in (commands.quantify, commands.report))
    assert list(quantify) == list(report)
    assert {name: p.annotation for name, p in quantify.items() if name not in ("dmi", "out")} == {
        name: p.annotation for name, p in report.items() if name not in ("dmi", "out")
    }
    handed = {}
    monkeypatch.setattr(page.notebooks, "execute", lambda n, o, parameters, a: handed.update(parameters))
    monkeypatch.setattr(page, "page", lambda *_: "")
    given = ["--dead-time", "auto", "--average", "--t1", "Glc=0.06", "--mask", "none", "--set", "tau=2"]
    monkeypatch.setattr(
        sys, "argv", ["precise", "report", *map(str, [rings / "dmi.nii.gz", "--out", tmp_path, *given])]
    )
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert leaving.value.code == 0
    assert handed["mask"] == "none"
    said = handed["options"]
    assert (said["dead_time_s"], said["average"], said["t1"], said["own"]) == ("auto", True, "Glc=0.06", {"tau": 2.0})
    (tmp_path / "conc_Glc.nii.gz").touch()
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert leaving.value.code == 2
    assert "holds the maps of an earlier run" in capsys.readouterr().err
    assert (tmp_path / "conc_Glc.nii.gz").exists()
