"""pyAMARES as a peer: its table of lines here, its agreement with our fit where it is installed."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies import amares

MODEL = dmi_11t7()
FIDS = MODEL.fids([[1.0, 0.25, 0.3, 0.1]], shift_hz=3.0)


def test_table_places_the_lines_from_water():
    rows = [line.split(",") for line in amares.prior_knowledge(MODEL, 2.0).splitlines()]
    assert rows[0] == ["Index", "water", "Glc", "Glx", "Lac"]
    shifts = next(r for r in rows if r[0] == "chemicalshift")
    np.testing.assert_allclose([float(v) for v in shifts[1:]], [0, -1.0, -2.3, -3.4])


@pytest.mark.skipif(amares.available(), reason="pyAMARES is installed")
def test_says_how_to_get_it():
    with pytest.raises(InputError, match="amares"):
        amares.amplitudes(FIDS, MODEL)


@pytest.mark.skipif(not amares.available(), reason="pyAMARES is not installed (optional extra 'amares')")
def test_agrees_with_our_fit_without_noise():
    np.testing.assert_allclose(amares.amplitudes(FIDS, MODEL), fit_fids(FIDS, MODEL).amplitudes, rtol=0.01)
