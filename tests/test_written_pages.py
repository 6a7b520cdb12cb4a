"""What the build writes by itself: citation and launch links, the verdict, the status page, the guarded install."""

import citation
import nbformat
import pdf
import pytest
import status
import verdict
from conftest import ROOT

from precise_lib.evaluate.claims import load_claims
from precise_lib.evaluate.records import Record


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
    assert not config.keys() & {"repository", "launch_buttons"}


@pytest.mark.parametrize(("host", "colab"), [("github.com", True), ("gitlab.com", False)])
def test_one_address_makes_every_link(tmp_path, host, colab):
    config = citation.configure({}, cite(tmp_path, f"repository-code: https://{host}/o/r/"))
    assert config["repository"] == {"url": f"https://{host}/o/r", "branch": "main"}
    assert "binderhub_url" in config["launch_buttons"]
    assert ("colab_url" in config["launch_buttons"]) == colab


def test_sentence_needs_all_its_numbers():
    records = [Record("P1", "a", 1.7106), Record("P9", "a", 0.3856, "contrast of B at 0.04")]
    assert verdict.filled("{P1:.2f} and {P9 contrast of B at 0.04:.0%}", records) == "1.71 and 39%"
    assert verdict.filled("{P1:.2f} and {P3:.1f}", records) is None


def test_verdict_follows_the_records():
    ends = [Record("P4", "03", v, p) for p, v in [("SVE, lowest", 0.99), ("SVE, highest", 1.2)]]
    ends += [Record("P4", "03", v, p) for p, v in [("fit, lowest", 0.98), ("fit, highest", 1.0)]]
    text = verdict.summary(load_claims(), [Record("P1", "03", 1.7, scale="smoke"), *ends])
    assert "is 1.70. The SD of the network lies at 0.99 to 1.20" in text
    assert "P1 \N{HEAVY CHECK MARK}" in text
    assert "P4 \N{HEAVY BALLOT X}" in text
    assert "MRI adds" not in text
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
