"""Claims M5 to M8, M11 and M13, recorded from estimates over truth under one reading of the SNR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from precise_lib.evaluate import claims
from precise_lib.evaluate.records import Record
from precise_lib.proton.brain import BLIND_RMSE_MM, METABOLITES
from precise_lib.proton.weights import Trained
from precise_lib.studies import quantified

SMALLER = "smaller networks, trained for less long than the paper's"
STRONG = ("NAA", "tCr", "tCho", "mI", "Glu")  # claim M13
SPREAD = {"spread_meaning": "95 % interval"}


def after_denoising(
    found: xr.Dataset, networks: Mapping[str, Trained], weak: Sequence[str], reading: str, parameters: Mapping
) -> list[Record]:
    """M5 to M8 of each network: slopes, gross overestimates of the `weak`, the middle third, and the RMSE ratio."""
    kept, lines = [], quantified.lines(found)
    for s, net in networks.items():
        card = {**parameters, "network": net.name, "weights": net.hash[:12]}
        terms = {"parameters": card, "differs": SMALLER, "reading": reading, "figure": "fig-quantified-slopes"}
        fell = quantified.lower_slopes(found, s, "noisy")
        kept.append(claims.record("M5", fell, part=f"metabolites with lower slope, {s}", **terms))
        for m in ("sI", "NAA"):
            line = lines[s].sel(metabolite=m)
            ends = float(line.slope_low), float(line.slope_high)
            kept.append(claims.record("M5", float(line.slope), ends, part=f"slope of {m}, {s}", **terms, **SPREAD))
        terms |= SPREAD | {"figure": "fig-quantified-range"}
        over = quantified.overestimates(found, s, weak)
        kept.append(claims.record("M6", over[0], over[1:], part=s, **terms))
        kept.append(claims.record("M7", *quantified.middle_third(found, s), part=s, **terms))
        kept += _rmse_extremes(found, s, lines["noisy"], terms)
    return kept


def _rmse_extremes(found: xr.Dataset, source: str, noisy: xr.Dataset, terms: dict) -> list[Record]:
    """M8: the lowest and the highest ratio of the RMSE after over that before denoising."""
    ratio, kept = quantified.rmse_ratio(found, source, "noisy"), []
    for place, k in {"lowest": int(ratio.ratio.values.argmin()), "highest": int(ratio.ratio.values.argmax())}.items():
        r, guess = ratio.isel(metabolite=k), float((BLIND_RMSE_MM / noisy.rmse)[k])
        blind = f"the range: half the largest concentration, said without a spectrum, has {guess:.2f}"
        blind += " of the RMSE of the noisy fit"
        why = blind if place == "lowest" else f"an error of the network's own ({SMALLER})"
        shown = terms | {"differs": why, "note": METABOLITES[k], "part": f"{source}, {place}"}
        kept.append(claims.record("M8", float(r.ratio), (float(r.ratio_low), float(r.ratio_high)), **shown))
    return kept


def of_networks(
    found: xr.Dataset, kinds: Mapping[str, str], strong: Sequence[str], parameters: Mapping
) -> list[Record]:
    """M11 of the networks on noisy spectra, `kinds` "1D" or "2D" -> source, against the non-negative fit."""
    lines, fit, kept = quantified.lines(found), quantified.FIT, []
    terms = {"parameters": dict(parameters), "reading": "signal"}
    better = {s: quantified.worse(found, strong, s, fit) for s in kinds.values()}
    lost = len(quantified.worse(found, strong, "posterior mean", fit))
    own = f"of {len(strong)}; the posterior mean loses {lost} of them to the fit: what more a network loses is its own"
    for kind, s in kinds.items():
        si = lines[s].sel(metabolite="sI")
        measured = {
            ("metabolites with lower slope", "fig-networks-slopes"): (quantified.lower_slopes(found, s, fit),),
            ("slope of sI", "fig-networks-slopes"): (float(si.slope), (float(si.slope_low), float(si.slope_high))),
            ("sI in the middle third", "fig-networks-truth"): quantified.middle_third(found, s),
            ("strong metabolites better fitted", "fig-networks-excess"): (len(better[s]),),
        }
        for (name, figure), values in measured.items():
            about = terms | SPREAD | {"differs": SMALLER, "figure": figure, "part": f"{name}, {kind}"}
            kept.append(claims.record("M11", *values, **about, note=own if name.startswith("strong") else None))
    holds = min(map(len, better.values())) > len(strong) / 2
    counts = "; ".join(f"{s}: {', '.join(better[s]) or 'none'}" for s in kinds.values())
    which = "lose do not show that networks of the paper's size must"
    terms |= {"note": f"small networks that {which if holds else 'do not lose show that networks need not'}"}
    text, part = f"smaller RMSE with the fit, of {len(strong)}: {counts}", "fit better for strong metabolites"
    return [*kept, claims.record("M11", text, part=part, holds=holds, figure="fig-networks-excess", **terms)]


def of_denoised_networks(found: xr.Dataset, kinds: Mapping[str, tuple[str, str]], parameters: Mapping) -> list[Record]:
    """M13: `kinds` "1D" or "2D" -> sources on noisy and on denoised spectra."""
    kept = []
    for kind, (noisy, denoised) in kinds.items():
        terms = {
            "parameters": dict(parameters),
            "reading": "signal",
            "differs": SMALLER,
            "figure": "fig-networks-after",
        }
        ratio = quantified.median_ratio(found, denoised, noisy)
        kept.append(claims.record("M13", *ratio, part=f"RMSE, denoised over noisy input, {kind}", **terms, **SPREAD))
        names = quantified.worse(found, STRONG, denoised, quantified.FIT)
        note, part = ", ".join(names) or "none", f"strong metabolites better fitted, {kind}"
        kept.append(claims.record("M13", len(names), part=part, note=note, **terms))
        change = quantified.slope_change(found, noisy, denoised).change
        note, part = "median of 16 metabolites", f"slope, denoised minus noisy input, {kind}"
        kept.append(claims.record("M13", float(change.median()), part=part, note=note, **terms))
    return kept
