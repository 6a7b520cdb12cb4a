"""Copy figures of the executed notebooks to ``book/_static``, for README and landing page."""

import base64
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PICTURES = {  # file -> notebook, figure
    "main.png": ("03_sve_vs_fourier", "fig-overview"),
    "trade.png": ("25_when_the_mri_is_wrong", "fig-overruled-trade"),
}


def main(executed: Path) -> None:
    """`executed` is the folder of notebooks as papermill left them."""
    for file, (notebook, label) in PICTURES.items():
        for cell in nbformat.read(executed / f"{notebook}.ipynb", as_version=4).cells:
            if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == label:
                (picture,) = [o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {})]
                (ROOT / "book/_static" / file).write_bytes(base64.b64decode(picture))
                break
        else:
            raise SystemExit(f"{notebook} has no executed figure {label}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "_build/src/notebooks")
