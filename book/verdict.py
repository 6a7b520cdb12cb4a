"""The answer on the landing page: four sentences around the numbers that the notebooks of this build recorded.

A point whose numbers were not recorded is left out, and the mark beside each is the scoreboard's. What the sentences
say of the numbers is held against the last full run by a test.
"""

import re

from precise_lib.evaluate.claims import counted
from precise_lib.evaluate.records import Record
from precise_lib.evaluate.tolerances import Claim

# Head, sentence, claims. {P1} is the value of P1, {P1 in full} with interval and unit; {P4 SVE, lowest} that of one of
# its parts.
POINTS = [
    (
        "One voxel.",
        "A network gets from one spectrum at most what a model fit gets: the SD of its estimates is"
        " {P4 SVE, lowest:.2f} to {P4 SVE, highest:.2f} times the least that an unbiased method can have (the"
        " Cramér-Rao bound), that of a fit {P4 fit, lowest:.2f} to {P4 fit, highest:.2f} times; plain Fourier"
        " integration needs {P1:.2f} times the SNR of the network.",
        ["P1", "P4"],
    ),
    (
        "The MRI as a guide.",
        "Averaging neighbors that look alike in an MRI adds more, {P3 in full} in SNR over Fourier integration"
        " (λ = 0.01, at an SNR of 12) where tissue is uniform, and costs contrast: of a simulated tumor that the MRI"
        " does not show, {P9 contrast of B at 0.004:.0%} is left with a weak prior (λ = 0.004) and"
        " {P9 contrast of B at 0.04:.0%} with a strong one (0.04).",
        ["P3", "P9"],
    ),
    (
        "When the MRI is wrong.",
        "Our adaptive prior, which lets the data overrule the MRI and chooses its own strength, keeps"
        " {B7 hidden tumor, rings:.0%} (a phantom of rings), {B7 hidden tumor, rat:.0%} (rat)"
        " and {B7 hidden tumor, human:.0%} (human brain) of such a tumor, at {B7 RMSE, rings:.2f},"
        " {B7 RMSE, rat:.2f} and {B7 RMSE, human:.2f} times the error of the best of the other methods, each of which"
        " was set with the truth at hand.",
        ["B7"],
    ),
    (
        "Denoising one spectrum.",
        "A denoised spectrum looks better, and its weak metabolites have moved toward the middle of what the network"
        " was trained on: of the differences in scyllo-inositol a share of"
        " {M5 slope of sI, 1D, SNR of all the signal:.2f} is left, or {M5 slope of sI, 1D, SNR of water alone:.2f}"
        " where the SNR of the paper is read as that of water alone.",
        ["M5"],
    ),
]

FIELDS = re.compile(r"\{([^}:]+)(?::([^}]*))?\}")  # {name} or {name:format}


def filled(sentence: str, records: list[Record]) -> str | None:
    """The sentence with its numbers, or None where one of them was not recorded."""
    measured = {f"{r.id} {r.label}".strip(): r.text if r.value is None else r.value for r in records}
    measured |= {f"{r.id} {r.label}".strip() + " in full": r.text for r in records}
    if not measured.keys() >= {name for name, _ in FIELDS.findall(sentence)}:
        return None
    return FIELDS.sub(lambda found: format(measured[found[1]], found[2] or ""), sentence)


def summary(claims: dict[str, Claim], records: list[Record]) -> str:
    """The verdict in MyST Markdown: a list of points, each with its marks and the notebooks behind it."""
    of = {name: [r for r in records if r.id == name] for name in claims}
    lines = []
    for head, sentence, names in POINTS:
        if (text := filled(sentence, records)) is None:
            continue
        marks = ", ".join(f"{name} {claims[name].told(of[name]).replace('*', '')}" for name in names)
        links = ", ".join(
            f"{{doc}}`../notebooks/{stem}`" for stem in dict.fromkeys(r.notebook for name in names for r in of[name])
        )
        lines += [f"- **{head}** {text} ({marks}; {links})"]
    lines += ["", f"{counted(claims, of)} The {{doc}}`scoreboard` has each with its rule."]
    if reduced := sorted({r.scale for r in records} - {None, "paper"}):
        lines += [f"These are numbers of a reduced run ({', '.join(reduced)}), not of full size."]
    return "\n".join([*lines, ""])
