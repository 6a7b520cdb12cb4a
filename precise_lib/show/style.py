"""The one look of all figures: style, and the color and marker of whatever is compared.

Colors are those of Okabe and Ito and some of Tol, told apart with any color vision.
"""

from __future__ import annotations

import matplotlib as mpl

BLACK, DARK, GRAY, LIGHT = "#000000", "#444444", "#666666", "#999999"
ORANGE, SKY, GREEN, BLUE, VERMILION, PINK = "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
BROWN, OLIVE, WINE, TEAL = "#8C6100", "#999933", "#882255", "#44AA99"
MOSS, INDIGO = "#117733", "#332288"

LOOKS = {  # name in a legend -> color, marker
    "truth": (BLACK, "o"),
    "bound": (BLACK, "o"),
    "distorted": (LIGHT, "o"),
    "fourier": (ORANGE, "s"),
    "fourier, zero-filled": (BROWN, "D"),
    "fit": (GREEN, "^"),
    "sve": (BLUE, "o"),
    "sve, paper's recipe": (SKY, "v"),
    "CNN": (BLUE, "o"),
    "matched network": (TEAL, "d"),
    "precise": (VERMILION, "P"),
    "precise-finetune": (PINK, "X"),
    "svd-fit": (SKY, "<"),
    "mppca-fit": (OLIVE, ">"),
    "fit-diffusion": (WINE, "D"),
    "fit-guided": (TEAL, "v"),
    "fit-nlm": (MOSS, "d"),
    "fit-tv": (LIGHT, "h"),
    "fit-dtv": (INDIGO, "h"),
    "bowsher": (BROWN, "p"),
    "adaptive": (BLACK, "*"),
    # slopes over the truth
    "SVE": (BLUE, "o"),
    "paper's recipe": (SKY, "v"),
    "narrow range": (VERMILION, "s"),
    "posterior mean, paper's range": (SKY, "D"),
    "posterior mean, narrow range": (VERMILION, "D"),
    "PRECISE": (WINE, "P"),
    "1H fit": (DARK, ">"),
    "1H fit, not negative": (OLIVE, "<"),
    "1D U-Net": (PINK, "X"),
    "2D U-Net": (BROWN, "d"),
    # one proton spectrum
    "noisy": (LIGHT, "o"),
    "noisy, unbounded": (GREEN, "D"),
    "fit, not negative": (ORANGE, "o"),
    "fit of the true model": (GREEN, "o"),
    "best possible": (BLACK, "o"),
    "denoised": (BLUE, "o"),
    "1D": (BLUE, "s"),
    "2D": (PINK, "^"),
    "InceptionNet": (BLUE, "o"),
    "shallow CNN": (PINK, "o"),
    "InceptionNet, denoised": (BLUE, "s"),
    "shallow CNN, denoised": (PINK, "s"),
    "posterior mean": (DARK, "D"),
}

STYLE = {
    "figure.facecolor": "white",
    "savefig.facecolor": "white",  # opaque: legible on a dark page
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "0.9",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
    "svg.hashsalt": "precise",
}


def use_style():
    """Apply the book's style to this session."""
    mpl.rcParams.update(STYLE)


def color(name: str, other: str | None = GRAY) -> str | None:
    """Color of a method; `other` where the table does not have it."""
    return LOOKS.get(name, (other, "o"))[0]


def marker(name: str, other: str = "o") -> str:
    """Marker of a method; `other` where the table does not have it."""
    return LOOKS.get(name, (GRAY, other))[1]
