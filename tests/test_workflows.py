"""What runs on other machines, checked as far as this one can: workflows, Dependabot, templates, the container."""

import json
import re
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.helpers import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = {path.name: path for path in sorted((GITHUB / "workflows").glob("*.yml"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUPPORTED = [f"3.{minor}" for minor in range(6, 30) if f"3.{minor}.0" in SpecifierSet(PROJECT["requires-python"])]


def load(name: str) -> dict:
    return yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))


def jobs() -> list[tuple[str, str, dict]]:
    return [(name, key, job) for name in WORKFLOWS for key, job in load(name)["jobs"].items()]


def steps() -> list[dict]:
    return [step for _, _, job in jobs() for step in job["steps"]]


def pythons(job: dict) -> list[str]:
    """Versions of Python that a job sets up, those of its matrix filled in."""
    said = [s["with"]["python-version"] for s in job["steps"] if "setup-python" in s.get("uses", "")]
    matrix = job.get("strategy", {}).get("matrix", {})
    return [v for text in said for v in (matrix["python"] if text == "${{ matrix.python }}" else [text])]


def test_every_step_runs_what_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert targets <= set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())
    runs = [step["run"] for step in steps() if "run" in step]
    assert len(runs) >= 5
    for command in [*runs, *re.findall(r"^make .*$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)]:
        program, *words = command.split()
        if program == "make":
            assert {w for w in words if "=" not in w} <= targets, command
        else:
            assert program == "bash", command
            assert (ROOT / words[0]).is_file(), command


def test_oldest_and_newest_python_are_tested():
    named = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert named == SUPPORTED
    of = {name: {v for n, _, job in jobs() if n == name for v in pythons(job)} for name in WORKFLOWS}
    assert all(isinstance(v, str) for versions in of.values() for v in versions), "3.10 is not 3.1"
    assert {SUPPORTED[0], SUPPORTED[-1]} <= of["book.yml"]  # with the lock
    assert set(pythons(load("weekly.yml")["jobs"]["newest"])) == set(SUPPORTED)
    assert set().union(*of.values()) <= set(SUPPORTED)


def test_a_schedule_and_what_it_runs_apart():
    assert load("weekly.yml")[True]["schedule"]  # YAML reads the key "on" as true
    assert "schedule" not in load("book.yml")[True]
    apart = {"newest", "linkcheck", "fuzz"}
    for name, wanted in (("weekly.yml", apart), ("book.yml", set())):
        words = {w for job in load(name)["jobs"].values() for s in job["steps"] for w in s.get("run", "").split()}
        assert words & apart == wanted


def test_rights_are_the_least_and_time_is_bounded():
    for name, key, job in jobs():
        content = load(name)
        assert content["permissions"] == {"contents": "read"}
        assert 0 < job["timeout-minutes"] <= 60
        if key == "publish":
            assert job["permissions"] == {"pages": "write", "id-token": "write"}
            assert job["if"] == "github.ref == 'refs/heads/main'"
            assert set(job["needs"]) == set(content["jobs"]) - {"publish"}, "published before all checks have passed"
        else:
            assert "permissions" not in job
    for path in WORKFLOWS.values():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\bsecrets\b *[.\[]|pull_request_target|workflow_run", text)
        # a title or branch of a pull request in a command would be run by the shell
        assert "${{" not in "".join(s.get("run", "") for job in load(path.name)["jobs"].values() for s in job["steps"])


def test_actions_are_pinned():
    used = [step["uses"] for step in steps() if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action), action
    for step in steps():
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] is False


def test_dependabot_looks_after_packages_and_actions():
    updates = yaml.safe_load((GITHUB / "dependabot.yml").read_text(encoding="utf-8"))
    assert updates["version"] == 2
    kinds = {update["package-ecosystem"]: update for update in updates["updates"]}
    assert kinds.keys() >= {"pip", "github-actions"}
    for kind in ("pip", "github-actions"):
        assert kinds[kind]["schedule"] == {"interval": "weekly"}
        assert kinds[kind]["groups"]


@pytest.mark.parametrize("path", sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem)
def test_issue_forms(path):
    """The fields that the forms of GitHub ask for, and nothing that they do not know."""
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert form.keys() >= {"name", "description", "body"}
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    assert len({item["id"] for item in fields}) == len(fields) > 1
    for item in form["body"]:
        assert item["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert "label" in item["attributes"] or (item["type"] == "markdown" and item["attributes"]["value"])
    assert any(item.get("validations", {}).get("required") for item in fields)


# ---------------------------------------------------------------- the container


def instructions() -> list[tuple[str, str]]:
    """Instructions of the Dockerfile, continued lines joined."""
    lines = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8")).splitlines()
    return [tuple(line.split(" ", 1)) for line in lines if line and not line.startswith("#")]


def test_the_container_is_made_from_the_lock():
    """Binder builds a Dockerfile at the root, unless a folder `binder` says otherwise: one list of versions for all."""
    assert not (ROOT / "binder").exists()
    assert not (ROOT / ".binder").exists()
    base = next(value for name, value in instructions() if name == "FROM")
    assert re.fullmatch(r"python:(3\.\d+)-slim", base)[1] in SUPPORTED
    text = "\n".join(value for name, value in instructions() if name == "RUN")
    installs = re.findall(r"pip install ([^&;\n]*)", text)
    packages = [[w for w in words.split() if not w.startswith("--")] for words in installs]
    assert packages == [["-r", "requirements.lock"], ["-r", "requirements-cuda.lock"], ["."]]
    assert all("--no-deps" in words for words in installs)
    assert all("--require-hashes" in words for words in installs[:2])
    assert "conda" not in text
    assert "apt" not in text


def test_the_container_runs_without_rights_on_the_port_it_names():
    names = [name for name, _ in instructions()]
    (user,) = [value for name, value in instructions() if name == "USER"]
    assert user == "${NB_USER}"  # that is how Binder names it
    assert names.index("USER") < names.index("CMD")
    port = next(value for name, value in instructions() if name == "EXPOSE")
    command = json.loads(next(value for name, value in instructions() if name == "CMD"))
    assert command[:2] == ["jupyter", "lab"]
    assert f"--port={port}" in command
    assert "--allow-root" not in command
    assert "token" not in " ".join(command), "nobody may use it without the token that it prints"
    assert (ROOT / command[-1]).is_dir()


def test_what_is_built_stays_out_of_the_container():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv*", "_build"} <= set(ignored)
