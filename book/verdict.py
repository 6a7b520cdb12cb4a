"""The verdict on the landing page: a few sentences around the numbers that the notebooks of this build recorded.

A point whose numbers were not recorded is left out, and the mark beside each is the scoreboard's. The sentences leave
the direction to the numbers.
"""

import re

from precise_lib.evaluate.claims import counted
from precise_lib.evaluate.records import Record
from precise_lib.evaluate.tolerances import Claim

# Head, sentence, claims. {P1} is the value of P1; {P4 SVE, lowest} that of one of its parts.
POINTS = [
    (
        "Each voxel on its own.",
        "An efficient estimator needs less SNR than plain Fourier integration, the CNN by a factor of {P1:.2f}. Its SD"
        " lies at {P4 SVE, lowest:.2f} to {P4 SVE, highest:.2f} of the Cramér-Rao bound, that of a fit at"
        " {P4 fit, lowest:.2f} to {P4 fit, highest:.2f}.",
        ["P1", "P4"],
    ),
    (
        "Averaging over like neighbors.",
        "Where tissue is homogeneous, the gain in SNR becomes {P3:.1f}-fold; in a simulated rat brain one average then"
        " has {P13 mean over the brain:.2f} times the SD that a fit has of four averages.",
        ["P3", "P13"],
    ),
    (
        "What that costs.",
        "Of the contrast of a tumor that is missing from the MRI {P9 contrast of B at 0.004:.0%} is left at λ = 0.004"
        " and {P9 contrast of B at 0.04:.0%} at λ = 0.04; at the same λ, more averaging does not bring it back.",
        ["P9"],
    ),
    (
        "Against simpler ways to smooth a map.",
        "RMSE of PRECISE over that of the best other method, each at its best setting: {B4 rings:.2f} on the rings,"
        " {B4 rat:.2f} in the rat, {B4 human:.2f} in the human brain.",
        ["B4"],
    ),
    (
        "When the MRI is wrong.",
        "A prior that the data may overrule, and that tunes itself from each data set: RMSE over that of the best other"
        " method at its best setting {B7 RMSE, rings:.2f} on the rings, {B7 RMSE, rat:.2f} in the rat,"
        " {B7 RMSE, human:.2f} in the human brain; contrast left of a tumor that is missing from the MRI"
        " {B7 hidden tumor, rings:.0%}, {B7 hidden tumor, rat:.0%} and {B7 hidden tumor, human:.0%}, and"
        " {B7 hidden tumor, new object:.0%} on objects that nobody had looked at.",
        ["B7"],
    ),
    (
        "What denoising of single spectra leaves.",
        "The SNR of the second paper can be read in two ways. If it is that of all the signal, a network on spectra"
        " leaves {M1 1D, SNR of all the signal:.0%} of the noise at low SNR, judged over the whole spectrum, and the"
        " slope of a weak metabolite (sI) over the truth is {M5 slope of sI, 1D, SNR of all the signal:.2f}. If it is"
        " that of water alone, a quarter of the noise, {M1 1D, SNR of water alone:.0%} and"
        " {M5 slope of sI, 1D, SNR of water alone:.2f}.",
        ["M1", "M5"],
    ),
    (
        "Miracle or mirage?",
        "Slopes of estimate over truth; 1 means no shrinkage. Lactate at low SNR:"
        " {B1 SVE at SNR 5 to 10, Lac:.2f} for our network, {B1 training range, Lac:.2f} for one trained by squared"
        " error on little more than the tissue holds, {B1 paper's recipe, Lac:.2f} for the paper's recipe. With the MRI"
        " prior: {B1 not shown by the MRI:.2f} for a contrast of one voxel that the MRI does not show,"
        " {B1 shown by the MRI:.2f} for one that it shows. In words: {B1 verdict}.",
        ["B1"],
    ),
]

FIELDS = re.compile(r"\{([^}:]+)(?::([^}]*))?\}")  # {name} or {name:format}


def filled(sentence: str, records: list[Record]) -> str | None:
    """The sentence with its numbers, or None where one of them was not recorded."""
    measured = {f"{r.id} {r.label}".strip(): r.text if r.value is None else r.value for r in records}
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
    lines += ["", f"{counted(claims, of)} The {{doc}}`scoreboard` has them all, misses included."]
    if reduced := sorted({r.scale for r in records} - {None, "paper"}):
        lines += [f"These are numbers of a reduced run ({', '.join(reduced)}), not of full size."]
    return "\n".join([*lines, ""])
