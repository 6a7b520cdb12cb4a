"""Sweeps: what a table may hold, one run per row, failures, interruptions, the same table from any backend."""

import csv
import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from precise_lib.errors import InputError
from precise_lib.run import notebooks, sweep, tables

PRECISE = Path(sys.executable).with_name("precise")
DEFAULTS = {"lam": 0.1, "name": "x", "mode": None}

# Records like a study of the book, and gives a value of its own.
TOY = """
import os, time
from precise_lib.run import sweep
from precise_lib.evaluate.claims import record
time.sleep(wait)
if lam < 0:
    raise ValueError("lam is negative\\nand that is that")
record("P1", 1 + lam, spread=0.1)
sweep.collect(twice=2 * lam, seen=name)
"""
HEADER = ["run", "lam", "name", "wait", "state", "P1", "P1 spread", "twice", "seen", "error", "notebook"]


def write_notebook(path, *sources, tags=("parameters",)):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = list(tags)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def make_toy(folder):
    return write_notebook(folder / "toy {x}.ipynb", "lam = 0.1  # a weight\nname = 'x'\nwait = 0", TOY)


@pytest.fixture
def toy(tmp_path):
    return make_toy(tmp_path)


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def table_of(out):
    with open(out / "table.csv", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("3", 3),
        ("-0.5", -0.5),
        ("1e-3", 0.001),
        ("inf", float("inf")),
        ("true", True),
        ("None", None),
        ("[1, 2]", [1, 2]),
        ('"3"', "3"),
        ("007", "007"),
        ("1_000", "1_000"),
        ("auto", "auto"),
        ("a/b c.nii.gz", "a/b c.nii.gz"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
    ],
)
def test_cells_of_a_csv_are_data(cell, value):
    found = tables.value(cell)
    assert (found, type(found)) == (value, type(value))
    # a parameter that holds text by default stays text, whatever it looks like
    assert tables.value("3", default="x") == "3"


def test_a_column_of_digits_that_is_a_name(tmp_path):
    """A text without a default: names of weights and files of digits, of which 12e45 was a number and 0012 was not."""
    defaults = {"model": str, "mask": str, "lam": None}
    text = 'model,mask,lam\n12345678,12e45,12e45\n007,none,none\ntrue,"""none""",2\n'
    for name, content in (("t.csv", text), ("t.tsv", text.replace(",", "\t"))):
        assert tables.read(write(tmp_path / name, content), defaults) == [
            {"model": "12345678", "mask": "12e45", "lam": 12e45},
            {"model": "007", "mask": None, "lam": None},
            {"model": "true", "mask": "none", "lam": 2},
        ]


def test_csv_and_yaml_hold_the_same(tmp_path):
    text = "lam,name,mode\n0.01,s1,none\n1e-3,2024-05-01,\n\n,no,[1]\n"
    rows = tables.read(write(tmp_path / "t.csv", text), DEFAULTS)
    assert rows == [
        {"lam": 0.01, "name": "s1", "mode": None},
        {"lam": 0.001, "name": "2024-05-01"},
        {"name": "no", "mode": [1]},
    ]
    semicolons = write(tmp_path / "s.csv", "\ufeff" + text.replace(",", ";"))
    assert tables.read(semicolons, DEFAULTS) == rows
    listed = "- {lam: 0.01, name: s1, mode: null}\n- {lam: 1e-3, name: 2024-05-01}\n- {name: 'no', mode: [1]}\n"
    assert tables.read(write(tmp_path / "t.yaml", listed), DEFAULTS) == rows


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "lam,nam\n1,2\n", "'nam', which the notebook does not take: its parameters are lam, name, mode"),
        ("t.csv", "lam,nam\n1,\n", "'nam'"),
        ("t.csv", "lam,lam\n1,2\n", "each column once"),
        ("t.csv", "lam,name\n1\n", "Line 2 .* has 1 cells"),
        ("t.csv", "lam\n", "no row"),
        ("t.yaml", "lam: 1\n", "list of mappings"),
        ("t.yaml", "- {[1]: 2}\n", "not readable"),
        ("t.yaml", "- {1: 2}\n", "where the name of a parameter belongs"),
        ("t.yaml", "- {lam: !!python/object/apply:os.getcwd []}\n", "not readable"),
        ("t.yaml", "- [", "not readable"),
        ("t.txt", "lam\n1\n", r"give a \.csv, \.tsv or \.yaml"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        tables.read(write(tmp_path / name, text), DEFAULTS)


BOMB = "&a [x, x, x, x, x, x, x, x, x]" + "".join(
    f", &{this} [{', '.join([f'*{before}'] * 9)}]" for before, this in pairwise("abcdefgh")
)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "lam\n[1\n", "not readable as JSON"),
        ("t.csv", f"lam\n{'9' * 400}\n", "has 400 digits"),
        ("t.csv", f"lam\n{'[' * 5000}\n", "not readable as JSON"),
        ("t.csv", 'lam\n"""\\ud800"""\n', "half a character"),
        ("t.yaml", '- {lam: "\\ud800"}\n', "half a character"),
        ("t.yaml", "- {lam: !!set {a}}\n", "neither a number"),
        ("t.yaml", "- {lam: &a [*a]}\n", "holds itself"),
        ("t.yaml", "- {lam: &a {x: *a}}\n", "holds itself"),
        ("t.yaml", f"- {{lam: [{BOMB}]}}\n", "more than 100000 entries"),
    ],
)
def test_a_bad_cell_is_a_failed_row(toy, tmp_path, monkeypatch, name, text, message):
    """And nothing more: the row after it is run."""
    good = "3\n" if name.endswith("csv") else "- {lam: 3}\n"
    ran = []
    monkeypatch.setattr(notebooks, "execute", lambda *a: ran.append(a[2]))
    runs = sweep.sweep(toy, write(tmp_path / name, text + good), tmp_path / "out", progress=False)
    assert [run.state[0] for run in runs] == ["failed", "finished"]
    assert message in runs[0].state[1]
    assert runs[0].state[1].count("\n") == 0
    assert ran == [{"lam": 3}]
    assert message in table_of(tmp_path / "out")[1][-2]


@pytest.mark.parametrize(
    "error", [ValueError("odd"), UnicodeEncodeError("utf-8", "x", 0, 1, "no"), OSError(28, "Full")]
)
def test_whatever_a_run_raises_is_its_own(toy, tmp_path, monkeypatch, error):
    def execute(*a):
        raise error

    monkeypatch.setattr(notebooks, "execute", execute)
    (run,) = sweep.sweep(toy, write(tmp_path / "t.csv", "lam\n1\n"), tmp_path / "out", progress=False)
    assert run.state[0] == "failed"
    assert run.state[1]


def test_missing_table_and_undecodable_table(tmp_path):
    with pytest.raises(InputError, match="not readable"):
        tables.read(tmp_path / "no.csv", DEFAULTS)
    (tmp_path / "latin.csv").write_bytes(b"lam\n\xe4\n")
    with pytest.raises(InputError, match="not readable"):
        tables.read(tmp_path / "latin.csv", DEFAULTS)


# ---------------------------------------------------------------- notebooks


def test_parameters_of_a_notebook(toy, tmp_path):
    assert notebooks.parameters_of(toy) == {"lam": 0.1, "name": "x", "wait": 0}
    with pytest.raises(InputError, match="no cell tagged 'parameters'"):
        notebooks.parameters_of(write_notebook(tmp_path / "bare.ipynb", "x = 1", tags=()))
    assert notebooks.find(toy) == toy
    own = notebooks.parameters_of(notebooks.find("your_data"))
    assert (own["model"], own["lam"], own["options"]) == (str, None, {})
    for missing in (tmp_path / "no.ipynb", "no", "", "../notebooks/your_data", tmp_path):
        with pytest.raises(InputError, match="There is no notebook"):
            notebooks.find(missing)
    with pytest.raises(InputError, match="not readable as a notebook"):
        notebooks.parameters_of(write(tmp_path / "text.ipynb", "no JSON"))


def test_missing_papermill_names_the_extra(toy, monkeypatch):
    monkeypatch.setattr(notebooks.importlib.util, "find_spec", lambda name: None if name == "papermill" else object())
    with pytest.raises(InputError, match=r"papermill: install them with pip install 'precise-lib\[sweep\]'"):
        notebooks.parameters_of(toy)


def test_the_key_knows_notebook_parameters_and_version(toy, monkeypatch):
    keys = {sweep.run_key(toy, {"lam": 1, "name": "x"}), sweep.run_key(toy, {"lam": 2})}
    assert sweep.run_key(toy, {"name": "x", "lam": 1}) in keys
    monkeypatch.setattr(sweep, "__version__", "0.0.0")
    keys.add(sweep.run_key(toy, {"lam": 2}))
    write_notebook(toy, "lam = 5")
    keys.add(sweep.run_key(toy, {"lam": 2}))
    assert len(keys) == 4


# ---------------------------------------------------------------- sweeps

EVIL = '"); open("evil", "w"); ("'
FAILURE = "cell 2 ('import os, time') failed: ValueError: lam is negative"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Notebook, table, runs and folder of a sweep on a Dask cluster, and the table that it wrote.

    The second row fails, after long enough to be interrupted on any machine; the third repeats the first.
    """
    distributed = pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("whole")
    toy, quoted = make_toy(folder), EVIL.replace('"', '""')
    table = write(folder / "t.csv", f'lam,name,wait\n0.5,"{quoted}",0\n-1,x,4\n0.5,"{quoted}",0\n')
    workers = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": None}
    with distributed.LocalCluster(**workers) as cluster:
        runs = sweep.sweep(toy, table, folder / "out", scheduler=cluster.scheduler_address, progress=False)
    return toy, table, runs, folder / "out", (folder / "out" / "table.csv").read_bytes()


def test_failed_run_is_reported_and_the_others_are_kept(whole, monkeypatch):
    toy, table, runs, out, _ = whole
    assert [run.state for run in runs] == [("finished", ""), ("failed", FAILURE), ("finished", "")]
    header, first, second, third = table_of(out)
    assert header == HEADER
    assert first[:-1] == ["1", "0.5", EVIL, "0", "finished", "1.5", "0.1", "1.0", EVIL, ""]
    assert second[:-1] == ["2", "-1", "x", "4", "failed", "", "", "", "", FAILURE]
    assert third[1:] == first[1:]
    assert not [*Path.cwd().glob("evil"), *out.parent.rglob("evil")]
    # both notebooks are there, with what ran
    assert "lam is negative" in (out / second[-1]).read_text()
    executed = nbformat.read(out / first[-1], as_version=4)
    assert [cell.execution_count for cell in executed.cells] == [1, 2, 3]
    assert {p.name for p in (out / first[-1]).parent.iterdir()} == {"notebook.ipynb", "run.json"}
    # a second call runs the failed row only: finished ones are not touched
    monkeypatch.setattr(notebooks, "execute", lambda *a: notebooks.Failure("cell 2", "Again", str(a[2]["lam"])))
    before = (out / first[-1]).stat().st_mtime_ns
    again = sweep.sweep(toy, table, out, progress=False)
    assert [run.state[1] for run in again] == ["", "cell 2 failed: Again: -1", ""]
    assert (out / first[-1]).stat().st_mtime_ns == before


def test_interrupted_sweep_resumes_to_the_identical_table(whole, tmp_path, precise):
    """SIGINT in the second run; the same command then does that run and the first not again.

    The table is that of the sweep which nothing interrupted and which a Dask cluster did.
    """
    toy, table, _, _, expected = whole
    command = ["sweep", toy, table, "--out", tmp_path]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # what a shell starts in the background ignores the signal, and so would its children
    listen = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = subprocess.Popen([PRECISE, *command], **pipes, **listen)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/*/run.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command resumes" in err
    assert "Traceback" not in err
    assert [row[4] for row in table_of(tmp_path)] == ["state", "finished", "not run", "finished"]
    (kept,) = tmp_path.glob("runs/*/run.json")
    before = kept.stat().st_mtime_ns
    # two processes this time
    code, out, err = precise(*command, "--jobs", 2)
    assert (code, out) == (1, f"2 of 3 runs finished; wrote {tmp_path / 'table.csv'}\n"), err
    assert f"Run 2 failed: {FAILURE}" in err
    assert kept.stat().st_mtime_ns == before
    assert (tmp_path / "table.csv").read_bytes() == expected


def test_a_damaged_result_is_made_again(toy, tmp_path):
    run = sweep.Run(toy, {}, tmp_path / "r")
    (tmp_path / "r").mkdir()
    assert run.state == ("not run", "")
    write(tmp_path / "r" / "run.json", '{"records": [')
    assert run.finished is None
    write(tmp_path / "r" / "run.json", json.dumps({"records": [], "values": {"lam": 3}}))
    assert sweep.measured(run) == {"lam": 3}
    sweep.write_table(tmp_path / "t.csv", [run], ["lam"])
    assert (tmp_path / "t.csv").read_text().splitlines()[0] == "run,lam,state,lam (measured),error,notebook"


def test_outside_a_sweep_nothing_is_collected(monkeypatch, tmp_path):
    monkeypatch.delenv("PRECISE_SWEEP_VALUES", raising=False)
    sweep.collect(x=1)
    monkeypatch.setenv("PRECISE_SWEEP_VALUES", str(tmp_path / "v.json"))
    sweep.collect(x=1)
    sweep.collect(y="z")
    assert json.loads((tmp_path / "v.json").read_text()) == {"x": 1, "y": "z"}


def test_what_cannot_be_swept_is_said_before_anything_runs(toy, tmp_path, precise):
    table = write(tmp_path / "t.csv", "lam\n1\n")
    (tmp_path / "file").touch()
    cases = [
        ({"out": tmp_path / "file"}, "is a file, not a folder"),
        ({"jobs": 0}, "positive number"),
        ({"jobs": 2, "scheduler": "tcp://127.0.0.1:1"}, "a scheduler needs none"),
        ({"scheduler": "nonsense"}, "No Dask scheduler answers at nonsense"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            sweep.sweep(toy, table, **({"out": tmp_path / "out"} | options), progress=False)
    assert not list(tmp_path.glob("out/runs/*"))
    # and on the command line: one sentence, exit code 2
    code, out, err = precise("sweep", toy, tmp_path / "no.csv", "--out", tmp_path / "x")
    assert (code, out, err.count("\n")) == (2, "", 1)


# ---------------------------------------------------------------- whose code runs, and how long


def test_no_python_file_of_the_folder_runs(tmp_path):
    """A ``matplotlib.py`` beside somebody's data is data."""
    for name in ("matplotlib", "papermill", "ipykernel_launcher", "json", "precise_lib", "sitecustomize"):
        write(tmp_path / f"{name}.py", "open(__file__ + '.ran', 'w')\nraise SystemExit(3)\n")
    source = "import json, os, sys, matplotlib\nprint(matplotlib.__file__)\nassert '' not in sys.path"
    notebook = write_notebook(tmp_path / "n.ipynb", "x = 1", source)
    assert notebooks.execute(notebook, tmp_path / "out" / "o.ipynb", {"x": 2}, folder=str(tmp_path)) is None
    assert not list(tmp_path.rglob("*.ran"))


DIED = "the start failed: papermill: RuntimeError: Kernel died"


@pytest.mark.parametrize(("deaths", "starts", "failure"), [(1, 2, None), (9, notebooks.STARTS, DIED)])
def test_a_kernel_that_dies_at_its_start_is_started_again(tmp_path, deaths, starts, failure):
    """As one does whose port another kernel took: two of them are looked for at the same time by two workers."""
    notebook = write_notebook(tmp_path / "n.ipynb", "x = 1", "print(x)")
    tally = write(tmp_path / "starts", "")
    dying = f"""
import os
with open({str(tally)!r}, "a") as tally:
    tally.write("x")
if os.path.getsize({str(tally)!r}) <= {deaths}:
    os._exit(1)
"""
    result = notebooks.execute(notebook, tmp_path / "o.ipynb", {}, kernel=dying)
    assert len(tally.read_text()) == starts
    assert result is None if failure is None else str(result).startswith(failure)


def processes(text):
    """Numbers of the living processes whose command line holds `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, state = (
                (folder / "cmdline").read_bytes(),
                (folder / "stat").read_text().rpartition(")")[2].split()[0],
            )
        except OSError:
            continue
        if text.encode() in command and state != "Z":
            found.append(int(folder.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes as Linux lists them")
@pytest.mark.parametrize("jobs", [1, 2])
def test_kernels_end_with_a_killed_sweep(tmp_path, jobs):
    """SIGKILL of the sweep; neither kernel nor what drives it lives on, and the next sweep cleans up."""
    marker = tmp_path / "pids"
    source = f"import os, time\nopen({str(marker)!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(wait)"
    notebook = write_notebook(tmp_path / "n.ipynb", "wait = 0\nn = 0", source)
    table = write(tmp_path / "t.csv", "wait,n\n100,1\n100,2\n")
    command = [sys.executable, "-m", "precise_lib.cli", "sweep", notebook, table, "--out", tmp_path / "out"]
    process = subprocess.Popen([*command, "--jobs", str(jobs)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while (not marker.is_file() or len(marker.read_text().split()) < jobs) and time.monotonic() < deadline:
        time.sleep(0.1)
    kernels = [int(pid) for pid in marker.read_text().split()]
    assert all(Path("/proc", str(pid)).exists() for pid in kernels)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    alive = kernels
    while alive and time.monotonic() < deadline:
        time.sleep(0.2)
        alive = [pid for pid in kernels if Path("/proc", str(pid)).exists()] + processes(str(tmp_path))
    assert not alive
    sweep.sweep(notebook, write(tmp_path / "s.csv", "wait,n\n0,1\n"), tmp_path / "out", progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebooks, "execute", lambda *a: None)
        sweep.sweep(notebook, table, tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").rglob(".precise-*"))
