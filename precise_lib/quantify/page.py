"""A report on one data set as a page that needs no other file and no network: the work of ``precise report``."""

from __future__ import annotations

import html
import re
from pathlib import Path

from precise_lib import NOTICE, estimate
from precise_lib.errors import InputError, printable
from precise_lib.io.atomic import alone, staged
from precise_lib.io.shipped import notebook_path
from precise_lib.quantify import proposed, result
from precise_lib.quantify.report import SIMULATED, plain
from precise_lib.run import notebooks

NOTEBOOK = "your_data.ipynb"
BOOK_ONLY = "book"  # tag of cells that speak of the book
# nbconvert's own page without what it loads from other hosts (formulas, widgets, diagrams, of which there are none);
# nothing in it can run or ask for anything, whatever text reaches it
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
TEMPLATE = (
    """{% extends 'lab/index.html.j2' %}
{% block html_head_js %}<meta http-equiv="Content-Security-Policy" content="POLICY">{% endblock %}
{% block html_head_js_mathjax %}{% endblock %}
{% block html_head_js_mermaidjs %}{% endblock %}
"""
).replace("POLICY", POLICY)


NAMED = ("mri", "mask", "lam", "model", "estimator")  # parameters of the notebook; other options are a mapping


def make(dmi, out, overwrite=True, **options) -> Path:
    """Quantify a data set by running the notebook ``your_data`` on it; path of ``report.html``.

    Takes the options of `quantify.quantify`; a `dmi` of `report.SIMULATED` is the simulated example. The notebook may
    run an estimator that `estimate.load` has loaded. Maps, ``report.ipynb`` and ``report.html`` go into `out`.
    `InputError` where papermill or nbconvert is missing, the input cannot be quantified or another process writes to
    `out`, RuntimeError where another cell failed: if the notebook ran, ``failed.ipynb`` is then in `out`; an earlier
    report is as it was.
    """
    notebooks.require("papermill", "ipykernel", "nbconvert", extra="sweep")
    given = {name: _literal(value) for name, value in options.items() if value is not None}
    parameters = {name: str(given.pop(name)) for name in NAMED if name in given} | {"dmi": str(dmi), "out": str(out)}
    parameters |= {"options": given} if given else {}
    estimator, mask = parameters.get("estimator"), parameters.get("mask")
    for path in (str(dmi), parameters.get("mri"), None if mask == proposed.NONE else mask):
        if path is not None and path != SIMULATED and not Path(path).is_file():
            raise InputError(f"There is no file {path}: check its name.")
    if not overwrite:
        result.check_free(out)
    out = Path(out)
    known = estimator is not None and estimator in estimate.names()
    allowed = {estimate.ALLOWED: estimator} if known and ":" in estimator else None
    busy = f"Another process writes a report to {out}: wait for it, or give another folder."
    with alone(out / ".report.lock", busy), staged(out) as work:
        executed = work / "report.ipynb"
        failure = notebooks.execute(notebook_path(NOTEBOOK), executed, parameters, allowed)
        if not failure:
            (work / "report.html").write_text(page(executed, f"Report on {Path(dmi).name}"), encoding="utf-8")
        elif executed.is_file():
            executed.rename(work / "failed.ipynb")
    if failure:
        kept = f" (the notebook up to there: {out / 'failed.ipynb'})"
        if failure.name == "InputError":
            raise InputError(failure.message.strip().rstrip(".") + kept + ".")
        raise RuntimeError(f"The report stopped: {failure}{kept}.")
    (out / "failed.ipynb").unlink(missing_ok=True)
    return out / "report.html"


def _literal(value):
    """A value as a notebook takes it: a path as text."""
    return str(value) if isinstance(value, Path) else value


def page(executed, title: str) -> str:
    """HTML of an executed notebook: text and pictures without code, captions under figures, nothing from outside."""
    import nbformat
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    notebook.cells = [cell for cell in notebook.cells if BOOK_ONLY not in cell.metadata.get("tags", [])]
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(f"# {plain(title)}\n\n*{NOTICE}*"))
    notebook.metadata["title"] = printable(title)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":  # other pages of the book are not beside this one
            cell.source = re.sub(r"\[([^\]]*)\]\((?!https?:)[^)]*\)", r"\1", cell.source)
        about = cell.metadata.get("mystnb", {})
        alt, caption = about.get("image", {}).get("alt"), about.get("figure", {}).get("caption")
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            if picture:
                output.data = {"text/html": _figure(picture, alt or printable(title), caption)}
    exporter = HTMLExporter(raw_template=TEMPLATE, exclude_input=True)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = exporter.exclude_anchor_links = True
    return exporter.from_notebook_node(notebook)[0]


def _figure(picture: str, alt: str, caption: str | None) -> str:
    """A picture (base64) with its description and caption."""
    image = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{picture.strip()}" style="max-width:100%">'
    below = f"<figcaption><em>{html.escape(caption)}</em></figcaption>" if caption else ""
    return f'<figure style="margin:0">{image}{below}</figure>'
