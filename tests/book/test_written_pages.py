"""What the build writes by itself: citation and launch links, the verdict, the status page, the guarded install."""

import json
import shutil

import build
import citation
import launch
import nbformat
import pdf
import pytest
import status
import verdict
import yaml

from precise_lib.evaluate.claims import load_claims
from precise_lib.evaluate.records import Record
from tests.helpers import NOTEBOOKS, ROOT


def cite(folder, extra=""):
    people = "[{given-names: Ada, family-names: B}, {name: C}]"
    (folder / "CITATION.cff").write_text(f"title: T\nversion: 0.2.0\nauthors: {people}\n{extra}")
    return citation.read(folder)


def test_citation_takes_every_word_from_its_file(tmp_path):
    found = cite(tmp_path, "date-released: 2027-01-02")
    assert found == {
        "title": "T",
        "authors": ["Ada B", "C"],
        "version": "0.2.0",
        "date": "2027-01-02",
        "repository": None,
        "site": None,
    }


def test_without_an_address_there_is_no_launch_link(tmp_path):
    config = citation.configure({"html": {}}, cite(tmp_path))
    assert "html_theme_options" not in config["sphinx"]["config"]


@pytest.mark.parametrize(("host", "colab"), [("github.com", True), ("gitlab.com", False)])
def test_one_address_makes_every_link(tmp_path, host, colab):
    before = {"sphinx": {"config": {"html_theme_options": {"home_page_in_toc": True}}}}
    config = citation.configure(before, cite(tmp_path, f"repository-code: https://{host}/o/r/"))
    options = config["sphinx"]["config"]["html_theme_options"]
    assert options["home_page_in_toc"]
    assert f"git clone https://{host}/o/r`" in config["sphinx"]["config"]["myst_substitutions"]["checkout"]
    assert config["author"] == "Ada B, C"
    assert (options["repository_url"], options["repository_branch"]) == (f"https://{host}/o/r", "main")
    assert "binderhub_url" in options["launch_buttons"]
    assert ("colab_url" in options["launch_buttons"]) == colab


def test_sentence_needs_all_its_numbers():
    records = [Record("P1", "a", 1.7106), Record("P9", "a", 0.3856, "contrast of B at 0.04")]
    assert verdict.filled("{P1:.2f} and {P9 contrast of B at 0.04:.0%}", records) == "1.71 and 39%"
    assert verdict.filled("{P1:.2f} and {P3:.1f}", records) is None
    full = Record("P3", "a", 2.88, spread=0.1, spread_meaning="95 % CI", unit="fold")
    assert verdict.filled("{P3 in full} in SNR", [full]) == "2.88 ± 0.10 (95 % CI) fold in SNR"


def test_verdict_follows_the_records():
    ends = [Record("P4", "03", v, p) for p, v in [("SVE, lowest", 0.99), ("SVE, highest", 1.2)]]
    ends += [Record("P4", "03", v, p) for p, v in [("fit, lowest", 0.98), ("fit, highest", 1.0)]]
    text = verdict.summary(load_claims(), [Record("P1", "03", 1.7, scale="smoke"), *ends])
    assert "integration needs 1.70 times the SNR" in text
    assert "is 0.99 to 1.20 times the least" in text
    assert "P1 \N{HEAVY CHECK MARK}" in text
    assert "P4 \N{CIRCLE WITH RIGHT HALF BLACK}" in text
    assert "MRI" not in text
    assert "reduced run (smoke)" in text


def test_every_number_of_the_verdict_belongs_to_a_claim():
    claims = load_claims()
    for _, sentence, names in verdict.POINTS:
        for name, _ in verdict.FIELDS.findall(sentence):
            claim, _, part = name.partition(" ")
            assert claim in names
            assert not claims[claim].parts or claims[claim].declared(part)


def test_status_page_names_a_network_that_is_not_as_on_its_card(tmp_path):
    (tmp_path / "net.safetensors").write_bytes(b"weights")
    (tmp_path / "net.json").write_text('{"sha256": "0", "config": {"seed": 3}}')
    (tmp_path / "unfinished.safetensors").touch()
    ((name, seed, _, check),) = status.weights(tmp_path)
    assert (name, seed, check) == ("net", "3", "**not as on its card**")


def test_seeds_are_those_of_the_run():
    notebook = ROOT / "notebooks" / "01_signal_and_phantom.ipynb"
    assert status.seeds(notebook, {"parameters": {}}) == "seed = 0"
    assert status.seeds(notebook, {"parameters": {"seed": 7}}) == "seed = 7"


def slider_notebook():
    """A notebook with one slider of three pictures, as ipywidgets saves it."""
    models = {f"p{k}": ("HTMLModel", {"value": f'<img alt="maps, {k}" src="data:,{k}">'}) for k in range(3)}
    models["control"] = ("SelectionSliderModel", {"index": 0})
    models["stack"] = ("StackModel", {"children": [f"IPY_MODEL_p{k}" for k in range(3)]})
    models["box"] = ("VBoxModel", {"children": ["IPY_MODEL_control", "IPY_MODEL_stack"]})
    cell = nbformat.v4.new_code_cell()
    cell.outputs = [nbformat.v4.new_output("display_data", {pdf.VIEW: {"model_id": "box"}, "text/plain": "VBox"})]
    state = {name: {"model_name": kind, "state": values} for name, (kind, values) in models.items()}
    return nbformat.v4.new_notebook(cells=[cell], metadata={"widgets": {pdf.STATE: {"state": state}}})


def test_paper_shows_the_middle_of_a_slider():
    notebook = pdf.with_stills(slider_notebook())
    (output,) = notebook.cells[0].outputs
    assert output.data.keys() == {"text/html"}
    assert 'src="data:,1"' in output.data["text/html"]
    assert "One of the 3 pictures of a slider: maps, 1." in output.data["text/html"]
    assert "widgets" not in notebook.metadata


def test_pdf_says_what_it_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pdf.py", "--source", str(tmp_path), "--out", str(tmp_path / "out")])
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    pdf.main()
    assert capsys.readouterr().out == f"{pdf.NO_BROWSER}\n"
    monkeypatch.setattr(pdf.shutil, "which", lambda name: "/bin/false")
    with pytest.raises(SystemExit, match="run `make book` first"):
        pdf.main()
    assert not (tmp_path / "out").exists()


def test_one_page_is_printed_whole(browser, tmp_path):
    page = tmp_path / "a page.html"
    page.write_text("<title>x</title><h1>x</h1>" + "<p>line</p>" * 200)
    printed = pdf.print_page(browser, page, tmp_path / "book.pdf")
    assert printed.read_bytes().startswith(b"%PDF")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["a page.html", "book.pdf"]


ADDRESS = "https://github.com/o/r"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_install_from_the_address_and_from_nowhere_else(path):
    """As `make launch` leaves them; run it after a change of the address or with a new notebook."""
    committed = nbformat.read(path, as_version=4)
    expected = launch.with_install(nbformat.read(path, as_version=4), citation.read(ROOT)["repository"])
    assert [cell.source for cell in committed.cells] == [cell.source for cell in expected.cells]


def test_install_cell_comes_first_goes_again_and_is_there_once():
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_code_cell("import precise_lib")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    for _ in range(2):
        launch.with_install(notebook, ADDRESS)
        assert [cell.cell_type for cell in notebook.cells] == ["markdown", "code", "code"]
        assert "install" in notebook.cells[1].metadata.tags
    nbformat.validate(notebook)
    assert launch.with_install(notebook, None).cells == cells


def test_install_cell_does_nothing_where_the_package_is_installed(monkeypatch):
    source = launch.SOURCE.format(address=ADDRESS, branch="main")
    exec(source, {})  # `get_ipython` is not even there
    asked = []
    shell = type("Shell", (), {"run_line_magic": lambda self, *call: asked.append(call)})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(source, {"get_ipython": shell})
    assert asked == [("pip", "install --quiet 'precise-lib[studies] @ git+https://github.com/o/r@main'")]


def test_launch_links_and_download_once_there_is_an_address(tmp_path):
    """A book of one notebook, with the real configuration and templates."""
    root, out = tmp_path / "root", tmp_path / "out"
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("*.md", "__pycache__"))
    (root / "book" / "index.md").write_text("# Start\n")
    shutil.copy2(ROOT / "_config.yml", root)
    chapters = [{"file": "notebooks/a"}]
    toc = {"format": "jb-book", "root": "book/index", "parts": [{"caption": "P", "chapters": chapters}]}
    (root / "_toc.yml").write_text(yaml.safe_dump(toc))
    cite(root, f"repository-code: {ADDRESS}")
    kept = out / "_build" / "cache" / "a" / "k"
    kept.mkdir(parents=True)
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell("# A & B"), nbformat.v4.new_code_cell("1")]
    )
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook.metadata |= {"kernelspec": kernel, "language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    nbformat.write(launch.with_install(notebook, ADDRESS), kept / "notebook.ipynb")
    site = build.build_site(build.stage({"a": {"key": "k"}}, out / "_build", root), out)
    page = (site / "notebooks" / "a.html").read_text(encoding="utf-8")
    assert "https://mybinder.org/v2/gh/o/r/main?urlpath=lab/tree/notebooks/a.ipynb" in page
    assert "https://colab.research.google.com/github/o/r/blob/main/notebooks/a.ipynb" in page
    assert "Ada B, C. A &amp; B. In: <cite>T</cite>, version" in " ".join(page.split())
    assert "find_spec" not in page
    assert 'href="../_sources/notebooks/a.ipynb"' in page
    json.loads((site / "_sources" / "notebooks" / "a.ipynb").read_text(encoding="utf-8"))
