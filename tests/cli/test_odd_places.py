"""Names, homes and disks as they come: a command works, or says in one sentence why not, and leaves nothing."""

import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest

from precise_lib.estimate import catalog, training
from precise_lib.io import nifti_mrs
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import minute_config

ODD = [
    b"a b",
    b"a'b",
    b'a"b',
    b"a\nb",
    b"-rf",
    b"a=b",
    b"\xff\xfe",
    b"a\x1b[31mb",
    b"$HOME",
    b"{x}",
    b"*",
    "測定 ü".encode(),
]
resource = pytest.importorskip("resource")


@pytest.fixture
def dmi(tmp_path):
    rng = np.random.default_rng(0)
    fids = dmi_11t7().fids([1.0, 0.3, 0.6, 0.1]) + rng.normal(0, 0.02, (2, 2, 1, 512))
    path = tmp_path / "in" / "dmi.nii.gz"
    nifti_mrs.write_mrsi(path, MRSI(fids, dmi_11t7(), np.diag([5.0, 5, 5, 1])))
    return path


def check(code, said, err, out):
    """Whole at 0; one sentence and nothing at 2."""
    assert "\x1b" not in said + err
    if code == 0:
        assert json.loads((out / "summary.json").read_text())["files"]
    else:
        assert code == 2, err
        assert re.fullmatch(r"precise: [^\n]+\.\n", err), err
        assert not out.exists()
    return code


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_odd_names(precise, dmi, tmp_path, monkeypatch, name):
    """Of the data, of the folder, and given from the folder itself, where a name may begin with a dash."""
    odd = tmp_path / os.fsdecode(name)
    odd.mkdir()
    file = odd / f"{os.fsdecode(name)}.nii.gz"
    shutil.copy(dmi, file)
    options = ("--estimator", "fit", "--errors", "none")
    taken = 0 if name.isascii() or name.decode("utf-8", "ignore") else 2  # netCDF takes no other
    assert check(*precise("quantify", file, "--out", odd / "out", *options), odd / "out") == taken
    monkeypatch.chdir(odd)
    assert check(*precise("quantify", *options, "--out=o", "--", file.name), odd / "o") == taken
    code, said, err = precise("quantify", f"{file}.no", "--out", odd / "no", *options)
    assert check(code, said, err, odd / "no") == 2


@pytest.mark.parametrize("home", ["none", "read-only", "a file"])
def test_homes(precise, dmi, tmp_path, monkeypatch, home):
    """Data are quantified without one; a network of one's own needs a place, which is said before the training."""
    monkeypatch.delenv("PRECISE_MODELS")
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home == "none":
        monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError("no such user")))
    else:
        (tmp_path / "home").touch() if home == "a file" else (tmp_path / "home").mkdir()
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert check(*precise("quantify", dmi, "--out", out, "--estimator", "fit", "--errors", "none"), out) == 0
    assert precise("models")[0] == 0
    if home == "read-only":  # root may write everywhere: the system says so in its stead

        def mkdtemp(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    if home != "none":
        code, said, err = precise("train", "--like", dmi, "--t2star", 0.02, "--iterations", 1)
        assert (code, said, err.count("\n")) == (2, "", 1), err
        assert "PRECISE_MODELS" in err


@pytest.fixture
def full_disk():
    """A largest size of every file (bytes), as on a disk with so much left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 1000, 3000, 10_000])
def test_full_disk_for_maps(precise, dmi, tmp_path, full_disk, size):
    full_disk(size)
    code, said, err = precise("quantify", dmi, "--out", tmp_path / "out", "--estimator", "fit")
    full_disk(resource.RLIM_INFINITY)
    assert check(code, said, err, tmp_path / "out") == 2
    assert sorted(os.listdir(tmp_path)) == ["in"]


@pytest.mark.parametrize("size", [0, 1000, 5000])
def test_full_disk_for_weights_and_phantoms(precise, tmp_path, full_disk, size):
    """What was trained before the disk was full is kept."""
    (tmp_path / "s.json").write_text(json.dumps(minute_config().to_dict()))
    train = ("train", "--config", tmp_path / "s.json", "--out", tmp_path / "w")
    for command in (train, ("simulate", "rings", "--out", tmp_path / "r")):
        full_disk(size)
        code, said, err = precise(*command)
        full_disk(resource.RLIM_INFINITY)
        assert (code, said) == (2, ""), err
        assert err.splitlines()[-1].startswith("precise: ")
        assert "Traceback" not in err
    assert not (tmp_path / "r").exists()
    assert list((tmp_path / "w").rglob("*")) == []


# ---------------------------------------------------------------- cards of others


def card_with(folder, **changes):
    """The shipped network under another card."""
    shipped = catalog.find("dmi_11t7").path
    folder.mkdir(exist_ok=True)
    weights = folder / f"odd{len(list(folder.iterdir()))}.safetensors"
    shutil.copy(shipped, weights)
    card = json.loads(shipped.with_suffix(".json").read_text()) | {"name": weights.stem} | changes
    weights.with_suffix(".json").write_text(json.dumps(card))
    return weights


ODD_CARDS = [
    {"accuracy": 3},
    {"accuracy": {"snr": [12.0], "sd_over_crlb": {"water": ["x"]}}},
    {"accuracy": {"snr": [12.0], "sd_over_crlb": 7}},
    {"accuracy": {"snr": 12.0, "sd_over_crlb": {}}},
    {"default": "yes"},
    {"name": {"a": 1}},
    {"name": "\x1b[31mred\x1b]0;title\x07"},
    {"loss_history": 3, "epochs": "many"},
    {"stored": 7},
    {"sha256": None},
]


def test_one_odd_card_breaks_nothing(precise, tmp_path, monkeypatch):
    monkeypatch.setenv("PRECISE_MODELS", str(tmp_path / "models"))
    for changes in ODD_CARDS:
        card_with(tmp_path / "models", **changes)
    code, said, err = precise("models")
    assert (code, err) == (0, "")
    assert "\x1b" not in said
    assert "dmi_11t7 " in said


@pytest.mark.parametrize("value", [-1.0, 0.0, float("nan"), float("inf"), "x"])
def test_reference_concentrations_of_a_card(precise, dmi, tmp_path, value):
    config = json.loads(catalog.find("dmi_11t7").path.with_suffix(".json").read_text())["config"]
    config["signal_model"]["reference_concentration_mm"] = value
    weights = card_with(tmp_path / "w", config=config)
    code, said, err = precise("quantify", dmi, "--out", tmp_path / "out", "--model", weights)
    assert check(code, said, err, tmp_path / "out") == 2


UNTRAINABLE = [
    {"network": {"rank": 600}},
    {"network": {"aligned_rank": 513}},
    {"network": {"bank": 10**9}},
    {"network": {"hidden": 10**7}},
    {"network": {"front": "fid", "channels": [8] * 12}},
    {"batch_size": 10**9},
    {"batch_size": True},
    {"seed": 2**70},
    {"learning_rate": "1e-3x"},
    {"learning_rate": float("inf")},
    {"snr_range": "5-20"},
    {"snr_range": [5, None]},
    {"amplitude_range": {"water": 1}},
    {"amplitude_range": [0, 1]},
    {"shift_range_hz": [-1e12, 1e12]},
    {"broadening_range_hz": [-1e6, 0]},
    {"network": 3},
    {"recipe": ["paper"]},
]


@pytest.mark.parametrize("settings", UNTRAINABLE, ids=str)
def test_settings_that_cannot_be_trained(precise, tmp_path, monkeypatch, settings):
    """Refused before the first iteration."""
    monkeypatch.setattr(training.Trainer, "step", lambda _: 1 / 0)
    (tmp_path / "s.yaml").write_text(json.dumps(settings))
    code, said, err = precise("train", "--config", tmp_path / "s.yaml", "--out", tmp_path / "w")
    assert (code, said, err.count("\n")) == (2, "", 1), err
    assert not re.search("Traceback|argument|not supported|could not", err)


def test_weights_that_are_not_finite(precise, dmi, tmp_path):
    from safetensors.numpy import load_file, save_file

    weights = card_with(tmp_path / "w")
    tensors = load_file(weights)
    for name in tensors:
        spoiled = {k: v.copy() for k, v in tensors.items()}
        spoiled[name].flat[0] = np.nan if len(name) % 2 else np.inf
        save_file(spoiled, weights)
        card = json.loads(weights.with_suffix(".json").read_text())
        card["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        weights.with_suffix(".json").write_text(json.dumps(card))
        code, said, err = precise("quantify", dmi, "--out", tmp_path / "out", "--model", weights)
        assert check(code, said, err, tmp_path / "out") == 2
        assert "not finite" in err


def test_largest_lambda(precise, dmi, tmp_path):
    code, said, err = precise("quantify", dmi, "--out", tmp_path / "out", "--estimator", "fit", "--lam", "1e308")
    assert check(code, said, err, tmp_path / "out") == 2
