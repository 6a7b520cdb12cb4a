"""Keep the cell that installs the package on a fresh machine in every notebook: ``make launch``.

Colab opens a notebook alone, without the package beside it, so the first cell of code must install it, from the address
that CITATION.cff gives as ``repository-code``. Without an address there is nothing to install from, and the notebooks
carry no such cell. Where the package is installed the cell does nothing.
"""

from pathlib import Path

import citation
import nbformat

ROOT = Path(__file__).resolve().parent.parent
TAGS = ["install", "remove-cell"]  # not shown on the site
SOURCE = """# On a fresh machine, such as Colab, this installs the package; where it is installed, it does nothing.
from importlib.util import find_spec

if find_spec("precise_lib") is None:
    get_ipython().run_line_magic("pip", "install --quiet 'precise-lib[studies] @ git+{address}@{branch}'")"""


def with_install(notebook: nbformat.NotebookNode, address: str | None) -> nbformat.NotebookNode:
    """The notebook with the cell for this address as its first cell of code; without any for None."""
    cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", [])]
    if address:
        source = SOURCE.format(address=address, branch=citation.BRANCH)
        cell = nbformat.v4.new_code_cell(source, id="install", metadata={"tags": list(TAGS)})
        first = next((n for n, other in enumerate(cells) if other.cell_type == "code"), len(cells))
        cells.insert(first, cell)
    notebook.cells = cells
    return notebook


def main() -> None:
    """Bring every notebook in line with CITATION.cff."""
    address = citation.read(ROOT)["repository"]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        nbformat.write(with_install(nbformat.read(path, as_version=4), address), path)
    print(f"The notebooks install the package from {address}." if address else "CITATION.cff has no repository-code.")


if __name__ == "__main__":
    main()
