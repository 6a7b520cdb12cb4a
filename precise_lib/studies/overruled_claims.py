"""What is measured of the adaptive prior, as records under claims B7 and B8."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import xarray as xr

from precise_lib import show
from precise_lib.evaluate.claims import record
from precise_lib.evaluate.records import Record, format_value
from precise_lib.evaluate.tolerances import SYMBOLS, load_claims
from precise_lib.studies.overruled_figures import HIDDEN, SHOWN, best_peer, covered, kept, rmse
from precise_lib.studies.overruled_runs import of
from precise_lib.studies.peer_settings import oracle, shipped, total_rmse

BLIND = ("fit-tv", "fit-diffusion")  # peers that do not look at the MRI
FIGURE = "fig-overruled-"


def error(name: str, peers: xr.Dataset) -> Record:
    """RMSE tuned by itself over that of the best peer, in one table of peers."""
    picks, errors, rival = oracle(peers), total_rmse(peers), best_peer(peers)
    ratio = errors.sel(setting=shipped(peers)["adaptive"]) / errors.sel(setting=picks[rival])
    facts = {"snr": peers.attrs["snr"], "best peer": picks[rival]}
    return record(
        "B7", float(ratio), part=f"RMSE, {name}", parameters=facts, figure=f"{FIGURE}trade", note=f"best: {rival}"
    )


def pooled_error(own: Mapping, others: Mapping, name: str) -> Record:
    """The same over the objects that peers have met, each against its own best: root mean squares of both."""
    own = {seed: own[seed] for seed in others}
    rivals = [total_rmse(t).sel(setting=oracle(t)[best_peer(t)]) for t in others.values()]
    errors = [float(np.sqrt(np.mean(np.square(x)))) for x in ([rmse(run) for run in own.values()], rivals)]
    return record("B7", errors[0] / errors[1], part=f"RMSE, {name}", parameters={"seeds": list(own)})


def lesion(name: str, run: xr.Dataset, tumor: str = HIDDEN) -> Record:
    """Contrast of lactate over that of single voxels."""
    part = f"{'hidden' if tumor == HIDDEN else 'shown'} tumor, {name}"
    settings = {"spread_meaning": "95 % CI", "parameters": facts(run), "figure": f"{FIGURE}reach"}
    return record("B7", *kept(run, tumor), part=part, **settings)


def lesions(name: str, run: xr.Dataset) -> list[Record]:
    return [lesion(name, run, tumor) for tumor in (HIDDEN, SHOWN)]


def pure_noise(name: str, table: xr.Dataset, peers: xr.Dataset) -> list[Record]:
    """RMSE under an MRI of pure noise over the least that is known without MRI; nothing where that is not stored."""
    noise, none = (of(table, name, mri=kind) for kind in ("pure noise", "none"))
    if noise is None or none is None:
        return []
    errors, picks = total_rmse(peers), oracle(peers)
    least = min(rmse(none), *(float(errors.sel(setting=picks[p])) for p in BLIND))
    note = "over the least of this prior, total variation and diffusion without MRI"
    return [record("B7", rmse(noise) / least, part=f"pure-noise MRI, {name}", parameters=facts(none), note=note)]


def intervals(name: str, run: xr.Dataset) -> list[Record]:
    """Coverage of the 90 % intervals of one run: the object, lowest and highest metabolite; hidden tumor; borders."""
    whole, made = covered(run), []
    settings = {"spread_meaning": "95 % CI", "parameters": facts(run), "figure": f"{FIGURE}coverage"}
    for which, k in (("lowest", int(whole.values.argmin())), ("highest", int(whole.values.argmax()))):
        value, half, metabolite = float(whole[k]), float(1.96 * whole.se[k]), str(whole["metabolite"].values[k])
        made.append(record("B8", value, half, part=f"object, {which} metabolite, {name}", note=metabolite, **settings))
    for region, part in ((HIDDEN, "hidden tumor"), ("border", "border")):
        each = run["covered"].sel(region=region).mean("metabolite")
        half = float(1.96 * each.std("repeat", ddof=1) / np.sqrt(each.sizes["repeat"]))
        made.append(record("B8", float(each.mean()), half, part=f"{part}, {name}", **settings))
    return made


def alarms(name: str, run: xr.Dataset) -> Record:
    """Islands per data set of an object whose metabolism follows the MRI."""
    n = run.sizes["repeat"]
    error = float(run["islands"].std("repeat", ddof=1) / np.sqrt(n))
    settings = {"spread_meaning": "standard error", "parameters": facts(run)}
    return record("B8", float(run["islands"].mean()), error, part=f"false alarms, {name}", **settings)


def verdicts(records: Iterable[Record]) -> show.Markdown:
    """Table: objects down, what was measured across; value, half width or standard error, bound and verdict of each."""
    cells = {tuple(r.part.rsplit(", ", 1)): _cell(r) for r in records}
    heads, names = (list(dict.fromkeys(words)) for words in zip(*cells, strict=True))
    return show.table(["", *heads], [[name, *(cells.get((head, name), "") for head in heads)] for name in names])


def _cell(r: Record) -> str:
    bound = str(load_claims()[r.id].tolerance_of(r.part))
    return f"{SYMBOLS[r.verdict]}\N{NO-BREAK SPACE}{format_value(r.value, r.spread)} ({bound})"


def facts(run: xr.Dataset) -> dict:
    return {"data sets": run.sizes["repeat"]}
