"""Trainings of the paper's CNN by one recipe, from several seeds: what differs between them is chance."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from precise_lib import show
from precise_lib.errors import InputError
from precise_lib.estimate.weights import SveModel, load_weights
from precise_lib.evaluate.accuracy import SNRS, typical_amplitudes
from precise_lib.evaluate.claims import read_records
from precise_lib.evaluate.repeated import repeated
from precise_lib.evaluate.tolerances import load_claims
from precise_lib.evaluate.trainings import FILE
from precise_lib.io.atomic import write_text
from precise_lib.io.shipped import data_path
from precise_lib.run import notebooks
from precise_lib.signal.model import SignalModel

FIRST = "dmi_11t7_cnn"  # the one that pages use
# what is judged by it, and which parts of these; times depend on the layers alone
JUDGED = dict.fromkeys(("P1", "P2", "P3", "P7", "P8", "P9", "P11", "P18")) | {"P4": "SVE", "P6": "with noiseless"}
GOALS = {"Glx": 1.05, "all lines": 1.08, "bias": 1.0}  # from SNR 12 up


def others() -> list[str]:
    """Names of the other trainings, which end in their seeds; for this comparison only."""
    return sorted(path.stem for path in data_path("weights", "studies").glob(f"{FIRST}_*.safetensors"))


def networks() -> dict[str, SveModel]:
    """All by "seed N", the first one first."""
    found = [load_weights(FIRST), *(load_weights(_path(name)) for name in others())]
    return {f"seed {net.card.config.seed}": net for net in found}


class Mean:
    """Mean of the estimates of several networks: what they share of their error remains."""

    def __init__(self, networks: Iterable[SveModel]):
        self.networks = list(networks)

    def amplitudes(self, fids, model: SignalModel | None = None) -> np.ndarray:
        """Amplitudes (V, M) of FIDs (V, t)."""
        return np.mean([net.amplitudes(fids, model) for net in self.networks], 0)


def recipe(trained: dict[str, SveModel]) -> show.Markdown:
    """One sentence on how the CNN was trained, from its cards."""
    card = next(iter(trained.values())).card
    c, minutes = card.config, [net.card.wall_time_s / 60 for net in trained.values()]
    schedule = {"one_cycle": "rises to it and falls to zero", "constant": "stays there"}[c.schedule]
    optimizer = {"adam": "Adam", "muon": "Muon for the FC layers and Adam for the rest, both"}[c.optimizer]
    million, each = c.iterations * c.batch_size / 1e6, ", ".join(f"{m:.0f}" for m in minutes)
    most = c.refine_amplitude_range["default"][1]
    return show.Markdown(
        f"{c.iterations:,} steps of {c.batch_size} FIDs, {million:.1f} million in all; {optimizer} at "
        f"{c.learning_rate:g}, a rate that {schedule}; then {c.refine_iterations:,} steps at "
        f"{c.refine_learning_rate:g} with metabolites up to {most:g}; minutes of each training: {each}."
    )


def goals(trained: dict[str, SveModel], n_repeats: int, seed: int) -> show.Markdown:
    """Table, from SNR 12 up: each training by its card and the mean of their estimates, beside what was asked for."""
    found = {name: net.card.accuracy for name, net in trained.items()}
    snrs, lines = [s for s in SNRS if s >= 12], list(next(iter(found.values()))["sd_over_crlb"])
    of = {}
    for name, accuracy in found.items():
        used = np.array(accuracy["snr"]) >= 12
        of[name] = [np.array([accuracy[key][m] for m in lines])[:, used] for key in ("sd_over_crlb", "bias_percent")]
    if len(trained) > 1:
        mean, model = Mean(trained.values()), next(iter(trained.values())).signal_model
        own = repeated({"mean": mean.amplitudes}, model, typical_amplitudes(lines), snrs, n_repeats, seed).summary()
        of["mean of their estimates"] = [own[k].values[0].T for k in ("sd_over_crlb", "bias_percent")]
    rows = [[name, r[lines.index("Glx")].max(), r.max(), np.abs(b).max()] for name, (r, b) in of.items()]
    head = ["SNR 12 to 35", "SD / CRLB, Glx", "SD / CRLB, all lines", "largest bias (%)"]
    return show.table(head, [*rows, ["goal", *(f"at most {v:g}" for v in GOALS.values())]])


def _path(name: str) -> Path:
    return data_path("weights", "studies") / f"{name}.safetensors"


def pages() -> dict[Path, str]:
    """Pages that judge a claim by this network: notebook -> the parameter that names it."""
    found = {}
    for name in sorted({load_claims()[id].notebook for id in JUDGED}):
        page = notebooks.find(name)
        for parameter in (k for k, v in notebooks.parameters_of(page).items() if v == FIRST):
            found[page] = parameter
    return found


def measure(folder: Path, settings: dict | None = None) -> list[dict]:
    """Run the pages with each other training: records, with their `network`, of what is `JUDGED` by it.

    What `folder` holds is not run again; `settings` are parameters of pages by name. Raises `InputError` where a page
    fails.
    """
    found = []
    for name in others():
        for page, parameter in pages().items():
            out = Path(folder, name, page.stem)
            environment = {"PRECISE_RECORDS": str(out / "records"), "PRECISE_NOTEBOOK": page.stem}
            own = (settings or {}).get(page.stem, {}) | {parameter: str(_path(name))}
            if not (out / "done").exists():
                failure = notebooks.execute(page, out / "page.ipynb", own, environment | {"PRECISE_SCALE": "trainings"})
                if failure:
                    raise InputError(f"{page.name} with {name}: {failure}.")
                write_text(out / "done", "")
            for record in read_records(out / "records"):
                if record.id in JUDGED and JUDGED[record.id] in (None, load_claims()[record.id].declared(record.part)):
                    found.append(asdict(record) | {"network": name})
    return found


def store(folder: Path, out: Path | None = None, settings: dict | None = None) -> Path:
    """Write what `measure` finds, with the SHA-256 of the networks, to the file that scoreboard and pages read."""
    out = data_path(FILE[0]) / FILE[1] if out is None else Path(out)
    kept = ("id", "part", "notebook", "value", "spread", "holds", "network", "time")
    measured = [{key: record[key] for key in kept} for record in measure(folder, settings)]
    hashes = {net.name: net.hash for net in networks().values()}
    write_text(out, json.dumps({"networks": hashes, "measured": measured}, indent=1, ensure_ascii=False) + "\n")
    return out
