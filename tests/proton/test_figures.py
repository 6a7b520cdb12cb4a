"""Figures of proton spectra: labels with units, as many artists as there are things to show, colors of one table."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from precise_lib import show
from precise_lib.proton import figures
from precise_lib.proton.brain import MAXIMUM_MM

PPM = np.linspace(-1, 6, 200)
NAMES = ["NAA", "sI", "Lac"]
SHIFT = "chemical shift (ppm)"


@pytest.fixture
def ax():
    return plt.subplots()[1]


def lines(seed=0):
    return np.random.default_rng(seed).standard_normal(len(PPM)) + 0j


def labels(ax):
    return [line.get_label() for line in ax.lines if not line.get_label().startswith("_")]


def test_spectra_run_from_high_to_low_shift_in_their_colors(ax):
    figures.plot_ppm(ax, PPM, {"noisy": lines(), "truth": lines(1)})
    assert labels(ax) == ["noisy", "truth"]
    assert ax.get_xlim() == figures.RANGE_PPM
    assert [line.get_color() for line in ax.lines] == [show.color("noisy"), show.color("truth")]


def test_a_panel_per_spectrum():
    fig = figures.spectra_grid(PPM, {f"m{k}": lines(k) for k in range(4)}, columns=3)
    assert [ax.get_visible() for ax in fig.axes] == [True] * 4 + [False] * 2
    assert {ax.get_xlabel() for ax in fig.axes[3:]} == {SHIFT}


def test_estimates_over_truth_and_what_lies_outside(ax):
    truth = np.linspace(0, 10, 30)
    estimate = np.where(truth > 9, 50.0, truth)
    figures.plot_over_truth(ax, truth, estimate, 10.0, (0.5, 1.0))
    inside, outside = (c.get_offsets() for c in ax.collections[:2])
    assert len(inside) + len(outside) == 30
    assert len(outside) == (truth > 9).sum()
    assert ax.get_xlabel() == "truth (mM)"
    assert len(ax.child_axes) == 2


def test_grid_over_truth_has_metabolites_and_sources():
    rng, sources = np.random.default_rng(0), ["fit", "InceptionNet"]
    truth = rng.uniform(0, 1, (20, 3)) * [MAXIMUM_MM[name] for name in NAMES]
    quantified = xr.Dataset(
        {
            "truth": (("spectrum", "metabolite"), truth),
            "estimate": (("source", "spectrum", "metabolite"), np.stack([truth, truth / 2])),
        },
        {"source": sources, "metabolite": NAMES},
    )
    line = {k: ("metabolite", np.full(3, 0.5)) for k in ("slope", "intercept", "r2", "rmse")}
    fig = figures.over_truth_grid(quantified, dict.fromkeys(sources, xr.Dataset(line, {"metabolite": NAMES})), NAMES)
    assert [ax.get_title() for ax in fig.axes if ax.get_title()] == [f"{n}, {s}" for n in NAMES for s in sources]
    assert fig.get_supxlabel() == "truth (mM)"
    assert fig.axes[0].get_ylabel() == "estimate (mM)"


def test_values_by_metabolite(ax):
    values = {"1D": np.ones(3), "2D": np.zeros(3), "best possible": np.full(3, 0.5)}
    figures.plot_by_metabolite(ax, values, NAMES, {"1D": (np.zeros(3), np.full(3, 2.0))})
    assert [t.get_text() for t in ax.get_xticklabels()] == NAMES
    assert [c.get_label() for c in ax.containers] == ["1D", "2D"]
    assert labels(ax) == ["best possible"]


def test_denoised_examples_show_the_difference():
    spectra = {"truth": lines(), "noisy": lines(1), "1D": lines(2)}
    fig = figures.denoising_examples(PPM, {"SNR 5": spectra, "SNR 20": spectra})
    assert len(fig.axes) == 4
    assert all(labels(ax)[1:] == ["truth", "difference"] for ax in fig.axes)
    assert {ax.get_xlabel() for ax in fig.axes[2:]} == {SHIFT}
    drawn = fig.axes[0].lines[2].get_ydata()
    inside = (min(figures.RANGE_PPM) <= PPM) & (max(figures.RANGE_PPM) >= PPM)
    difference = (lines(1) - lines()).real[inside]
    np.testing.assert_allclose(drawn - drawn[0], difference - difference[0], atol=1e-12)


def test_scores_have_a_median_per_bin(ax):
    snr = np.array([6.0, 7.0, 8.0, 21.0, 22.0, 23.0])
    figures.plot_scores(ax, snr, {"1D": np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])}, [5, 20, 40])
    assert ax.get_xlabel() == "SNR"
    np.testing.assert_allclose(ax.patches[0].get_data().values, [0.2, 0.5])


# ---------------------------------------------------------------- in vivo


def test_fit_with_its_parts_and_residual():
    parts = {k: lines(i) for i, k in enumerate(("fit", "macromolecules", "lipids and baseline"))}
    fig = figures.fit_figure(PPM, {"PRESS": (parts["fit"] + 2.0, parts, 0.0)}, noise=0.5)
    top, bottom = fig.axes
    assert labels(top) == ["measured", *parts]
    assert (bottom.get_xlabel(), bottom.get_ylabel()) == (SHIFT, "residual / noise")
    np.testing.assert_allclose(bottom.lines[0].get_ydata(), 4.0)
    assert bottom.get_xlim() == (PPM.max(), PPM.min())


def test_ratios_side_by_side(ax):
    cases = {"noisy": (np.ones(3), np.ones(3)), "other": (np.zeros(3), np.ones(3))}
    figures.plot_ratios(ax, NAMES, cases)
    assert [c.get_label() for c in ax.containers] == list(cases)
    assert [t.get_text() for t in ax.get_xticklabels()] == NAMES
    assert ax.containers[0].lines[0].get_color() == show.color("noisy")


def test_recovered_shares_have_two_standard_errors(ax):
    coords = {"source": ["noisy", "1D"], "added": NAMES, "metabolite": NAMES}
    share = xr.Dataset({k: (tuple(coords), np.full((2, 3, 3), v)) for k, v in (("share", 1.0), ("se", 0.1))}, coords)
    figures.plot_recovered(ax, share, np.full(3, 0.5))
    segment = ax.containers[0].lines[2][0].get_segments()[0]
    assert segment[1, 1] - segment[0, 1] == pytest.approx(0.4)
    assert labels(ax) == ["best linear (least error)"]
