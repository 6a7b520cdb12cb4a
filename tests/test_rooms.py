"""The rooms of the package: their layers, checked also on wrong imports, and the map that the README has of them."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import precise_lib
from tests.helpers import ROOT

LINTER = Path(sys.executable).with_name("lint-imports")
ROOMS = {path.name for path in (ROOT / "precise_lib").iterdir() if (path / "__init__.py").is_file()}
WRONG = {
    "above": ("signal/model.py", "from precise_lib.estimate import fit"),
    "above, inside a function": ("estimate/fit.py", "def f():\n    from precise_lib.evaluate import crlb"),
    "beside": ("simulate/rat.py", "import precise_lib.estimate.fit"),
    "own data from the second paper": ("proton/fit.py", "from precise_lib.quantify import flags"),
    "a study in the tool": ("quantify/flags.py", "from precise_lib.studies import widths"),
    "drawing in the core": ("evaluate/crlb.py", "import matplotlib.pyplot"),
    "a command line in the core": ("signal/model.py", "import typer"),
}


def linted(folder):
    """Exit code and text of the linter on the package in `folder`."""
    shutil.copy(ROOT / "pyproject.toml", folder)
    done = subprocess.run([LINTER, "--no-cache"], cwd=folder, capture_output=True, text=True, env={"PYTHONPATH": "."})
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def package(tmp_path):
    shutil.copytree(ROOT / "precise_lib", tmp_path / "precise_lib", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_every_room_uses_what_stands_below_it(package):
    code, said = linted(package)
    assert code == 0, said
    assert "2 kept, 0 broken" in said


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_import_is_found(package, case):
    file, statement = WRONG[case]
    with open(package / "precise_lib" / file, "a", encoding="utf-8") as module:
        module.write(f"\n\n{statement}\n")
    code, said = linted(package)
    assert code == 1, said
    assert "1 broken" in said
    assert f"precise_lib.{file[:-3].replace('/', '.')}" in said


def test_the_readme_has_the_map():
    """Every room on one line, with its modules that are there; and no other."""
    lines = re.search(r"```text\n(cli/.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL).group(1)
    named = re.findall(r"(?:^|\| )([a-z]+)/", lines, re.MULTILINE)
    assert sorted(named) == sorted(ROOMS)
    assert "errors.py" in lines
    contracts = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = re.search(r"layers = \[(.*?)\]", contracts, re.DOTALL).group(1)
    assert re.findall(r"precise_lib\.([a-z]+)", layers) == [*named, "errors"]


def test_only_the_face_and_the_errors_have_no_room():
    assert {path.name for path in (ROOT / "precise_lib").glob("*.py")} == {"__init__.py", "errors.py"}


def test_tests_are_in_the_rooms_of_what_they_test():
    others = {"book", "kills", "notebooks", "reference", "vendor"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - others <= ROOMS


def test_the_face_is_named_and_costs_nothing():
    heavy = "torch numpy scipy xarray matplotlib nibabel typer"
    code = f"import sys, precise_lib; dir(precise_lib); print([m for m in {heavy.split()} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    for name in precise_lib.__all__:
        assert getattr(precise_lib, name) is not None
    assert precise_lib.SignalModel.__module__ == "precise_lib.signal.model"
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = precise_lib.nothing
