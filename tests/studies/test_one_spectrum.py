"""Ratios to creatine, and how many of them moved."""

from types import SimpleNamespace

import numpy as np
import xarray as xr

from precise_lib.proton.brain import METABOLITES
from precise_lib.studies import one_spectrum


def test_ratios_and_their_errors():
    n, cr = len(METABOLITES), METABOLITES.index("tCr")
    amplitudes, crlb = np.full((1, n), 4.0), np.full((1, n), 0.3)
    amplitudes[0, cr] = 2.0
    ratio, error = one_spectrum.ratios(SimpleNamespace(amplitudes=amplitudes, crlb=crlb))
    assert ratio[cr] == 1
    assert error[cr] == 0
    assert np.allclose(np.delete(ratio, cr), 2)
    assert np.allclose(np.delete(error, cr), 0.3 * np.sqrt(1 + 2**2) / 2)
    far = ratio + np.where(np.arange(n) < 4, 3.1 * np.sqrt(2), 0) * error
    assert one_spectrum.moved((ratio, error), (far, error)) == 4 - (cr < 4)


def test_own_share_of_each_added_metabolite():
    names = ["NAA", "sI"]
    values = xr.DataArray([[[1.0, 0.0], [0.1, 0.5]]], {"source": ["1D"], "added": names, "metabolite": names},
                          dims=("source", "added", "metabolite"))  # fmt: skip
    assert np.allclose(one_spectrum.own(xr.Dataset({"share": values}), "share", "1D"), [1.0, 0.5])
