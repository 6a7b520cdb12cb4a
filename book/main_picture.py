"""Copy the overview figure of the executed notebook 03 to ``book/_static/main.png``, for README and landing page."""

import base64
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
LABEL = "fig-overview"


def main(executed: Path) -> None:
    """`executed` is the notebook as papermill left it."""
    for cell in nbformat.read(executed, as_version=4).cells:
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == LABEL:
            (picture,) = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
            (ROOT / "book/_static/main.png").write_bytes(base64.b64decode(picture))
            return
    raise SystemExit(f"{executed} has no executed figure {LABEL}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "_build/src/notebooks/03_sve_vs_fourier.ipynb")
