"""What is read from estimates over truth of many simulated 1H spectra; pages 19 and 20.

`found` is the Dataset of `denoised.quantified` or `quantification.compared`: `truth` (spectrum, metabolite) and
`estimate` (source, spectrum, metabolite), in mM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from scipy.stats import norm

from precise_lib import show
from precise_lib.evaluate import regression
from precise_lib.evaluate.montecarlo import bootstrap_interval
from precise_lib.proton import scores
from precise_lib.proton.brain import BLIND_RMSE_MM, LARGEST_MM, METABOLITES

TRIO = ("sI", "NAAG", "NAA")  # the paper's examples of a weak, a middling and a strong metabolite


def lines(found: xr.Dataset) -> dict[str, xr.Dataset]:
    """By source, the regression of its estimates on the truth (`regression.line`)."""
    return {s: regression.line(found.truth, e, METABOLITES) for s, e in _by_source(found).items()}


def shares(found: xr.Dataset) -> dict[str, xr.Dataset]:
    """By source, the shares of its estimates in parts of the range (`scores.marginals`)."""
    return {s: scores.marginals(e, LARGEST_MM, METABOLITES) for s, e in _by_source(found).items()}


def _by_source(found: xr.Dataset) -> dict[str, np.ndarray]:
    return {str(s): found.estimate.sel(source=s).values for s in found.source.values}


def rmse_ratio(found: xr.Dataset, source: str, over: str) -> xr.Dataset:
    """`scores.rmse_ratio` of two sources, on the same spectra."""
    own = _by_source(found)
    return scores.rmse_ratio(found.truth.values, own[over], own[source], METABOLITES)


def slope_change(found: xr.Dataset, source: str, to: str) -> xr.Dataset:
    """`scores.slope_change` from one source to another, on the same spectra."""
    own = _by_source(found)
    return scores.slope_change(found.truth.values, own[source], own[to], METABOLITES)


def lower_slopes(found: xr.Dataset, source: str, than: str) -> int:
    """Number of metabolites whose slope is lower with one source than with another (95 %, paired)."""
    return int((slope_change(found, than, source).change_high < 0).sum())


def worse(found: xr.Dataset, names: Sequence[str], source: str, than: str) -> list[str]:
    """Those of the metabolites whose RMSE is larger with one source than with another (95 %, paired)."""
    low = rmse_ratio(found, source, than).ratio_low
    return [m for m in names if float(low.sel(metabolite=m)) > 1]


def middle_third(found: xr.Dataset, source: str, name: str = "sI") -> tuple[float, tuple[float, float]]:
    """Share of the estimates of a metabolite in the middle third of its range, and its 95 % interval."""
    part = found.estimate.sel(source=source, metabolite=name).values / float(LARGEST_MM.sel(metabolite=name))
    inside = ((part > 1 / 3) & (part < 2 / 3)).astype(float)
    return float(inside.mean()), tuple(float(v) for v in bootstrap_interval(np.mean, inside))


def squared_error(found: xr.Dataset, least: str) -> xr.Dataset:
    """By source: `error`, the mean squared error over metabolites in units of their largest concentration, squared;
    `beyond` that of the source `least`; and `distance`, the mean square of what it differs from that source by.
    """
    part, truth = found.estimate / LARGEST_MM, found.truth / LARGEST_MM
    each = ("spectrum", "metabolite")
    error = ((part - truth) ** 2).mean(each)
    distance = ((part - part.sel(source=least, drop=True)) ** 2).mean(each)
    return xr.Dataset({"error": error, "beyond": error - error.sel(source=least, drop=True), "distance": distance})


def normal_middle(share):
    """Share in the middle third of estimates spread normally around its center, keeping this share of the variance."""
    return 2 * norm.cdf(1 / np.sqrt(3 * share)) - 1


def predicted(best: xr.Dataset, share: xr.Dataset, names: Sequence[str] = TRIO) -> show.Markdown:
    """Table of an estimate of least error: its line and its shares, and what theory makes of its slope alone."""
    head = ["", "slope $b$", "RMSE / blind guess", "$\\sqrt{1 - b}$", "middle third", "normal approximation"]
    rows = []
    for name in names:
        b, rmse = (float(best[v].sel(metabolite=name)) for v in ("slope", "rmse"))
        relative = rmse / float(BLIND_RMSE_MM.sel(metabolite=name))
        middle = float(share.middle_third.sel(metabolite=name))
        rows.append([name, b, relative, np.sqrt(1 - b), middle, normal_middle(b)])
    return show.table(head, rows)


def slopes(regressions: Mapping[str, xr.Dataset], names: Sequence[str] = TRIO) -> list[list]:
    """Rows of a table: each source with its slopes of some metabolites."""
    return [[s, *(float(line.slope.sel(metabolite=m)) for m in names)] for s, line in regressions.items()]
