"""Every check of an estimator fails for one that is wrong in just that, and outside code is found by its place."""

import nbformat
import numpy as np
import pytest

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.evaluate import conformance, crlb
from precise_lib.evaluate.checks import CONTENTS, Subject, Violation
from precise_lib.evaluate.conformance import CHECKS
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies.peer_settings import Peer
from tests.helpers import ROOT

FIT = estimate.make("fit")


class Wrong:
    """The fit, spoilt: `before` changes the data, `after` the maps (given the data, too)."""

    def __init__(self, before=lambda data: data, after=lambda maps, data: maps, name="wrong"):
        self.before, self.after, self.name = before, after, name

    def __call__(self, data):
        return self.after(FIT(self.before(data)).rename(self.name), data)


def scrambled(maps, data):
    """Noise as large as four bounds, always the same for the same data."""
    rng = np.random.default_rng(abs(hash(data.fids.tobytes())) % 2**32)
    sd = 40 * crlb.ratio_sd(dmi_11t7(), [1, 0.3, 0.4, 0.1], snr_to_sigma(dmi_11t7(), 20))
    noisy = maps + sd[:, None, None, None] * rng.normal(size=maps.shape)
    return noisy.where(np.array(data.model.names)[:, None, None, None] != "water", maps)


def in_place(data):
    data.fids[data.mask] *= 2
    return data


def remembering():
    """Its maps depend on what it saw before."""
    seen = []

    def after(maps, data):
        seen.append(1)
        return maps * (1 + 1e-9 * (len(seen) - 1))

    return Wrong(after=after)


def smoothed(maps, data):
    """Every voxel drawn to the mean of all."""
    return 0.5 * maps + 0.5 * maps.mean(("x", "y", "z")) + 0 * maps


def looking(maps, data):
    return maps if data.mri is None else maps * (1 + 1e-3 * data.mri.mean())


def unkind(data):
    if data.mri is None:
        raise InputError("No.")
    return data


def absolute(maps, data):
    """Ignores whatever is weak in the unit of the data."""
    return maps.where(~data.usable | (np.abs(data.fids[..., 0]) > 1e-6), 0)


def real_part(data):
    return data.replace(fids=data.fids.real.astype(complex))


def lifted(maps, data):
    """Zero voxels get the mean of the others."""
    return maps.where(~data.mask | data.usable, maps.mean(("x", "y", "z")))


def memorized(maps, data):
    """Says what the innermost ring holds, whatever was measured."""
    return 0 * maps + 10 * CONTENTS[0][:, None, None, None]


def demanding(data):
    if not data.usable.any():
        raise IndexError("nothing there")
    return data


# check -> what it says, and who is wrong
BAD = {
    "common-form": {
        "say units='mM'": Wrong(after=lambda m, d: m.assign_attrs(units="mmol")),
        "dimensions": Wrong(after=lambda m, d: m.transpose("metabolite", "y", "x", "z")),
        "called 'right'": Wrong(after=lambda m, d: m.rename("right")),
        "not those of water": Wrong(after=lambda m, d: m[::-1]),
        "outside the mask": Wrong(after=lambda m, d: m.fillna(0)),
        "inside the mask": Wrong(after=lambda m, d: m.where(m > 0.2 * m.max())),
        "Water": Wrong(after=lambda m, d: (1.01 * m).assign_attrs(m.attrs)),
        "ndarray": Wrong(after=lambda m, d: m.values),
        "shape": Wrong(after=lambda m, d: m[:, 1:]),
        "registered as 'wrong'": Wrong(name="other"),
    },
    "input-untouched": {"changes fids": Wrong(before=in_place)},
    "deterministic": {
        "draws without": Wrong(after=lambda m, d: m + np.random.normal(0, 1e-9)),  # noqa: NPY002
        "keeps a memory": remembering(),
    },
    "unusable-voxels": {
        "has a value": Wrong(after=lifted),
        "lost its value": Wrong(after=lambda m, d: m.where(d.usable[d.mask].all())),
        "change the others": Wrong(after=lambda m, d: m * (1 + 1e-6 * d.mask.mean())),
    },
    "no-usable-voxel": {
        "IndexError": Wrong(before=demanding),
        "gave a value": Wrong(after=lambda m, d: m if d.usable.any() else m.fillna(0)),
    },
    "scale": {"another unit": Wrong(after=absolute)},
    "phase": {"Other phases": Wrong(before=real_part)},
    "without-mri": {"looks at the MRI": Wrong(after=looking), "it says: No": Wrong(before=unkind)},
    "declared-neighbors": {"must say 'neighbors'": Wrong(after=smoothed)},
    "unbiased-away-from-edges": {
        "is wrong by 1 mM": Wrong(after=lambda m, d: 0.9 * m),
        "is wrong by 2 mM": Wrong(after=lambda m, d: 0.8 * m),
    },
    "homogeneous-object": {
        "is wrong by 0.3": Wrong(after=lambda m, d: 0.97 * m),
        "is wrong by 2 mM": Wrong(after=memorized),
    },
    "precision": {
        "impossible for a single voxel": Wrong(after=smoothed),
        "0.00 to 0.00 times": Wrong(after=memorized),
        "times the bound.$": Wrong(after=scrambled),
    },
}


@pytest.fixture
def registry(monkeypatch):
    """What a test registers is gone afterwards."""
    monkeypatch.setattr(estimate.registry, "_FACTORIES", dict(estimate.registry._FACTORIES))
    monkeypatch.setattr(estimate.registry, "_USES", dict(estimate.registry._USES))


def test_there_is_a_bad_estimator_for_every_check():
    assert set(BAD) == set(CHECKS)


@pytest.mark.parametrize(("check", "words"), [(check, words) for check, wrong in BAD.items() for words in wrong])
def test_a_bad_estimator_fails(check, words, registry):
    estimate.register("wrong", lambda: BAD[check][words])
    with pytest.raises(Violation, match=words):
        conformance.run(check, Subject("wrong"))


def test_a_good_one_passes_them_all(registry):
    estimate.register("right", lambda: Wrong(name="right"))
    table = conformance.check("right")
    assert table.passed, str(table)
    assert [row[0] for row in table.rows] == list(CHECKS)
    assert "× bound" in table._repr_markdown_()


def test_a_table_names_what_failed(registry):
    estimate.register("wrong", lambda: Wrong(after=lambda m, d: 0.9 * m))
    table = conformance.check("wrong")
    assert not table.passed
    failed = {check for check, passed, _ in table.rows if not passed}
    # its water is 9 mM, and with the values the SD shrinks below the bound
    assert failed == {"common-form", "unbiased-away-from-edges", "homogeneous-object", "precision"}
    assert "FAILED  homogeneous-object" in str(table)


# estimators from outside


@pytest.fixture
def method(tmp_path, registry):
    """A file with an estimator, as somebody would write it."""
    path = tmp_path / "mein schätzer.py"
    path.write_text(
        "from precise_lib import estimate\n"
        "def doubled(factor=2.0):\n"
        "    fit = estimate.make('fit')\n"
        "    def estimator(data):\n"
        "        maps = fit(data)\n"
        "        maps[1:] = factor * maps[1:]\n"
        "        return maps.rename('doubled')\n"
        "    estimator.name = 'doubled'\n"
        "    return estimator\n"
        "def blurred():\n"
        "    return doubled()\n"
        "blurred.uses = ('neighbors',)\n"
        "def spoilt():\n"
        "    return 3\n"
        "spoilt.uses = ('magic',)\n"
        "def empty():\n"
        "    return 3\n"
    )
    return path


def test_a_file_is_loaded_by_its_place(method):
    place = estimate.load(f"{method}:doubled")
    assert place in estimate.names()
    assert estimate.uses(place) == frozenset()
    data = Subject("fit").data
    np.testing.assert_allclose(estimate.make(place, factor=3.0)(data)[1:], 3 * FIT(data)[1:])
    np.testing.assert_allclose(Peer("mine", place, "factor", 2.0).make(3.0)(data)[1:], 3 * FIT(data)[1:])
    assert estimate.load(place) == place  # twice is no error
    assert estimate.uses(estimate.load(f"{method}:blurred")) == {"neighbors"}


def test_a_module_is_loaded_by_its_name(method, monkeypatch):
    method.rename(method.with_name("somebodys_method.py"))
    monkeypatch.syspath_prepend(method.parent)
    assert estimate.make(estimate.load("somebodys_method:doubled")).name == "doubled"


@pytest.mark.parametrize(("place", "words"), [
    ("nowhere.py:factory", "There is no file nowhere.py"),
    ("nowhere_at_all:factory", "no module 'nowhere_at_all': install it, or give its file"),
    ("math:", "names no estimator: write 'package.module:factory'"),
    ("{0}:gone", "has no function or class 'gone'; it has blurred, doubled, empty, spoilt"),
    ("{0}:spoilt", "'uses' what it needs, and cannot: An estimator uses some of"),
])  # fmt: skip
def test_what_cannot_be_loaded_is_said_in_one_sentence(place, words, method):
    with pytest.raises(InputError, match=words):
        estimate.load(place.format(method))


def test_a_file_that_fails_says_why(tmp_path, method):
    for text, words in (("1 / 0", "ZeroDivisionError: division by zero"), ("def f(", "SyntaxError")):
        (tmp_path / "broken.py").write_text(text)
        with pytest.raises(InputError, match=rf"broken.py fails when it is imported: {words}"):
            estimate.load(f"{tmp_path / 'broken.py'}:f")
    with pytest.raises(InputError, match="must return a callable with a name, not 3"):
        estimate.make(estimate.load(f"{method}:empty"))


def test_a_name_alone_runs_nothing(method, monkeypatch):
    """A table of parameters may hold such a name; only a person may have it run."""
    place = f"{method}:doubled"
    with pytest.raises(InputError, match=r"would run code from outside this package.*PRECISE_ESTIMATORS"):
        estimate.make(place)
    monkeypatch.setenv("PRECISE_ESTIMATORS", f"other.py:f,{place}")
    assert estimate.make(place).name == "doubled"


def test_the_command_line_quantifies_with_it(method, tmp_path, precise):
    from precise_lib.io import nifti_mrs

    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", Subject("fit").data)
    for estimator in ("fit", f"{method}:doubled"):
        out = tmp_path / estimator[-7:].replace("/", "_")
        arguments = ["--estimator", estimator, "--out", out, "--errors", "none"]
        code, _, said = precise("quantify", tmp_path / "dmi.nii.gz", *arguments)
        assert code == 0, said
    import nibabel

    fit, doubled = (nibabel.load(tmp_path / n / "conc_Lac.nii.gz").get_fdata() for n in ("fit", "doubled"))
    np.testing.assert_allclose(doubled, 2 * fit, rtol=1e-5)
    code, _, said = precise("quantify", tmp_path / "dmi.nii.gz", "--estimator", "gone.py:f", "--out", tmp_path / "no")
    assert (code, said) == (2, "precise: There is no file gone.py: check its name.\n")


def test_conformance_by_name_from_the_command_line(method, precise):
    code, said, _ = precise("conformance", f"{method}:doubled")
    assert code == 1
    assert "FAILED  unbiased-away-from-edges" in said
    assert precise("conformance", "fit")[0] == 0
    code, _, complaint = precise("conformance", "magic")
    assert code == 2
    assert "No estimator 'magic'" in complaint


def test_pytest_runs_the_checks_on_one_estimator_by_name(method, monkeypatch, capfd):
    monkeypatch.chdir(ROOT)
    command = ["-q", "-p", "no:cacheprovider", "-k", "scale or phase or unbiased", "tests/estimate/test_registry.py"]
    assert pytest.main([*command, f"--estimator={method}:doubled"]) == 1
    said = capfd.readouterr().out
    assert "1 failed, 2 passed" in said
    assert "doubled-unbiased-away-from-edges" in said


def test_the_page_shows_the_method_of_the_notebook_and_it_conforms(tmp_path, registry):
    page = (ROOT / "book" / "your_estimator.md").read_text(encoding="utf-8")
    shown = page.split("```python\n# my_method.py\n")[1].split("\n```")[0]
    cells = nbformat.read(ROOT / "notebooks" / "your_estimator.ipynb", as_version=4).cells
    code = "\n\n\n".join(cell.source for cell in cells if cell.cell_type == "code")
    parts = shown[shown.index("def ") :].split("\n\n\n")
    assert len(parts) == 3  # two functions, and what the method uses
    assert all(part in code for part in parts)
    (tmp_path / "my_method.py").write_text(shown, encoding="utf-8")
    table = conformance.check(f"{tmp_path / 'my_method.py'}:shrunk")
    assert table.passed, str(table)
