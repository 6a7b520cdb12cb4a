"""Figures of errors over the SNR: a panel each, units, colors of one table."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex

from precise_lib import show
from precise_lib.studies import snr_figures

NAMES = ["NAA", "sI", "Lac"]


@pytest.fixture
def errors():
    """Errors by source, their bins, the bound and the error of a guess."""
    snr, sources = np.linspace(5, 40, 40), ["noisy", "1D"]
    error = xr.DataArray(
        np.random.default_rng(0).standard_normal((2, 40, 3)), dims=("source", "spectrum", "metabolite"),
        coords={"source": sources, "metabolite": NAMES},
    )  # fmt: skip
    bins = xr.Dataset({"bias": error.mean("spectrum").expand_dims(snr=[10.0, 30.0])})
    bound = xr.DataArray(np.ones((2, 3)), dims=("snr", "metabolite"), coords={"snr": [10.0, 30.0], "metabolite": NAMES})
    return snr, error, bins, bound, dict.fromkeys(NAMES, 1.0)


def test_deviations_have_a_panel_per_metabolite_and_source(errors):
    snr, error, bins, bound, blind = errors
    fig = snr_figures.deviations(error, snr, bins, bound, blind)
    assert [ax.get_title() for ax in fig.axes] == [f"{n}, {s}" for n in NAMES for s in ("noisy", "1D")]
    assert fig.axes[0].get_ylabel() == "error (mM)"
    assert {ax.get_xlabel() for ax in fig.axes[-2:]} == {"SNR"}
    assert all(len(ax.collections[0].get_offsets()) == 40 for ax in fig.axes)
    assert to_hex(fig.axes[1].collections[0].get_facecolor()[0]).upper() == show.color("1D")


def test_rmse_is_logarithmic_with_units(errors):
    *_, bound, blind = errors
    fig = snr_figures.rmse_grid({"1D": bound, "Cramér-Rao bound": bound}, NAMES, blind)
    assert [ax.get_title() for ax in fig.axes] == NAMES
    assert all((ax.get_xscale(), ax.get_yscale(), len(ax.lines)) == ("log", "log", 3) for ax in fig.axes)
    assert fig.axes[0].get_ylabel() == "RMSE (mM)"
    assert {ax.get_xlabel() for ax in fig.axes} == {"SNR"}


def test_thirds_have_a_color_each():
    values = np.zeros((3, 2, 3))
    coords = {"third": ["low", "middle", "high"], "source": ["noisy", "1D"], "metabolite": NAMES}
    bias = xr.Dataset({k: (tuple(coords), values) for k in ("bias", "se")}, coords)
    fig = snr_figures.third_grid(bias, NAMES, {t: np.zeros(3) for t in coords["third"]})
    assert [ax.get_title() for ax in fig.axes] == coords["source"]
    assert [c.get_label() for c in fig.axes[0].containers] == ["low third", "middle third", "high third"]
    assert fig.axes[0].get_ylabel() == "bias / largest concentration"
