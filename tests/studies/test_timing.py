"""The fits that SVE is timed against find the same amplitudes: a fast wrong answer would be no yardstick."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies.timing import (
    amares_amplitudes,
    amares_installed,
    cube,
    noisy_fids,
    per_voxel_fit,
    prior_knowledge,
    seconds,
    seconds_per_fid,
)

MODEL = dmi_11t7()
FIDS = MODEL.fids([[1.0, 0.25, 0.3, 0.1]], shift_hz=3.0)


def test_per_voxel_fit_is_the_maximum_likelihood_fit():
    model, fids = dmi_11t7(), noisy_fids(6, snr=20.0)
    np.testing.assert_allclose(per_voxel_fit(fids, model), fit_fids(fids, model).amplitudes, atol=2e-4)


def test_noise_is_new_in_each_fid_and_the_same_for_a_seed():
    fids = noisy_fids(3, seed=1)
    np.testing.assert_array_equal(fids, noisy_fids(3, seed=1))
    assert (fids[0] != fids[1]).all()


def test_seconds_is_a_median_after_a_warm_up():
    calls = []
    assert seconds(lambda: calls.append(1), repeats=3) >= 0
    assert len(calls) == 4


def test_times_name_every_fit_that_is_there():
    model = dmi_11t7()
    times = seconds_per_fid(lambda fids: fids[:, :4].real, noisy_fids(20), model, n_slow=1)
    assert set(times) == {"per-voxel fit", "vectorized fit", "SVE"} | ({"pyAMARES"} if amares_installed() else set())
    assert all(t > 0 for t in times.values())


def test_cube_has_an_mri_on_its_own_grid():
    data = cube(5)
    assert data.grid_shape == (5, 5, 5)
    assert data.mri.shape == (5, 5, 5)
    assert len(np.unique(data.mri)) == 8


def test_table_places_the_lines_from_water():
    rows = [line.split(",") for line in prior_knowledge(MODEL, 2.0).splitlines()]
    assert rows[0] == ["Index", "water", "Glc", "Glx", "Lac"]
    shifts = next(r for r in rows if r[0] == "chemicalshift")
    np.testing.assert_allclose([float(v) for v in shifts[1:]], [0, -1.0, -2.3, -3.4])


@pytest.mark.skipif(amares_installed(), reason="pyAMARES is installed")
def test_says_how_to_get_it():
    with pytest.raises(InputError, match="amares"):
        amares_amplitudes(FIDS, MODEL)


@pytest.mark.skipif(not amares_installed(), reason="pyAMARES is not installed (optional extra 'amares')")
def test_agrees_with_our_fit_without_noise():
    np.testing.assert_allclose(amares_amplitudes(FIDS, MODEL), fit_fids(FIDS, MODEL).amplitudes, rtol=0.01)
