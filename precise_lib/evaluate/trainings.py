"""What other trainings of a network came to under a claim: the spread that stands beside the first one's figure.

``data/results/trainings.json`` has it, measured by the same pages on the same noise (`precise trainings`).
"""

from __future__ import annotations

from functools import cache

from precise_lib.io.shipped import data_path
from precise_lib.io.text import read_json

FILE = ("results", "trainings.json")
KEPT = ("value", "spread", "holds")  # of a record


@cache
def stored() -> dict:
    """Content of the file: `networks`, name -> SHA-256 of the weights, and `measured`, records with their `network`;
    empty where there is none.
    """
    try:
        return read_json(data_path(*FILE))
    except OSError:
        return {"networks": {}, "measured": []}


def others(id: str, part: str | None) -> list[dict]:
    """What each other training measured under a claim and part: `value`, `spread` and `holds`; empty where the figure
    depends on none.
    """
    return [{k: m.get(k) for k in KEPT} for m in stored()["measured"] if (m["id"], m.get("part")) == (id, part)]
