"""Stored runs of the adaptive prior: kept one by one, found by what they are; MRIs that are wrong on purpose."""

import numpy as np
import pytest
import xarray as xr

from precise_lib.errors import InputError
from precise_lib.estimate.prior import prepare_mri
from precise_lib.studies import overruled_runs
from precise_lib.studies.overruled import new_case
from precise_lib.studies.overruled_figures import HIDDEN, SHOWN, covered, each_once, kept, rmse
from precise_lib.studies.overruled_runs import Run, load, of, random_objects, store
from precise_lib.studies.peer_cases import MRIS, rings_case, with_mri, without_lesion
from precise_lib.studies.peer_sweeps import NOISE_SEED


def fake(case, n, seed=0, progress=iter, **options):
    """Two data sets: half of the hidden contrast left, all of the shown; an error of twice that of single voxels."""
    dims = ("repeat", "metabolite", "tumor")
    values = np.ones((n, 1, 2))
    variables = {"kept": (dims, values * [1.0, 0.5]), "kept_single": (dims, values)}
    variables |= {"rmse": (dims[:2], np.full((n, 1), case.snr)), "rmse_single": (dims[:2], values[..., 0])}
    variables["covered"] = (("repeat", "metabolite", "region"), np.full((n, 1, 1), 0.75))
    coords = {"metabolite": ["Lac"], "tumor": [SHOWN, HIDDEN], "region": ["object"]}
    return xr.Dataset(variables, coords)


def test_runs_are_made_once_and_found_by_what_they_are(tmp_path, monkeypatch):
    made, wanted = [], [Run("rings", 5.0), Run("rings", mri="noise", repeats=3)]
    monkeypatch.setattr(overruled_runs, "study", lambda *args, **options: made.append(args) or fake(*args, **options))
    monkeypatch.setattr(overruled_runs, "runs", lambda: iter(wanted))
    with pytest.raises(InputError, match=r"precise overruled"):
        load(tmp_path)
    store(tmp_path, repeats=4)
    store(tmp_path, repeats=4)
    assert len(made) == 2
    table = load(tmp_path)
    assert of(table, "rings", snr=5.0).sizes["repeat"] == 4
    assert of(table, "rings", mri="noise").sizes["repeat"] == 3
    assert of(table, "rat") is None
    one = of(table, "rings", snr=5.0)
    assert kept(one) == (0.5, 0.0)
    assert kept(one, SHOWN)[0] == 1
    assert rmse(one) == 5
    assert covered(one).values == [0.75]


def test_random_objects_are_found_by_their_seeds_and_count_once(tmp_path, monkeypatch):
    seeds = []

    def drawn(case, n, seed=0, progress=iter, **options):
        seeds.append(seed)
        return fake(case, n, seed, progress, **options)

    wanted = [Run("rings", 5.0), Run("random 801", repeats=2), Run("random 802", repeats=1)]
    monkeypatch.setattr(overruled_runs, "study", drawn)
    monkeypatch.setattr(overruled_runs, "runs", lambda: iter(wanted))
    store(tmp_path, repeats=2, seed=5)
    assert seeds == [5, 5 + NOISE_SEED, 5 + NOISE_SEED]
    found = random_objects(load(tmp_path))
    assert {number: run.sizes["repeat"] for number, run in found.items()} == {801: 2, 802: 1}
    assert each_once(found).sizes["repeat"] == 2
    made = [new_case(number).phantom.concentrations for number in (801, 802)]
    drawn = [Run(f"random {number}").case().phantom.concentrations for number in (801, 802)]
    for ours, theirs, other in zip(made, drawn, drawn[::-1], strict=True):
        assert ours.identical(theirs)
        assert not ours.equals(other)


def test_mris_are_wrong_in_the_way_that_they_say():
    case = rings_case()
    grays = {kind: prepare_mri(with_mri(case, kind).measure(0))[case.phantom.mask] for kind in MRIS}
    true = grays.pop("as simulated")
    assert not grays.pop("none").any()
    alike = {kind: np.corrcoef(gray, true)[0, 1] for kind, gray in grays.items()}
    assert abs(alike.pop("pure noise")) < 0.1
    assert all(0.8 < r < 0.99 for r in alike.values()), alike
    with pytest.raises(InputError, match="There is no MRI 'blur'"):
        with_mri(case, "blur")


def test_without_its_lesion_the_rings_follow_the_mri():
    case = without_lesion("rings")
    truth = case.truth
    assert (truth[:, case.hidden] == truth[:, case.reference][:, :1]).all()
    assert (truth[:, case.shown] != truth[:, case.reference][:, :1]).any()
