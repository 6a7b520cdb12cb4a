"""The notebooks: clean as committed, and executed at smoke scale with what they measured asserted."""

import ast
import json
import math

import build
import nbformat
import pytest
import yaml

from tests.helpers import NOTEBOOKS, ROOT

# Plausible bounds of what each notebook records at smoke scale, {notebook: {claim: (low, high)}}. A claim is
# named "P4" or, where it has parts, "P4 SVE"; the bounds of "P4 SVE" hold for "P4 SVE, SNR 12" too. They are
# wide enough for few repetitions, and narrow enough that a broken estimator leaves them.
BOUNDS: dict[str, dict[str, tuple[float, float]]] = {
    "02_train_sve": {"P15 training (min)": (0.5, 17)},
    "03_sve_vs_fourier": {
        "P1": (1.45, 1.95),
        "P2": (18, 23),
        "P4 fit": (0.93, 1.07),
        "P4 SVE": (0.93, 1.07),
        "P4 matched network": (0.93, 1.1),
        "P4 paper's recipe": (1.05, 1.6),
        "P5 per-voxel fit": (80, 5000),
        "P5 vectorized fit": (3, 100),
        "P7": (8, 35),
        "P18": (4.1, 5.5),
    },
    "04_in_vivo_2h": {"B5 real voxel": (0, 2), "B5 coverage on the real voxel": (0.88, 0.98)},
    "05_lambda_tradeoff": {
        "P3": (2.5, 3.6),
        "P9 contrast of B at 0.04": (0.3, 0.48),
        "P9 contrast of B at 0.004": (0.7, 0.95),
    },
    "07_exact_edge_preserving": {"P15 fine-tuning (s)": (0, 31)},
    "08_estimated_errors": {"P10 SD": (-0.05, 1), "P10 bias": (0.15, 0.7)},
    "09_choose_lambda": {"B6 Stein's estimate": (0, 2), "B6 cross-validation": (3, 40)},
    "10_field_inhomogeneity": {"P8": (0.9, 1.12)},
    "11_prior_or_network": {"P6 with noiseless": (0, 13), "P6 without noiseless": (2, 19), "B3": (0.5, 1.2)},
    "12_other_metabolites": {"P16": (0.95, 1.08)},
    "13_high_resolution": {
        "P12 noise of PRECISE over fit": (0.3, 0.5),
        "P12 noise at 0.04 over 0.01": (0.35, 0.7),
        "P12 tumor bias at 0.04 over 0.01": (1.8, 3.5),
        "P12 tumor bias of erased over shown": (1.05, 1.3),
        "P12 Lac/Glx of the erased tumor over the truth": (0.4, 0.7),
        "P10 SD": (0.5, 1),
        "P10 bias": (0.6, 1),
    },
    "14_short_scan": {
        "P13 mean over the brain": (0.55, 0.85),
        "P13 median of the voxels": (0.55, 0.9),
        "P14 outliers left at 10 %": (0.6, 1.05),
        "P14 outliers left at 20 %": (0.2, 0.6),
        "P14 tumor contrast kept at 20 %": (0.6, 0.9),
    },
    "15_human_brain": {
        "B5 fit": (0.93, 1.07),
        "B5 CNN": (0.93, 1.08),
        "B5 gray-white contrast of Glx": (0.3, 0.65),
        "B5 lesions": (0.4, 3),
        "B5 what the MRI adds": (-0.05, 0.7),
        "B5 human anatomy": (0.4, 0.8),
    },
    "16_peers": {"B4 rings": (0.8, 1.5), "B4 rat": (0.3, 1.3), "B4 human": (0.3, 1.5)},
    "17_simulated_1h_brain": {"M4 strong metabolites": (0.88, 1.12), "M9": (0.9, 1.1)},
    "18_denoising_unets": {
        "M1 1D": (0.054, 0.14),
        "M1 2D": (0.028, 0.07),
        "M2": (0.1, 0.3),
        "M3 1D": (0.18, 0.5),
        "M3 2D": (0.14, 0.5),
    },
    "19_quantification_after_denoising": {
        "M5 metabolites with lower slope": (7, 16),
        "M5 slope of sI": (-0.1, 0.45),
        "M5 slope of NAA": (0.92, 1.05),
        "M6": (0, 0.45),
        "M7": (0.5, 1),
        "M8 1D, lowest": (0.15, 0.6),
        "M8 2D, lowest": (0.15, 0.6),
        "M8 1D, highest": (0.8, 1.9),
        "M8 2D, highest": (0.8, 1.9),
    },
    "21_bias_vs_snr": {
        "M10 1D": (1.0, 2.6),
        "M10 1D largest": (1.2, 4),
        "M10 2D": (0.9, 2),
        "M10 2D largest": (1.0, 3),
        "M10 noisy": (1.8, 4.5),
        "M10 Cramér-Rao bound": (3, 5),
        "M10 best linear estimate": (1.05, 1.5),
    },
    "22_in_vivo_1h": {
        "B5 real 1H spectrum, fit": (0.85, 1.15),
        "B5 real 1H spectrum, 1D": (-0.2, 0.5),
        "B5 real 1H spectrum, 2D": (-0.2, 0.5),
    },
    "23_proton_precise": {
        "P17 with the terms, SD / CRLB": (0.95, 1.5),
        "P17 with the terms, bias in % of the amplitude": (-8, 8),
        "P17 blind to lipids, bias in %": (20, 80),
        "P17 blind to the baseline, bias in %": (10, 40),
        "P17 blind to the lineshape, bias in %": (3, 15),
        "P17 RMSE near the rim, without the terms over with": (1.2, 8),  # six voxels decide it
        "P17 RMSE in the brain, PRECISE over SVE with the terms": (0.5, 0.95),
        "P17 bias that the prior carries across the skull": (0, 3),
    },
    "24_is_precise_a_mirage": {
        "B1 SVE at SNR 12 to 40": (0.97, 1.03),
        "B1 SVE at SNR 5 to 10": (0.93, 1.07),
        "B1 posterior mean minus prediction": (-0.1, 0.1),
        "B1 PRECISE minus closed form": (-0.08, 0.08),
        "B1 not shown by the MRI": (0.54, 0.6),
        "B1 shown by the MRI": (0.75, 0.97),
        "B1 paper's recipe": (0.6, 0.97),
        "B1 training range": (0.68, 0.88),
        "B1 contrast to noise": (0.93, 1.03),
    },
    "20_quantification_networks": {
        "M11 metabolites with lower slope": (6, 16),
        "M11 slope of sI": (0, 0.6),
        "M11 sI in the middle third": (0.4, 1),
        "M11 strong metabolites better fitted": (0, 5),
    },
}

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


def bounds_of(stem: str, record: dict) -> tuple[float, float] | None:
    """The bounds for one record: those of its part, of the part's first words, or of the whole claim."""
    part = record.get("part")
    wanted = [f"{record['id']} {part}", f"{record['id']} {part.split(',')[0]}"] if part else []
    return next((BOUNDS[stem][name] for name in [*wanted, record["id"]] if name in BOUNDS.get(stem, {})), None)


@each_notebook
def test_measures_what_is_plausible(path, executed):
    folder, runs = executed
    cache = folder / "cache" / path.stem / runs[path.stem]["key"] / "records"
    records = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(cache.glob("*.json"))]
    missing = set(BOUNDS.get(path.stem, {})) - {
        name
        for r in records
        for name in (r["id"], f"{r['id']} {r.get('part')}", f"{r['id']} {str(r.get('part')).split(',')[0]}")
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
            assert low is not None, f"{name} = {value}: add its bounds to BOUNDS"
            assert low <= value <= high, name


def test_the_executor_is_the_only_one():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["execute"]["execute_notebooks"] == "off"
    assert build.CELL_TIMEOUT_S > 0
