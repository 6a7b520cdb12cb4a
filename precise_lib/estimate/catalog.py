"""Which trained networks there are: those shipped with the package and those of the user's model folder.

A model of the folder is two files named by the hash of its signal model, ``<hash>.safetensors`` and the card
``<hash>.json``, with a name of its own on the card. Where several networks fit an acquisition, the shipped default
comes first, then the user's own, newest first. Files that are damaged or half written are passed over.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import platformdirs

from precise_lib.errors import InputError, printable, reason
from precise_lib.estimate.card import Card, stamps
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.io.atomic import staged
from precise_lib.io.shipped import data_path
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Acquisition


@dataclass(frozen=True)
class Entry:
    """One network on disk ("shipped" or "user" is its `origin`): weights `path`, its `card` (None where unreadable),
    `problem` (None where both are whole).
    """

    path: Path
    card: Card | None
    origin: str
    problem: str | None = None

    @property
    def name(self) -> str:
        return self.card.name if self.card else self.path.stem

    @property
    def hash(self) -> str:
        """Hash of the signal model."""
        return str(self.card.signal_model_hash) if self.card else ""

    @property
    def is_default(self) -> bool:
        """Whether it is used without being asked for by name: all but shipped ones whose card says no."""
        return self.problem is None and (self.origin == "user" or self.card.default is True)

    @property
    def signal_model(self) -> SignalModel:
        return self.card.config.signal_model

    def efficiency(self, snr: float) -> dict[str, float]:
        """SD over the Cramer-Rao bound of each metabolite at an SNR of the card; empty where the card has none."""
        try:
            accuracy = self.card.accuracy
            i = accuracy["snr"].index(snr)
            return {name: float(values[i]) for name, values in accuracy["sd_over_crlb"].items()}
        except (KeyError, ValueError, TypeError, IndexError, AttributeError):
            return {}


def folder() -> Path:
    """The user's model folder: ``PRECISE_MODELS`` names it, else ``models`` among the system's data of programs.

    Raises `InputError` where the user has no home folder.
    """
    named = os.environ.get("PRECISE_MODELS")
    try:
        return Path(named) if named else platformdirs.user_data_path("precise", appauthor=False) / "models"
    except RuntimeError as error:  # no home folder
        raise InputError("There is no home for networks of your own: name a folder by PRECISE_MODELS.") from error


def shipped() -> list[Entry]:
    """Networks that come with the package, by name."""
    return _entries(data_path("weights"), "shipped")


def trained() -> list[Entry]:
    """Networks of the user's model folder, newest first; empty where it cannot be read."""
    try:
        entries = _entries(folder(), "user")
    except InputError:
        return []
    return sorted(entries, key=lambda entry: str(entry.card and entry.card.stored), reverse=True)


def available() -> list[Entry]:
    """All networks, in the order in which they are chosen."""
    return sorted(shipped(), key=lambda entry: not entry.is_default) + trained()


def fitting(acquisition: Acquisition) -> list[Entry]:
    """Networks trained for an acquisition, whole ones only, in the order in which they are chosen without a name.

    A network's layers know the FID from its first sample on, with the noise white there: no linear map brings FIDs that
    start later back without coloring it.
    """
    found = [entry for entry in available() if entry.is_default]
    return [entry for entry in found if not acquisition.differences(entry.signal_model.acquisition)]


def find(name: str) -> Entry | None:
    """A network, whole or damaged, by its name or by the hash of its signal model; None where there is none.

    A name goes before a hash, the user's networks before shipped ones of the same hash (names differ).
    """
    everything = available()
    by_name = [entry for entry in everything if name in (entry.name, entry.path.stem)]
    by_hash = [entry for entry in everything if entry.hash == name]
    by_hash.sort(key=lambda entry: (entry.origin != "user", not entry.is_default))
    return next(iter(by_name + by_hash), None)


def table(snr: float) -> str:
    """`available` as text: one line each, with the range of SD over the bound at an SNR; damaged ones below."""
    rows = [("name", "hash", "", "field", "points", "dwell", "T2*", f"SD/bound at SNR {snr:g}", "metabolites")]
    notes = []
    for entry in available():
        if entry.problem:
            notes.append(printable(f"Not usable: {entry.path} ({entry.problem}); remove it or train it again."))
            continue
        model, ratios = entry.signal_model, entry.efficiency(snr).values()
        a, t2_ms = model.acquisition, sorted({round(1e3 * t, 1) for t in model.t2star_s})
        t2star = "-".join(f"{t:g}" for t in (t2_ms[0], t2_ms[-1])[: len(t2_ms)])
        ratio = f"{min(ratios):.2f}-{max(ratios):.2f}" if ratios else "?"
        timing = (f"{a.field_t:.2f} T", str(a.n_samples), f"{1e6 * a.dwell_time_s:.4g} us", f"{t2star} ms")
        rows.append(
            (entry.name, entry.hash, "*" if entry.is_default else "", *timing, ratio, printable(",".join(model.names)))
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines + notes)


def check_folder() -> None:
    """Raise `InputError` unless the model folder can be written, before hours are spent on what goes there."""
    try:
        with staged(folder()):
            pass
    except InputError as error:
        raise InputError(
            f"The model folder {folder()} cannot be written: name another one by PRECISE_MODELS, or give --out."
        ) from error


def check_name(name: str, signal_model_hash: str) -> None:
    """Raise `InputError` where a network of another signal model, or a shipped one, has this name already."""
    for entry in available():
        if name in (entry.name, entry.path.stem) and (entry.origin == "shipped" or entry.hash != signal_model_hash):
            raise InputError(f"There is a {entry.origin} network named '{name}' already: choose another --name.")


def store(weights) -> Path:
    """Copy certified weights and their card into the model folder, by the hash of their signal model.

    A network of the same signal model is replaced. Both files arrive whole; while only one has, its SHA-256 does not
    agree with the card. Returns the path of the copy.
    """
    card = Card.read(Path(weights), TrainConfig)
    card = replace(card, stored=datetime.now(UTC).isoformat(timespec="microseconds"))
    name = f"{card.signal_model_hash}.safetensors"
    with staged(folder()) as staging:
        shutil.copyfile(weights, staging / name)
        (staging / name).with_suffix(".json").write_text(card.to_json())
    return folder() / name


def _entries(where: Path, origin: str) -> list[Entry]:
    return [_read(path, origin, stamps(path)) for path in sorted(where.glob("*.safetensors"))]


@lru_cache(maxsize=256)
def _read(path: Path, origin: str, _stamps) -> Entry:
    """The network of a weights file, read once for each state of it; never raises."""
    card = problem = None
    try:
        card = Card.read(path, TrainConfig)
        if card.config.signal_model.hash != card.signal_model_hash:
            problem = "its card contradicts itself"
        elif card.sha256 != hashlib.sha256(path.read_bytes()).hexdigest():
            problem = f"{path.name} is not the file its card describes"
    except (InputError, OSError) as error:
        problem = reason(error)
    return Entry(path, card, origin, problem)
