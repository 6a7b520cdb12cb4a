"""What must not be possible: values that run, weights without a hash, words to other hosts, maps without a warning."""

import ast
import json
import shutil
import socket

import nbformat
import pytest

from precise_lib import NOTICE
from precise_lib.errors import InputError
from precise_lib.estimate.weights import load_weights
from precise_lib.io import nifti_mrs
from precise_lib.io.shipped import data_path
from precise_lib.proton.weights import Denoiser, Quantifier
from precise_lib.quantify import page, run
from precise_lib.run import notebooks, tables
from precise_lib.simulate.phantoms import rings
from tests.helpers import ROOT

HOSTILE = [
    "__import__('os').system('touch pwned')",
    "'; open('pwned', 'w'); '",
    '"; open("pwned", "w"); "',
    "'''\nopen('pwned', 'w')\n'''",
    '"""\nopen("pwned", "w")\n"""',
    "\\'; open('pwned', 'w') #",
    '\\"\nopen("pwned", "w")\n"',
    "a\nopen('pwned', 'w')\nb",
    "a\r\nopen('pwned', 'w')",
    "a\u2028open('pwned', 'w')",
    "{open('pwned', 'w')}",
    "!touch pwned",
    "%%bash\ntouch pwned",
    "$(touch pwned)",
    "!!python/object/apply:os.system ['touch pwned']",
    "ü 測定 \t end",
    "",
]


def echo(folder):
    """A notebook that writes the parameter it got to a file."""
    parameters = nbformat.v4.new_code_cell("value = None", metadata={"tags": ["parameters"]})
    work = nbformat.v4.new_code_cell("import json, pathlib\npathlib.Path('got.json').write_text(json.dumps(value))")
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, work]), folder / "echo.ipynb")
    return folder / "echo.ipynb"


def test_parameters_are_data(tmp_path):
    """What a table of `precise sweep` holds arrives letter by letter, and nothing of it has run on the way."""
    notebook = echo(tmp_path)
    (tmp_path / "table.yaml").write_text(json.dumps([{"value": [*HOSTILE, {text: text for text in HOSTILE}]}]))
    (row,) = tables.read(tmp_path / "table.yaml", notebooks.parameters_of(notebook))
    failure = notebooks.execute(notebook, tmp_path / "out.ipynb", row, folder=str(tmp_path))
    assert failure is None
    assert row["value"] == [*HOSTILE, {text: text for text in HOSTILE}]
    assert json.loads((tmp_path / "got.json").read_text()) == row["value"]
    assert not list(tmp_path.rglob("pwned"))


def test_options_of_a_report_are_texts(tmp_path, monkeypatch):
    """`precise report` hands its options on as texts, in the same way."""
    handed = {}

    def execute(notebook, output, parameters, *_):
        handed.update(parameters)
        return notebooks.Failure("cell 1", "InputError", "enough")

    monkeypatch.setattr(notebooks, "execute", execute)
    dmi = tmp_path / "x'); open('pwned', 'w') #.nii.gz"
    dmi.touch()
    with pytest.raises(InputError, match="enough"):
        page.make(dmi, tmp_path / "out", lam="__import__('os')", model="'; 1")
    assert handed["dmi"] == str(dmi)
    assert handed["lam"] == "__import__('os')"
    assert all(isinstance(value, str) for value in handed.values())


# Calls that run what they read. An estimator of the user's is imported, on the user's word (`estimate.load`).
RUNS_CODE = {"eval", "exec", "compile", "system", "popen"}


def test_the_package_reads_no_code():
    """No pickle, no unsafe YAML, no shell, nothing evaluated."""
    for path in sorted((ROOT / "precise_lib").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
                assert not {n.split(".")[0] for n in names} & {"pickle", "dill", "cloudpickle", "marshal"}, where
            if not isinstance(node, ast.Call):
                continue
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert options.get("allow_pickle", "False") == "False", where
            assert options.get("shell", "False") == "False", where
            called = ast.unparse(node.func)
            name = called.rpartition(".")[2]
            # re.compile and the eval() of a network are other things
            harmless = called == "re.compile" or (name == "eval" and "." in called and not node.args)
            assert name not in RUNS_CODE or harmless, f"{where}: {called}"
            assert called not in ("torch.load", "yaml.unsafe_load", "yaml.full_load"), where
            if called == "yaml.load":
                assert ast.unparse(node.args[1]) == "Loader", where


# ---------------------------------------------------------------- hashes


@pytest.fixture
def copies(tmp_path):
    """Weights of each kind with their cards, and what loads them."""
    kinds = {"sve": (load_weights, "dmi_4t"), "denoise": (Denoiser.load, "denoise/unet1d_small")}
    if Quantifier.shipped():
        kinds["quantify"] = (Quantifier.load, f"quantify/{min(Quantifier.shipped())}")
    for name, (_, path) in kinds.items():
        for suffix in (".safetensors", ".json"):
            shutil.copy(data_path("weights", *f"{path}{suffix}".split("/")), tmp_path / f"{name}{suffix}")
    return {tmp_path / f"{name}.safetensors": load for name, (load, _) in kinds.items()}


@pytest.mark.parametrize("change", ["none", "other", "a number", "flipped"])
def test_weights_are_used_only_with_their_hash(copies, change):
    for path, load in copies.items():
        card_path = path.with_suffix(".json")
        card = json.loads(card_path.read_text())
        assert load(path).hash == card["sha256"]
        if change == "flipped":
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
        else:
            card["sha256"] = {"other": "0" * 64, "a number": 1}.get(change)
            if change == "none":
                del card["sha256"]
            card_path.write_text(json.dumps(card))
        with pytest.raises(InputError, match=path.stem):
            load(path)


def test_every_reader_of_weights_checks():
    """Tensors come out of bytes that have been hashed, or out of a checkpoint of one's own."""
    calls = {"load_tensors(": "card.py", "load_file(": "trainer.py", "safe_open(": "trainer.py"}
    for path in sorted((ROOT / "precise_lib").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for call, home in calls.items():
            assert call not in text or path == ROOT / "precise_lib" / "estimate" / home, path


# ---------------------------------------------------------------- words


def test_nothing_is_sent_and_the_notice_is_there(tmp_path, monkeypatch, precise):
    """A whole quantification without one connection, or one look-up of a name."""

    def no(*_, **__):
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, no)
    monkeypatch.setattr(socket, "getaddrinfo", no)
    nifti_mrs.write_phantom(tmp_path, rings(), 12.0)
    command = [
        "quantify",
        tmp_path / "dmi.nii.gz",
        "--out",
        tmp_path / "maps",
        "--estimator",
        "sve",
        "--errors",
        "none",
    ]
    code, said, _ = precise(*command)
    assert code == 0
    assert NOTICE in said
    assert json.loads((tmp_path / "maps" / "summary.json").read_text())["notice"] == NOTICE
    assert run.NOTICE == NOTICE


def test_the_notice_is_on_every_report(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A")]), tmp_path / "a.ipynb")
    assert NOTICE in page.page(tmp_path / "a.ipynb", "Title")


def test_the_notice_is_where_people_begin():
    for path in (ROOT / "README.md", ROOT / "book" / "index.md"):
        said = " ".join(path.read_text(encoding="utf-8").replace("*", "").split())
        assert "medical device" in said, path
        assert "clinical use" in said, path
