"""The package as others get it: one wheel with weights, cards and spin systems, at work far from the checkout."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from email.parser import Parser

import nibabel as nib
import numpy as np
import pytest

from tests.helpers import ROOT

# Nothing of the checkout may help: the isolated mode ignores PYTHON*, the folder of the script and that of the user.
WORK = """
import json, sys
target, commands = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, target)
import precise_lib
from precise_lib import cli
from precise_lib.estimate import catalog as models
from precise_lib.evaluate.claims import load_claims
from precise_lib.studies.results import read_results
from precise_lib.io.shipped import data_path, notebook_path
from precise_lib.proton.spins import load_systems
from precise_lib.proton.weights import Denoiser
used = [precise_lib.__file__, data_path(), data_path("spin_systems.yaml"), notebook_path("your_data.ipynb")]
used += [entry.path for entry in models.shipped()]
assert not [entry.problem for entry in models.available() if entry.problem]
denoisers = [Denoiser.load(name).name for name in Denoiser.shipped()]
about = {"used": [str(path) for path in used], "denoisers": denoisers, "claims": len(load_claims())}
about |= {"results": len(read_results()), "spins": len(load_systems())}
for command in commands:
    sys.argv = ["precise", *command]
    try:
        cli.app_main()
    except SystemExit as leaving:
        assert not leaving.code, (command, leaving.code)
print(json.dumps(about))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from this checkout by the build backend of the lock."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run([*command, "--wheel-dir", folder, ROOT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def tracked_data() -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "data"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_everything_that_quantify_needs_is_inside(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        # a training that is under way here leaves checkpoints among the weights; they are in no commit
        size = sum(item.compress_size for item in archive.infolist() if "checkpoint" not in item.filename)
        assert {f"precise_lib/_{name}" for name in tracked_data()} <= names
        weights = [name for name in names if name.endswith(".safetensors") and "checkpoint" not in name]
        assert {name.split("/")[3] for name in weights} >= {"dmi_11t7.safetensors", "denoise", "studies"}
        for name in weights:
            card = json.loads(archive.read(name.replace(".safetensors", ".json")))
            assert card["sha256"] == hashlib.sha256(archive.read(name)).hexdigest(), name
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        about = Parser().parsestr(archive.read(metadata).decode())
        entries = archive.read(metadata.replace("METADATA", "entry_points.txt")).decode()
    assert about["Requires-Python"] == "<3.14,>=3.11"
    assert "precise = precise_lib.cli:app_main" in entries
    tops = {name.split("/")[0] for name in names}
    assert len(tops) == 2, tops  # the package and what describes it: no tests, no book
    assert "precise_lib" in tops
    assert size < 46 * 2**20  # mostly networks, those of the studies and three trainings of the CNN too


@pytest.fixture(scope="module")
def at_work(wheel, tmp_path_factory):
    """The wheel installed alone in a folder, and its commands run in another; names with blanks and umlauts."""
    home = tmp_path_factory.mktemp("Maß & Ü 測定")
    target, folder = home / "site packages", home / "my data"
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
    subprocess.run([*command, "--target", target, wheel], check=True, capture_output=True)
    scan = "phantom ä b"
    commands = [
        ["simulate", "rings", "--snr", "12", "--out", scan],
        ["quantify", f"{scan}/dmi.nii.gz", "--out", "maps é/1"]
        + [word for name in ("mri", "mask") for word in (f"--{name}", f"{scan}/{name}.nii.gz")],
        ["models"],
    ]
    run = [sys.executable, "-I", "-c", WORK, str(target), json.dumps(commands)]
    done = subprocess.run(run, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return target, folder, json.loads(done.stdout.splitlines()[-1])


def test_nothing_comes_from_the_checkout(at_work):
    target, _, about = at_work
    assert not [path for path in about["used"] if not path.startswith(str(target))]
    assert about["denoisers"]
    assert about["claims"] > 20
    assert about["results"] > 20
    assert about["spins"] >= 16


def test_quantify_from_the_wheel(at_work):
    """The maps are those of the phantom, from a folder whose name holds blanks and letters beyond ASCII."""
    _, folder, _ = at_work
    out = folder / "maps é" / "1"
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["settings"]["estimator"] == "adaptive"
    assert summary["weights"]["name"] == "dmi_11t7"
    inside = nib.load(folder / "phantom ä b" / "mask.nii.gz").get_fdata() > 0
    for name in ("Glc", "Glx"):
        truth = nib.load(folder / "phantom ä b" / f"truth_{name}.nii.gz").get_fdata()[inside]
        found = nib.load(out / f"conc_{name}.nii.gz").get_fdata()[inside]
        assert np.corrcoef(truth, found)[0, 1] > 0.8
        assert abs(np.median(found - truth)) < 0.2 * np.median(truth)


def test_one_version(wheel):
    from precise_lib import __version__

    assert re.fullmatch(rf"precise_lib-{re.escape(__version__)}-py3-none-any\.whl", wheel.name)
