"""What single pages compute, on small cases with known answers."""

import numpy as np
import pytest
import xarray as xr

from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate.claims import record
from precise_lib.studies import animal, choosing, human_brain, one_voxel, own_part
from precise_lib.studies.finetuning_figures import gains, off_the_curve
from precise_lib.studies.overruled_claims import verdicts
from tests.helpers import has_shipped_weights

needs_weights = pytest.mark.skipif(not has_shipped_weights(), reason="no shipped weights")


def test_a_bias_by_a_cut_off_prior_has_the_unit_of_the_noise_and_ends_far_from_the_cut():
    near, far = own_part.expected_bias(0.1, 0.1), own_part.expected_bias(1.0, 0.1)
    assert near > 0.01
    assert far == pytest.approx(0, abs=1e-9)
    assert own_part.expected_bias(0.2, 0.2) == pytest.approx(2 * near)


def test_the_exact_minimizer_lies_on_its_own_curve():
    caps, lams = [5.5, 30.0], [0.0, 0.01, 0.04]
    sd = np.array([[[1.0], [0.5], [0.25]], [[1.0], [0.4], [0.1]]])[:, :, None]
    kept = np.array([[1.0, 0.7, 0.4], [1.0, 0.9, 0.8]])[:, :, None, None] * np.ones((1, 1, 1, 2))
    coords = {"omega_max": caps, "lam": lams, "metabolite": ["Lac"], "site": ["B", "C"]}
    dims = ("omega_max", "lam", "metabolite")
    exact = xr.Dataset({"sd": ((*dims, "x"), sd), "recovery": ((*dims, "site"), kept)}, coords)
    gain, region = gains(exact, np.array([True])), np.array([True])
    at_c = exact["recovery"].sel(metabolite="Lac", site="C").values
    points = {"gain": ("setting", gain[:, 2]), "kept": (("setting", "site"), np.stack([at_c[:, 2]] * 2, 1))}
    points = xr.Dataset(points, {"site": ["B", "C"], "omega_max": ("setting", caps)})
    np.testing.assert_allclose(off_the_curve(points, exact, region, "C"), 0, atol=1e-12)


def test_the_measured_voxel_and_its_reference():
    model, fid, n_measured = one_voxel.read()
    assert n_measured < len(fid) == model.acquisition.n_samples
    assert abs(fid[0]) == pytest.approx(1)
    models = one_voxel.constraints(model, n_measured)
    assert {m.acquisition.n_samples for m in models.values()} == {n_measured}
    wanted = np.array([one_voxel.REFERENCE.get(name, (1, 1))[0] for name in model.names])
    assert one_voxel.distance({"itself": (wanted, 0 * wanted)}, model.names) == {"itself": 0}


@needs_weights
def test_rules_against_the_oracle():
    network = load_weights("dmi_11t7")
    found = choosing.compare(network, [2], [12.1], 2, 0, lam_paper=0.01, share=0.5, level_error=0.05)
    assert float(np.abs(found.excess.sel(rule="oracle")).max()) < 0.005  # its λ lies between those of the grid
    assert float(found.excess.drop_sel(rule=choosing.TOO_LOW).min()) > -1e-6
    assert set(found.lam.sel(rule="paper").values.ravel()) == {0.01}
    low = found.lam.sel(rule=choosing.TOO_LOW)
    assert np.isfinite(low.sel(mri="phantom")).all()
    assert not np.isfinite(low.drop_sel(mri="phantom")).any()
    assert sum(choosing.side(found, "Stein", 0.05)[1:]) == pytest.approx(choosing.side(found, "Stein", 0.05)[0])


@needs_weights
def test_the_animal_in_a_plane():
    own = animal.Animal([12, 6, 12], [22.0] * 3, "dmi_11t7_rat")
    flat = own.plane(own.reference[:, own.lac])
    assert np.isfinite(flat).any(0).all()  # cropped to the brain
    assert np.isfinite(flat).any(1).all()
    assert own.contrast(own.reference[:, own.lac]) == pytest.approx(1)
    single = own.independent_sd(8), own.shared_sd(8)
    np.testing.assert_allclose(*single, rtol=1e-9)  # voxel by voxel, what is shared does not matter


@needs_weights
def test_the_brain_without_a_prior_is_where_every_curve_starts():
    field = human_brain.Field.of(4, "dmi_4t", 12.0, 1.65)
    found = field.predicted([0.0, 0.01])
    np.testing.assert_allclose(found["ratio"].sel(lam=0).drop_sel(metabolite="water"), 1)
    gain, kept = human_brain.trade(found, "MRI", "rim")
    assert (gain[0], kept[0]) == (pytest.approx(1), pytest.approx(1))
    assert gain[1] > 1 > kept[1]
    assert field.at(0.01, "Lac")["ratio"].sel(region="healthy") == found["ratio"].sel(
        prior="MRI", lam=0.01, metabolite="Lac", region="healthy"
    )


def test_verdicts_stand_in_one_table_by_object(monkeypatch, tmp_path):
    monkeypatch.setenv("PRECISE_RECORDS", str(tmp_path))
    within = record("B7", 0.99, 0.01, part="hidden tumor, rings", spread_meaning="95 % CI")
    lines = verdicts([record("B7", 0.9, part="RMSE, rings"), record("B7", 1.2, part="RMSE, rat"), within]).splitlines()
    assert lines[0] == "|  | RMSE | hidden tumor |"
    assert lines[2:] == [
        "| rings | ✔\N{NO-BREAK SPACE}0.900 (≤ 1.05) | ✔\N{NO-BREAK SPACE}0.990 ± 0.010 (≥ 0.95) |",
        "| rat | ✘\N{NO-BREAK SPACE}1.20 (≤ 1.05) |  |",
    ]
