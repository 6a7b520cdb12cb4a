"""The three ways in that the README names, as a newcomer takes them: its commands as they are written there.

Reading is `make book` and a page in a browser: `test_build` and `test_site` do that. Here are the other two.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from tests.helpers import ROOT, SHOWN

README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOK = "01_signal_and_phantom.ipynb"


def way(number: int) -> list[str]:
    """Commands of the first block of one of the ways, without remarks."""
    part = README.partition(f"**{number}. ")[2].partition("\n**")[0]
    block = re.search(r"```bash\n(.*?)```", part, re.DOTALL)[1]
    return [line.partition(" #")[0].strip() for line in block.splitlines() if line.strip()]


def test_the_readme_says_all_three_in_less_than_a_page():
    assert way(1) == ["make book"]
    assert way(2) == ["make lab"]
    assert any(line.startswith("precise quantify") for line in way(3))
    said = README.partition("## Three ways in")[2].partition("\n## ")[0]
    assert len(said.split()) < 350
    assert "not for clinical use" in README
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    # what the browser test below starts, and what `test_site` looks at
    assert re.search(r"^lab: env .*\n\t\$\(BIN\)/jupyter lab notebooks$", makefile, re.MULTILINE)
    assert "_build/html/index.html" in README


def test_own_file_as_the_readme_says(tmp_path):
    """Its block in a shell, in an empty folder; the package is there already, so `pip install` is left out."""
    install, *commands = way(3)
    assert install == 'pip install ".[sweep]"'
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    script = "\n".join(["set -e", *commands])
    run = ["bash", "-c", script]
    done = subprocess.run(run, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "maps" / "summary.json").read_text())
    assert summary["settings"]["estimator"] == "adaptive"
    assert all((tmp_path / "maps" / f"conc_{name}.nii.gz").is_file() for name in ("water", "Glc", "Glx", "Lac"))


# ---------------------------------------------------------------- JupyterLab in a browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """`jupyter lab` on a folder with one of the notebooks; address and token."""
    home = tmp_path_factory.mktemp("lab")
    folder = home / "notebooks"
    folder.mkdir()
    shutil.copy(ROOT / "notebooks" / NOTEBOOK, folder)
    own = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"IPYTHONDIR": str(home / "ipython"), "OMP_NUM_THREADS": "1"}
    options = ["--no-browser", "--port=0", "--allow-root", "--LabApp.expose_app_in_browser=True"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=None"]
    options += ["--LabApp.extension_manager=readonly"]
    command = [sys.executable, "-m", "jupyter", "lab", str(folder), *options]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, env=os.environ | own, stdout=log, stderr=log)
    try:
        for _ in range(600):
            time.sleep(0.2)
            found = list((home / "runtime").glob("jpserver-*.json"))
            if found or server.poll() is not None:
                break
        assert found, (home / "log").read_text()
        about = json.loads(found[0].read_text())
        yield about["url"], about["token"]
    finally:
        server.terminate()
        server.wait(30)


READY = """async () => {
  await jupyterapp.restored;
  const panel = jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
}"""
SHOW = """async n => {
  const notebook = jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = n;
  await notebook.scrollToItem(n);
}"""


def test_lab_runs_a_notebook_moves_a_slider_and_takes_another_number(lab, browser):
    address, token = lab
    cells = nbformat.read(ROOT / "notebooks" / NOTEBOOK, as_version=4).cells
    number = next(i for i, cell in enumerate(cells) if "parameters" in cell.metadata.get("tags", []))
    slider = next(i for i, cell in enumerate(cells) if "show.slider" in cell.source)
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(90_000)
    foreign = []

    def only_here(route):
        if route.request.url.startswith((address, "data:", "blob:")):
            return route.continue_()
        foreign.append(route.request.url)
        return route.abort()

    page.route("**/*", only_here)
    page.goto(f"{address}lab/tree/{NOTEBOOK}?token={token}")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.evaluate(READY)
    # change a parameter by hand: its cell is one of the first
    page.evaluate(SHOW, number)
    page.evaluate("jupyterapp.shell.currentWidget.content.activeCell.editor.focus()")
    page.keyboard.press("Control+a")
    changed = re.sub(r"snr_levels = \[.*?\]", "snr_levels = [9.3, 5.6]", cells[number].source)
    assert changed != cells[number].source
    page.keyboard.insert_text(changed)
    # what "Run All Cells" of the menu does
    assert page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
    for snr in ("9.3", "5.6"):  # head of the table of SNRs
        page.locator(".jp-OutputArea-output th").filter(has_text=snr).first.wait_for(state="attached")
    page.evaluate(SHOW, slider)
    handle = page.locator(".jupyter-widgets .noUi-handle").first
    handle.scroll_into_view_if_needed()
    before = page.evaluate(SHOWN)
    assert before
    handle.press("ArrowRight")
    page.wait_for_timeout(500)
    assert page.evaluate(SHOWN) != before, "the slider changes nothing"
    assert not foreign, "requests to another host"
    context.close()
