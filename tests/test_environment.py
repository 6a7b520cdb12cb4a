"""The places that state versions and requirements agree, and the tree holds nothing that ties it to one machine."""

import hashlib
import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import precise_lib
from precise_lib.io.shipped import data_path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RANGES = [
    Requirement(text)
    # "amares" is meant for an environment of its own: it cannot be locked together with the rest
    for name, group in {"": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}.items()
    for text in group
    if name != "amares" and canonicalize_name(Requirement(text).name) != PROJECT["name"]
]


def locked(file="requirements.lock") -> dict[str, Requirement]:
    """The lock as {name: requirement}; every entry of it must pin one version, with the hashes of its files."""
    pins, text = {}, re.sub(r" \\\n *", " ", (ROOT / file).read_text(encoding="utf-8"))
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(re.fullmatch(r"([^#]*?)( --hash=sha256:[0-9a-f]{64})+", line)[1])
            assert re.fullmatch(r"==[\w.!]+", str(pin.specifier))
            assert canonicalize_name(pin.name) not in pins, f"{pin.name} is locked twice"
            pins[canonicalize_name(pin.name)] = pin
    return pins


def pinned(pins: dict[str, Requirement]) -> dict[str, str]:
    """{name: version} of what this platform and Python take."""
    here = {name: pin for name, pin in pins.items() if pin.marker is None or pin.marker.evaluate()}
    return {name: str(pin.specifier).removeprefix("==") for name, pin in here.items()}


@pytest.mark.parametrize("requirement", RANGES, ids=str)
def test_lock_lies_within_the_ranges(requirement):
    assert pinned(locked())[canonicalize_name(requirement.name)] in requirement.specifier


def test_this_environment_is_the_locked_one():
    """The local label of a torch build (such as +cpu) does not count: CPU and GPU builds both satisfy the lock."""
    wanted = pinned(locked())
    assert {name: version(name).partition("+")[0] for name in wanted} == wanted


def test_a_torch_for_gpus_and_one_without_have_all_they_need():
    """Torch says what it needs; a build for GPUs names libraries on Linux, which are in the second lock alone."""
    pins, cuda = locked(), locked("requirements-cuda.lock")
    assert not pins.keys() & cuda.keys()
    assert {pin.marker.evaluate({"sys_platform": "darwin"}) for pin in cuda.values()} == {False}
    needed = {canonicalize_name(Requirement(text).name) for text in requires("torch") if "extra" not in text}
    assert needed <= pins.keys() | cuda.keys()


def test_packages_do_not_contradict_each_other():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_conda_users_get_the_same():
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    assert [entry for entry in entries if isinstance(entry, dict)] == [
        {"pip": ["-r requirements.lock", "-r requirements-cuda.lock"]}
    ]
    python = next(entry for entry in entries if str(entry).startswith("python="))
    assert f"{python.removeprefix('python=')}.0" in Requirement(f"python{PROJECT['requires-python']}").specifier


def test_one_version_everywhere():
    assert "version" in PROJECT["dynamic"]
    assert version("precise-lib") == precise_lib.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == precise_lib.__version__
    assert f"## {precise_lib.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def tracked() -> list[Path]:
    """Every file under version control, but for what others made."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_no_package_source_is_written_down():
    # joined here, so that this file does not name one
    hosts = [".".join(parts) for parts in [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org")]]
    hosts += [".".join(parts) for parts in [("npmjs", "com"), ("anaconda", "org"), ("download", "pytorch", "org")]]
    for path in tracked():
        if "vendor" not in path.parts:
            content = path.read_bytes()
            assert not [host for host in hosts if host.encode() in content], path


def test_no_file_is_large():
    assert not [path for path in tracked() if path.stat().st_size > 5 * 2**20]


@pytest.mark.parametrize(
    ("folder", "own"),
    [
        ("book/_static/vendor", {"README.md", "refresh.py", "requirejs/LICENSE", "widgets/LICENSE"}),
        ("tests/vendor", {"README.md"}),
    ],
)
def test_vendored_files_are_the_published_ones(folder, own):
    folder = ROOT / folder
    rows = re.findall(r"^\| `([^`]+)` .*`(\w{64})` \|$", (folder / "README.md").read_text(), re.MULTILINE)
    assert rows
    for name, digest in rows:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name
    unlisted = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - dict(rows).keys()
    assert unlisted == own


def test_shipped_files_are_found_and_nothing_else():
    assert data_path("claims.yaml").is_file()
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml is not among the data"):
        data_path("nothing.yaml")
    with pytest.raises(FileNotFoundError):
        data_path("..", "pyproject.toml")
