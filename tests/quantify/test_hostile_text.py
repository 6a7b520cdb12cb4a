"""Text from outside in every field that reaches a report: the page shows it, and nothing runs or is asked for."""

import json
from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import nbformat
import nibabel as nib
import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.io import nifti_mrs
from precise_lib.quantify import figures, page, quantify, report, report_tables, result
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.parts import Acquisition, Resonance

ELSEWHERE = "http://elsewhere.invalid/x"
HOSTILE = (
    "<script>ran()</script>",
    f"<script src={ELSEWHERE}.js></script>",
    f"</td></table><img src={ELSEWHERE}.png onerror=ran()>",
    f"![x]({ELSEWHERE}.png)",
    f"[x](javascript:ran())<{ELSEWHERE}>",
    "`<svg onload=ran()>`",
    "$\\frac{a$ | *b* | `c",
    "&lt;script&gt;ran()&lt;/script&gt;",
    f'"><iframe srcdoc="<script>ran()</script>" src={ELSEWHERE}></iframe>',
    f"<style>@import url({ELSEWHERE}.css);</style><meta http-equiv=refresh content='0;url={ELSEWHERE}'>",
    "\x1b[31m\u202e\n# A title\n\n---\n",
)


def hostile_report(folder, text):
    """A report in which every name and sentence is `text`."""
    lines = (Resonance(text, 4.7, 0.02), Resonance(f"Glc{text}", 3.7, 0.02))
    model = SignalModel(Acquisition(64, 1 / 1000, 76.7), lines, reference=text)
    fids = np.random.default_rng(0).normal(0, 0.1, (3, 3, 1, 64)) + model.fids([1.0, 0.3])
    nifti_mrs.write_mrsi(folder / "dmi.nii.gz", MRSI(fids, model, np.diag([5.0, 5, 5, 1])))
    (folder / "model.yaml").write_text(json.dumps(model.to_dict()))
    where = report.Source(folder / "dmi.nii.gz", None, None, folder / "out", False)
    quantify(where.dmi, where.out, estimator="fit", model=folder / "model.yaml")
    found = report.read(where)
    # what files of this test cannot hold comes from others: a nucleus, names that are not UTF-8, a network
    named, summary = SimpleNamespace(name=f"{text}\udcff"), found.summary | {"units": text}
    summary["settings"] |= {"estimator": text, "lambda": text}
    summary["weights"] = {"name": text, "sha256": text}
    summary["warnings"].append(text)
    summary["adapted"] = {"sentence": text, "files": []}
    summary["acquisition"] = {
        "header": {text: text},
        "given": {text: text},
        "assumed": [{"what": f"T1 of {text}", "sentence": text}],
    }
    summary["errors"]["how"] += text
    odd = replace(model, acquisition=replace(model.acquisition, nucleus=text))
    for name in result.files(summary):
        image = nib.load(where.out / name)
        image.header["descrip"] = text.encode("ascii", "replace")[:79]
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), None, image.header), where.out / name)
    shown = report.Source(named, named, named, where.out, False)
    return report.Report(shown, summary, replace(found.series, model=odd), found.result)


def page_of(found, folder, title):
    """The HTML of a notebook whose outputs are the texts of a report, as the shipped one shows them."""
    said = [
        found.source.sentence(),
        report_tables.about(found),
        report_tables.results(found),
        report_tables.warnings(found),
        report_tables.files(found),
    ]
    cells = []
    for text in said:
        shown = nbformat.v4.new_output("execute_result", {"text/markdown": text, "text/plain": "x"}, execution_count=1)
        cells.append(nbformat.v4.new_code_cell("x", outputs=[shown]))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "report.ipynb")
    return page.page(folder / "report.ipynb", title)


@pytest.fixture
def opened(browser, tmp_path):
    """Open a page from disk with scripts on; whether its script ran, what it asked for, and its text."""
    context = browser.new_context(java_script_enabled=True)

    def run(html):
        view, asked = context.new_page(), []
        view.on("requestfinished", lambda request: asked.append(request.url))
        view.on("requestfailed", lambda request: request.failure == "csp" or asked.append(request.url))
        view.on("dialog", lambda dialog: asked.append(dialog.message))
        view.add_init_script("window.ran = () => { document.documentElement.dataset.ran = 'yes' }")
        (tmp_path / "page.html").write_text(html, encoding="utf-8")
        address = (tmp_path / "page.html").as_uri()
        view.goto(address, wait_until="load")
        view.wait_for_timeout(100)
        ran = view.evaluate("document.documentElement.dataset.ran || ''")
        result = ran, [url for url in asked if url != address and not url.startswith("data:")], view.inner_text("body")
        assert view.evaluate("document.querySelectorAll('script, iframe, svg, body meta, body style').length") == 0
        assert view.url == address
        view.close()
        return result

    yield run
    context.close()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_runs_and_nothing_is_asked_for(opened, tmp_path, text):
    found = hostile_report(tmp_path, text)
    ran, asked, said = opened(page_of(found, tmp_path, f"Report on {text}\udcff"))
    assert (ran, asked) == ("", [])
    seen = "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))
    # title, three files, nucleus, two lines, estimator, network, lambda, prior, header, given and assumed by name and
    # value, metabolite, units, errors, warning
    assert " ".join(said.split()).count(seen) >= 21


def test_names_in_pictures_are_no_formulas(tmp_path):
    found = hostile_report(tmp_path, "$\\frac{a$")
    for figure in (figures.spectra, figures.quality, figures.concentrations, figures.flags):
        if made := figure(found):
            made.canvas.draw()
    plt.close("all")


def test_the_policy_alone_stops_what_would_run(opened):
    """Were a field forgotten: the page itself neither runs nor asks, and its pictures are there."""
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    asks = f"<img src={ELSEWHERE}.png onerror=ran()><a onclick=ran() id=a>x</a><link rel=stylesheet href={ELSEWHERE}>"
    html = f'<head><meta http-equiv="Content-Security-Policy" content="{page.POLICY}"></head><body>{asks}'
    ran, asked, _ = opened(html + f'<img id=p src="data:image/png;base64,{pixel}">')
    assert (ran, asked) == ("", [])


def test_every_page_has_the_policy(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A")]), tmp_path / "a.ipynb")
    html = page.page(tmp_path / "a.ipynb", "</title><script>ran()</script>")
    assert page.POLICY in html.partition("<style")[0]
    assert "<script" not in html


def test_foreign_files_in_the_folder_are_neither_shown_nor_read(tmp_path):
    found = hostile_report(tmp_path, "x")
    (found.source.out / "foreign.nii.gz").write_bytes(b"\x1f\x8bdamaged")
    (found.source.out / "conc_old.nii.gz").write_bytes(b"")
    assert "foreign" not in report_tables.files(found)
    assert "old" not in report_tables.files(found)


@pytest.mark.parametrize("what", ["no summary", "another summary", "no result"])
def test_results_that_are_not_whole_are_refused(tmp_path, what):
    found = hostile_report(tmp_path, "x")
    out, where = found.source.out, report.Source(tmp_path / "dmi.nii.gz", None, None, found.source.out, False)
    if what == "no summary":
        (out / "summary.json").unlink()
    elif what == "no result":
        (out / result.FILE).unlink()
    else:
        (out / "summary.json").write_text("{}\n")
    with pytest.raises(InputError, match="quantify again"):
        report.read(where)
