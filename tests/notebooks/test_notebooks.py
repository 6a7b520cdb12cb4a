"""The notebooks: clean as committed, and executed at smoke scale with what they measured asserted."""

import ast
import json
import math

import build
import nbformat
import pytest
import yaml

from tests.helpers import NOTEBOOKS, ROOT

BOUNDS = yaml.safe_load((ROOT / "tests/notebooks/bounds.yaml").read_text(encoding="utf-8"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def tagged_parameters(path):
    return [cell for cell in code_cells(path) if "parameters" in cell.metadata.get("tags", [])]


def names(source: str, context: type) -> set[str]:
    """Names that Python source reads (ast.Load) or sets (ast.Store); IPython's own syntax is left out."""
    lines = "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    nodes = ast.walk(ast.parse(lines))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def test_contents_list_every_notebook():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert NOTEBOOKS
    assert all(f"notebooks/{path.stem}" in toc for path in NOTEBOOKS)


@each_notebook
def test_committed_without_outputs(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert not [cell.source for cell in code_cells(path) if cell.outputs or cell.execution_count]


@each_notebook
def test_one_cell_of_parameters_all_of_them_used(path):
    (parameters,) = tagged_parameters(path)
    rest = "\n".join(cell.source for cell in code_cells(path) if cell is not parameters)
    read = set().union(*(names(c.source, ast.Load) for c in code_cells(path)))
    assert names(parameters.source, ast.Store) <= read, "a parameter that nothing reads"
    assert rest.strip()


@pytest.mark.parametrize("scale", sorted(p.stem for p in (ROOT / "notebooks/parameters").glob("*.yaml")))
def test_scales_name_parameters_that_exist(scale):
    settings = yaml.safe_load((ROOT / f"notebooks/parameters/{scale}.yaml").read_text(encoding="utf-8"))
    known = {path.stem: path for path in NOTEBOOKS}
    for stem, parameters in settings.items():
        (cell,) = tagged_parameters(known[stem])
        assert set(parameters) <= names(cell.source, ast.Store), stem


@each_notebook
def test_runs_from_top_to_bottom(path, executed):
    _, runs = executed
    assert runs[path.stem]["error"] is None


@each_notebook
def test_shows_no_warning(path, executed):
    """Progress bars are on stderr, too, in cells whose output the page leaves out."""
    folder, runs = executed
    cells = code_cells(folder / "cache" / path.stem / runs[path.stem]["key"] / "notebook.ipynb")
    shown = [cell for cell in cells if "remove-output" not in cell.metadata.get("tags", [])]
    assert not [out.text for cell in shown for out in cell.outputs if out.get("name") == "stderr"]


def bounds_of(stem: str, record: dict) -> tuple[float, float] | None:
    """The bounds for one record: those of its part, of the part's first words, or of the whole claim.

    Those of the reading of its SNR go first.
    """
    part = record.get("part")
    wanted = [f"{record['id']} {part}", f"{record['id']} {part.split(',')[0]}"] if part else []
    wanted += [record["id"]]
    wanted = [f"{name} ({record.get('reading')})" for name in wanted] + wanted
    return next((BOUNDS[stem][name] for name in wanted if name in BOUNDS.get(stem, {})), None)


@each_notebook
def test_measures_what_is_plausible(path, executed):
    folder, runs = executed
    cache = folder / "cache" / path.stem / runs[path.stem]["key"] / "records"
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(cache.glob("*.json"))]
    missing = set(BOUNDS.get(path.stem, {})) - {
        name
        for r in records
        for named in (r["id"], f"{r['id']} {r.get('part')}", f"{r['id']} {str(r.get('part')).split(',')[0]}")
        for name in (named, f"{named} ({r.get('reading')})")
    }
    assert not missing, "claims that have bounds here and were not recorded"
    for record in records:
        assert record["notebook"] == path.stem
        assert record["scale"] == "smoke"
        value = record.get("value")
        if isinstance(value, int | float) and not isinstance(value, bool):
            name = f"{record['id']} {record.get('part') or ''}".strip()
            assert math.isfinite(value), name
            low, high = bounds_of(path.stem, record) or (None, None)
            assert low is not None, f"{name} = {value}: add its bounds to bounds.yaml"
            assert low <= value <= high, name


def test_the_executor_is_the_only_one():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["execute"]["execute_notebooks"] == "off"
    assert build.CELL_TIMEOUT_S > 0
