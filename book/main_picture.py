"""Make the two figures of README and landing page in ``book/_static``.

The first is copied from its executed notebook, the second drawn from the stored results.
"""

import base64
import sys
from pathlib import Path

import nbformat

from precise_lib import show
from precise_lib.io.shipped import data_path
from precise_lib.studies import overruled_runs, peer_cases
from precise_lib.studies.lesion_figure import plot_lesions

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "book" / "_static"
NOTEBOOK, LABEL = "03_sve_vs_fourier", "fig-overview"
OBJECT = "human"  # the simulated object that is most like a patient


def copy_gain(executed: Path) -> None:
    """`executed` is the folder of notebooks as papermill left them."""
    for cell in nbformat.read(executed / f"{NOTEBOOK}.ipynb", as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == LABEL:
            (picture,) = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
            (STATIC / "main.png").write_bytes(base64.b64decode(picture))
            return
    raise SystemExit(f"{NOTEBOOK} has no executed figure {LABEL}")


def draw_lesions() -> None:
    show.use_style()
    peers, own = (module.load(data_path("results")) for module in (peer_cases, overruled_runs))
    plot_lesions(OBJECT, peers[OBJECT], own).savefig(STATIC / "lesions.png", dpi=150)


if __name__ == "__main__":
    draw_lesions()
    copy_gain(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "_build/src/notebooks")
