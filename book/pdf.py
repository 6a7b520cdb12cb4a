"""Print the book into one PDF: what ``make pdf`` runs, after ``make book``.

The staged sources become one long page, Chromium opens it, waits for its equations and pictures, and
prints it. Nothing of the site in ``_build/html`` is touched.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
ROOT = Path(__file__).resolve().parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NO_BROWSER = "The PDF was not made: it needs Chromium on the path, and there is none."
NO_SOURCES = "The PDF was not made: there are no sources of the book yet; run `make book` first."
FLAGS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync")
WAIT_MS = 300_000  # for every equation of the book
READY = """async () => {
  await window.MathJax?.startup?.promise;
  await Promise.allSettled([...document.images].map((image) => image.decode()));
}"""
MARGIN = {"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"}


def with_stills(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with every slider replaced by the picture in the middle of its range: paper does not move."""
    models = notebook.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})

    def pictures(name: str) -> list[str]:
        state = models[name]["state"]
        own = [state["value"]] if models[name]["model_name"] == "HTMLModel" else []
        return own + [p for child in state.get("children", []) for p in pictures(child.removeprefix("IPY_MODEL_"))]

    for output in [o for cell in notebook.cells for o in cell.get("outputs", []) if VIEW in o.get("data", {})]:
        shown = pictures(output.data[VIEW]["model_id"])
        picture = shown[len(shown) // 2]
        alt = re.search(r'alt="([^"]*)"', picture)
        note = f"One of the {len(shown)} pictures of a slider: {alt[1]}." if alt else "One position of a slider."
        output.data = {"text/html": f"{picture}<p>{note}</p>"}
    return notebook


def one_page(source: Path, out: Path) -> Path:
    """The staged sources as one HTML page below `out`."""
    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(source, out / "src")
    for path in sorted((out / "src" / "notebooks").glob("*.ipynb")):
        nbformat.write(with_stills(nbformat.read(path, as_version=4)), path)
    command = [jupyter_book, "build", out / "src", "--path-output", out, "--builder", "singlehtml", "--quiet"]
    subprocess.run(command, check=True)
    folder = out / "_build" / "singlehtml"
    page = next(path for path in (folder / "book" / "index.html", folder / "index.html") if path.is_file())
    if page.parent != folder:  # it speaks of its pictures and scripts as if it lay one folder up
        page = page.replace(folder / "book.html")
    return page


def print_page(browser, page: Path, pdf: Path) -> Path:
    """Print one page on A4 by a browser of Playwright's; the file appears whole or not at all."""
    part = pdf.with_suffix(".part.pdf")
    sheet = browser.new_page(color_scheme="light")
    sheet.goto(page.as_uri(), wait_until="load", timeout=WAIT_MS)
    sheet.evaluate(READY)
    sheet.pdf(path=part, format="A4", margin=MARGIN, outline=True, tagged=True)
    sheet.close()
    return part.replace(pdf)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=ROOT / "_build" / "src", help="staged sources of the book")
    parser.add_argument("--out", type=Path, default=ROOT / "_build" / "pdf", help="folder that gets book.pdf")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        print(NO_BROWSER)
        return
    if not (options.source / "_toc.yml").is_file():
        sys.exit(NO_SOURCES)
    from playwright.sync_api import sync_playwright

    page = one_page(options.source.resolve(), options.out.resolve())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=[*FLAGS])
        print(f"The book is at {print_page(browser, page, options.out.resolve() / 'book.pdf')}")
        browser.close()


if __name__ == "__main__":
    main()
