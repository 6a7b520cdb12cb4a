"""The builder itself, on throwaway notebooks."""

import json

import build
import keys
import nbformat
import pytest


def write(folder, name, *sources):
    """A notebook whose first cell is tagged `parameters`; its path."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture
def steady(monkeypatch):
    """Whatever somebody edits in the checkout while the tests run, the builder sees it as it was."""
    package = keys.package_files(build.ROOT)
    monkeypatch.setattr(keys, "package_files", lambda root: package)
    monkeypatch.setattr(keys, "always", lambda root: [build.ROOT / "requirements.lock"])
    return package


def smoke(folder, text):
    (folder / "parameters").mkdir()
    (folder / "parameters" / "smoke.yaml").write_text(text)


RECORD = """
import os, pathlib
pathlib.Path(os.environ["PRECISE_RECORDS"], "x.json").write_text(f'{{"value": {number}}}')
print(os.environ["PRECISE_NOTEBOOK"], os.environ["PRECISE_SCALE"], os.environ["OMP_NUM_THREADS"])
"""


def test_unchanged_notebook_is_reused_with_its_records(tmp_path, monkeypatch, steady):
    notebook = write(tmp_path, "a b ü", "number = 1", RECORD)
    smoke(tmp_path, "a b ü: {number: 7}")
    (run,) = build.execute_all([notebook], "smoke", tmp_path / "_build").values()
    assert run["error"] is None
    assert not run["reused"]
    assert run["seconds"] > 0
    assert run["peak_memory_mib"] > 10
    monkeypatch.setattr(build, "execute_one", None)  # a second execution would fail
    runs = build.execute_all([notebook], "smoke", tmp_path / "_build")
    assert runs["a b ü"]["reused"]
    records = build.collect_records(runs, tmp_path / "_build")
    assert json.loads((records / "x.json").read_text()) == {"value": 7}
    (tmp_path / "root" / "book").mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        (tmp_path / "root" / name).touch()
    (tmp_path / "root" / "CITATION.cff").write_text("{title: T, version: 1, authors: [{name: A}]}")
    source = build.stage(runs, tmp_path / "_build", tmp_path / "root")
    staged = nbformat.read(source / "notebooks" / "a b ü.ipynb", as_version=4)
    assert [cell.source for cell in staged.cells] == ["number = 1", RECORD]
    assert "papermill" not in json.dumps(staged)
    assert staged.cells[1].outputs[0].text.startswith("a b ü smoke ")


def test_failed_notebook_names_its_cell_and_does_not_stop_the_others(tmp_path):
    bad = write(tmp_path, "bad", "n = 1", "\nvalue = n / 0\nprint(value)", "print('never')")
    good = write(tmp_path, "good", "n = 1")
    runs = build.execute_all([bad, good], "paper", tmp_path / "_build")
    assert runs["good"]["error"] is None
    assert runs["bad"]["error"].startswith("bad.ipynb: cell 2 ('value = n / 0') failed: ZeroDivisionError")
    report = json.loads((tmp_path / "_build" / "runs.json").read_text())
    assert report["notebooks"]["bad"]["error"] == runs["bad"]["error"]


def test_cell_that_never_ends_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "CELL_TIMEOUT_S", 3)
    notebook = write(tmp_path, "slow", "n = 1", "import time; time.sleep(60)")
    monkeypatch.setattr("os.environ", dict(build.os.environ))
    run = build.execute_one(notebook, {}, "paper", tmp_path / "out", 1)
    assert run["error"].startswith("slow.ipynb: cell 2 ('import time; time.sleep(60)') failed")


def test_key_depends_on_everything_that_matters(tmp_path):
    notebook, code = write(tmp_path, "a", "n = 1"), tmp_path / "module.py"
    code.write_text("x = 1")
    first = keys.notebook_key(notebook, {"n": 1}, [code])
    assert first == keys.notebook_key(notebook, {"n": 1}, [code])
    assert first != keys.notebook_key(notebook, {"n": 2}, [code])
    code.write_text("x = 2")
    second = keys.notebook_key(notebook, {"n": 1}, [code])
    write(tmp_path, "a", "n = 3")
    assert len({first, second, keys.notebook_key(notebook, {"n": 1}, [code])}) == 3


def test_dependencies_cover_package_data_lock_and_measurements():
    names = {path.name for path in keys.always(build.ROOT)}
    assert {"claims.yaml", "requirements.lock", "brain.nii.gz", "dmi_11t7.safetensors", "peers_rings.nc"} <= names
    assert "signal.py" not in names
    files = keys.package_files(build.ROOT)
    assert "precise_lib/signal/model.py" in files
    assert not [path for path in files if "__pycache__" in path]


LOADS = "import precise_lib.errors\nfrom importlib import import_module\nimport_module('precise_lib.io.' + 'text')"
STARTS = "import precise_lib.errors, subprocess, sys\nsubprocess.run([sys.executable, '-c', 'pass'], check=True)"
SPAWNS = "import multiprocessing\nmultiprocessing.get_context('fork').Process(target=print).start()"


def test_a_run_is_reused_until_a_module_that_it_loaded_changes(tmp_path, monkeypatch, steady):
    """Also one that is loaded late and by a name made up at run time; not one that it never loaded."""
    notebooks = [write(tmp_path, name, "n = 1", code) for name, code in (("a", LOADS), ("b", STARTS), ("c", SPAWNS))]
    folder, real = tmp_path / "_build", steady
    build.execute_all(notebooks, "paper", folder)
    runs = {p.parent.parent.name: json.loads(p.read_text()) for p in folder.glob("cache/*/*/run.json")}
    lean = set(runs["a"]["loaded"])
    assert {"precise_lib/__init__.py", "precise_lib/errors.py", "precise_lib/io/text.py"} <= lean
    assert "precise_lib/studies/bench.py" not in lean
    assert runs["b"]["loaded"] == runs["c"]["loaded"] == real  # what another process loads, nobody knows

    def again(path):
        """Which notebooks would run again after a change of one file."""
        changed = real | {path: "other"}
        return sorted(stem for stem, run in runs.items() if not keys.unchanged(run, changed))

    assert again("precise_lib/io/text.py") == ["a", "b", "c"]
    assert again("precise_lib/studies/bench.py") == ["b", "c"]
    monkeypatch.setattr(build, "execute_one", None)  # a second execution would fail
    changed = {k: v for k, v in real.items() if k != "precise_lib/studies/bench.py"} | {"precise_lib/new.py": "0"}
    monkeypatch.setattr(keys, "package_files", lambda root: changed)
    report = build.execute_all(notebooks[:1], "paper", folder)
    assert report["a"]["reused"]
    assert "loaded" not in report["a"]


def test_a_kernel_that_is_slow_to_end_still_says_what_it_loaded(tmp_path, steady):
    notebook = write(tmp_path, "slow", "n = 1", LOADS + "\nimport atexit, time\natexit.register(time.sleep, 4)")
    run = build.execute_one(notebook, {}, "paper", tmp_path / "out", 1)
    assert run["error"] is None
    kept = [json.loads(path.read_text())["files"] for path in (tmp_path / "out").rglob(keys.LIST)]
    assert kept
    assert any(file.endswith("precise_lib/io/text.py") for file in kept[0])


def test_a_run_without_a_list_depends_on_the_whole_package(tmp_path):
    package = {"precise_lib/a.py": "1", "precise_lib/b.py": "2"}
    assert keys.loaded(tmp_path, package, tmp_path) == package
    for text in ("{", '{"files": ["/elsewhere/precise_lib/a.py"], "others": []}', '{"files": []}'):
        (tmp_path / keys.LIST).write_text(text)
        assert keys.loaded(tmp_path, package, tmp_path) == package
    (tmp_path / keys.LIST).write_text(json.dumps({"files": [str(tmp_path / "precise_lib/a.py")], "others": []}))
    assert keys.loaded(tmp_path, package, tmp_path) == {"precise_lib/a.py": "1"}
    assert not keys.unchanged({}, package)  # a run of before there were lists


def test_a_damaged_run_counts_for_nothing(tmp_path):
    (tmp_path / "run.json").write_text('{"key"')
    assert build._kept_run(tmp_path) is None
    assert build._kept_run(tmp_path / "nowhere") is None


def test_the_longest_start_first_and_the_unknown_before_them(tmp_path):
    def report(name, **seconds):
        path = tmp_path / name
        path.write_text(json.dumps({"notebooks": {stem: {"seconds": s} for stem, s in seconds.items()}}))
        return path

    own, stored = report("own.json", a=5, b=50), report("stored.json", a=500, c=20)
    paths = [tmp_path / f"{stem}.ipynb" for stem in "abcd"]
    order = keys.longest_first(paths, tmp_path / "nowhere.json", own, stored)
    assert [path.stem for path in order] == ["d", "b", "c", "a"]
    (tmp_path / "own.json").write_text("[]")
    assert keys.longest_first(paths, own)[0].stem == "a"


def test_mistakes_in_a_scale_are_named(tmp_path):
    notebook = write(tmp_path, "a", "n = 1")
    smoke(tmp_path, "b: {n: 2}")
    with pytest.raises(build.BuildError, match=r"parameters for \['b'\]"):
        build.execute_all([notebook], "smoke", tmp_path / "_build")
    with pytest.raises(build.BuildError, match="no scale 'huge'"):
        build.execute_all([notebook], "huge", tmp_path / "_build")


def test_two_notebooks_may_not_record_the_same_file(tmp_path):
    runs = {}
    for stem in ("a", "b"):
        folder = tmp_path / "cache" / stem / "k" / "records"
        folder.mkdir(parents=True)
        (folder / "x.json").touch()
        runs[stem] = {"key": "k"}
    with pytest.raises(build.BuildError, match=r"b recorded x\.json"):
        build.collect_records(runs, tmp_path)
