"""The study of peers: its numbers against estimators whose errors are known, and its settings against the registry."""

import dataclasses

import numpy as np
import pytest
import xarray as xr

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.evaluate import crlb
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import quantify
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.studies import peer_cases, peer_settings, peer_sweeps
from precise_lib.studies.peer_cases import load, rings_case
from precise_lib.studies.peer_figures import peer_table
from precise_lib.studies.peer_settings import PEERS, Cached, Peer, curves, oracle, shipped, total_rmse
from precise_lib.studies.peer_sweeps import Sweep
from precise_lib.studies.peers import REGIONS, Case, study
from tests.helpers import sd_bounds

OBJECT, SHOWN, HIDDEN = REGIONS


@pytest.fixture(scope="module")
def case() -> Case:
    """The upper half of the ring phantom, which holds both tumors."""
    whole = rings_case()
    upper = whole.phantom.mask & (np.indices(whole.phantom.mask.shape)[1] >= 18)
    phantom = whole.phantom.crop(upper)
    ring = (phantom.compartments == 2) & ~np.any(list(phantom.tumors.values()), 0)
    return Case(phantom, whole.snr, phantom.tumors["C"], phantom.tumors["B"], ring)


def known(case: Case, change):
    """An estimator that says `change` of the truth, whatever was measured."""

    def estimator(data):
        return data.to_maps(np.moveaxis(change(case.truth.copy(), data), 0, -1), "known")

    estimator.name = "known"
    return estimator


# the study


def test_bias_and_contrast_of_estimators_that_are_wrong_on_purpose(case):
    estimators = {
        "truth": known(case, lambda t, _: t),
        "shifted": known(case, lambda t, _: t + 0.3),
        "halved": known(case, lambda t, _: t / 2),
        "flat": known(case, lambda t, _: 0 * t + 1),
    }
    found = study(estimators, case, n_repeats=3)
    assert set(found.dims) == {"estimator", "metabolite", "region"}
    np.testing.assert_allclose(found["sd"], 0, atol=1e-12)
    np.testing.assert_allclose(found["rmse"].sel(estimator="truth"), 0, atol=1e-12)
    np.testing.assert_allclose(found["bias"].sel(estimator="shifted"), 0.3)
    lac = found.sel(metabolite="Lac", region=[SHOWN, HIDDEN])["contrast"]
    for name, share in (("truth", 1), ("shifted", 1), ("halved", 0.5), ("flat", 0)):
        np.testing.assert_allclose(lac.sel(estimator=name), share, atol=1e-12)
    # half the contrast is an error of half the level inside the tumor
    assert float(found["rmse"].sel(estimator="halved", metabolite="Lac", region=SHOWN)) == pytest.approx(1.5)
    # water has no contrast, the object as a whole neither
    assert np.isnan(found["contrast"].sel(metabolite="water")).all()
    assert np.isnan(found["contrast"].sel(region=OBJECT)).all()


def test_noise_is_told_from_bias(case):
    """Noise of SD 0.2 and an offset of 0.05: the noise of the mean, 0.2 / sqrt(4), does not count as bias."""
    rng, n = np.random.default_rng(0), 4
    noisy = known(case, lambda t, _: t + 0.05 + 0.2 * rng.normal(size=t.shape))
    found = study({"noisy": noisy}, case, n).sel(estimator="noisy", region=OBJECT)
    voxels = case.regions[OBJECT].sum()
    low, high = sd_bounds(voxels * (n - 1), tests=4)
    assert ((found["sd"] > 0.2 * low) & (found["sd"] < 0.2 * high)).all()
    np.testing.assert_allclose(found["bias"], 0.05, atol=0.03)
    np.testing.assert_allclose(found["rmse"] ** 2, found["sd"] ** 2 + found["bias"] ** 2)


def test_interval_of_the_contrast_is_students(case):
    """Two measurements half a contrast apart: mean 1, SD sqrt(2) / 4, quantile 12.706."""
    values = iter([0.75, 1.25])

    def scaled(truth, _):
        ring = truth[:, case.reference].mean(-1)[:, None, None, None]
        return ring + (truth - ring) * next(values)

    found = study({"scaled": known(case, scaled)}, case, 2).sel(estimator="scaled", metabolite="Lac", region=SHOWN)
    assert float(found["contrast"]) == pytest.approx(1)
    assert float(found["contrast_sd"]) == pytest.approx(np.sqrt(2) / 4)
    assert float(found["contrast_high"] - found["contrast"]) == pytest.approx(12.706 / 4, rel=1e-4)


def test_the_fit_attains_the_bound(case):
    phantom, n = case.phantom, 20
    found = study({"fit": estimate.make("fit")}, case, n).sel(estimator="fit")
    sigma = snr_to_sigma(phantom.model, case.snr)
    ratio = crlb.ratio_sd(phantom.model, phantom.amplitudes[phantom.mask], sigma)
    bound = phantom.model.reference_concentration_mm * np.sqrt((ratio**2).mean(0))
    for k in (1, 2, 3):  # the noise of water makes a ratio a little noisier than to first order
        sd, bias = (float(found[key][k].sel(region=OBJECT)) for key in ("sd", "bias"))
        assert 0.96 < sd / bound[k] < 1.08
        assert bias < 0.25 * sd
    # four voxels, twenty measurements: 0.37 mM / sqrt(80) against a contrast of 2 mM
    np.testing.assert_allclose(found["contrast"].sel(metabolite="Lac", region=[SHOWN, HIDDEN]), 1, atol=0.1)


def test_the_others_do_not_matter(case):
    """The same noise for all, in every run."""
    fit = {"fit": estimate.make("fit")}
    alone, together = (study(e, case, 3) for e in (fit, {"fourier": estimate.make("fourier"), **fit}))
    variables = [v for v in alone if v != "cpu_seconds"]
    xr.testing.assert_equal(alone[variables], together[variables].sel(estimator=["fit"]))
    other = study(fit, case, 3, seed=1)
    assert not np.allclose(other["sd"], alone["sd"])


def test_another_mri_hides_the_tumor_from_those_who_look(case):
    """The hidden tumor is taken from the second phantom, where the guide has lost it."""
    blind = dataclasses.replace(case.phantom, mri=np.where(case.phantom.mri == 1.0, 0.2, case.phantom.mri))
    twice = dataclasses.replace(case, hidden=case.shown, hiding=blind)
    found = study({n: estimate.make(n) for n in ("fit", "fit-guided")}, twice, 4)
    lac = found["contrast"].sel(metabolite="Lac")
    fit, guided = (lac.sel(estimator=n) for n in ("fit", "fit-guided"))
    assert float(fit.sel(region=SHOWN)) == float(fit.sel(region=HIDDEN))
    assert float(guided.sel(region=HIDDEN)) < 0.6 * float(guided.sel(region=SHOWN))


def test_errors_count_where_water_is_seen(case):
    b1 = np.where(np.indices(case.phantom.mask.shape)[1] < 8, 1.0, 0.2)
    dim = dataclasses.replace(case, phantom=dataclasses.replace(case.phantom, b1=b1))
    counted = dim.regions[OBJECT]
    np.testing.assert_array_equal(counted, case.phantom.mask & (b1 == 1))
    seen = []

    def looking(truth, data):
        seen.append(data.mask)
        return truth

    study({"looking": known(dim, looking)}, dim, 2)
    study({"looking": known(dim, looking)}, dataclasses.replace(dim, masked=False), 2)
    np.testing.assert_array_equal(seen, [counted, counted, dim.phantom.mask, dim.phantom.mask])


def test_truth_is_what_the_point_spread_leaves(case):
    blurred = case.phantom.concentrations * 0 + 2
    np.testing.assert_array_equal(
        dataclasses.replace(case, phantom=dataclasses.replace(case.phantom, blurred=blurred)).truth, blurred
    )


def test_voxels_without_a_result_count_for_nobody(case):
    def holes(truth, _):
        truth[:, :8] = np.nan
        return truth + 0.1

    found = study({"holes": known(case, holes), "truth": known(case, lambda t, _: t)}, case, 2)
    share = case.regions[OBJECT][:8].sum() / case.regions[OBJECT].sum()
    np.testing.assert_allclose(found["left_out"].sel(region=OBJECT), share)
    np.testing.assert_allclose(found["bias"].sel(estimator="holes", region=OBJECT), 0.1)


def test_a_tumor_that_nobody_can_see_is_refused(case):
    with pytest.raises(InputError, match="No voxel of the object has an SNR of 5"):
        study({"fit": estimate.make("fit")}, dataclasses.replace(case, snr=4.0), 2)


def test_one_measurement_has_no_sd(case):
    with pytest.raises(InputError, match="n_repeats is 1; an SD needs at least two"):
        study({"fit": estimate.make("fit")}, case, 1)


# the settings


def test_every_estimator_of_the_registry_is_a_peer():
    assert {peer.name for peer in PEERS} == set(estimate.names())


@pytest.mark.parametrize("peer", [p for p in PEERS if p.parameter and p.shipped is not None], ids=lambda p: p.label)
def test_shipped_is_what_one_gets_without_asking(peer):
    default = estimate.make(peer.name, **peer.options)
    assert getattr(default, peer.parameter) == peer.shipped
    assert getattr(peer.make(0.02 if isinstance(peer.shipped, float) else 3), peer.parameter) in (0.02, 3)


def test_filters_share_one_fit(case):
    calls = []
    fit = estimate.make("fit")

    class Counting:
        name = "fit"

        def fit(self, fids, model):
            calls.append(1)
            return fit.fit(fids, model)

    shared, data = Cached(Counting()), case.phantom.measure(case.snr, 0)
    made = [Peer("x", name).make(base=shared) for name in ("fit", "fit-diffusion", "fit-guided")]
    for estimator, name in zip(made, ("fit", "fit-diffusion", "fit-guided"), strict=True):
        xr.testing.assert_equal(estimator(data), estimate.make(name)(data))
    assert len(calls) == 1
    shared(case.phantom.measure(case.snr, 1))
    assert len(calls) == 2


@pytest.fixture(scope="module")
def table(case) -> xr.Dataset:
    peers = (
        Peer("fit", "fit"),
        Peer("fit-diffusion", "fit-diffusion", "threshold", 0.1, (0.2, 5.0)),
        Peer("fit-guided", "fit-guided", "eps", 0.01, (1.0,)),
        Peer("fit-guided, 5 voxels", "fit-guided", "eps", None, (0.001,), {"radius": 2}),
        Peer("precise", "precise", "lam", 0.01, (0.02,)),
    )
    # the network of another acquisition: named as missing, nothing else is lost
    return curves(dataclasses.replace(case, weights="dmi_3t"), 3, peers=peers)


def test_curves_hold_every_setting_and_name_what_is_missing(table):
    assert table["peer"].values.tolist() == ["fit"] + ["fit-diffusion"] * 3 + ["fit-guided"] * 2 + [
        "fit-guided, 5 voxels"
    ]
    assert table["shipped"].values.tolist() == [True, True, False, False, True, False, False]
    assert np.isfinite(table["cpu_seconds"].values[table["shipped"].values]).all()
    assert np.isnan(table["cpu_seconds"].values[~table["shipped"].values]).all()
    assert "precise: The network 'dmi_3t' was trained for another acquisition" in table.attrs["left_out"]


def test_oracle_is_the_setting_of_least_error_of_each_estimator(table):
    errors, best = total_rmse(table), oracle(table)
    assert set(best) == {"fit", "fit-diffusion", "fit-guided"}
    for peer, setting in best.items():
        pairs = zip(table["setting"].values, table["peer"].values, strict=True)
        own = [s for s, p in pairs if p.split(",")[0] == peer]
        assert float(errors.sel(setting=setting)) == min(float(errors.sel(setting=s)) for s in own)
    expected = np.sqrt((table["rmse"].sel(region=OBJECT, metabolite=["Glc", "Glx", "Lac"]) ** 2).mean("metabolite"))
    np.testing.assert_allclose(errors, expected)


def test_results_are_stored_and_found(tmp_path, monkeypatch, case, precise):
    monkeypatch.setattr(peer_cases, "CASES", {"rings": (lambda: case, 5), "rat": (lambda: case, 5)})
    monkeypatch.setattr(peer_settings, "PEERS", (Peer("fit", "fit"), Peer("fourier", "fourier")))
    with pytest.raises(InputError, match="No results in"):
        load(tmp_path)
    code, _, said = precise("peers", "--out", tmp_path, "--case", "rings", "--repeats", 2)
    assert code == 0, said
    (name, table), *rest = load(tmp_path).items()
    assert (name, rest) == ("rings", [])
    assert table.attrs["n_repeats"] == 2
    assert table["setting"].values.tolist() == ["fit", "fourier"]


def test_sweeps_are_stored_and_found(tmp_path, monkeypatch, case, precise):
    """Of peers that must be told, the shipped setting is one among others; what is computed again is the same."""
    seen = []
    sweep = Sweep("object", (3, 4), lambda seed: seen.append(seed) or case, ("fit", "fit-guided"), 2, told=True)
    monkeypatch.setattr(peer_sweeps, "SWEEPS", {"new": sweep})
    monkeypatch.setattr(peer_sweeps, "PEERS", (Peer("fit", "fit"), Peer("fit-guided", "fit-guided", "eps", 0.01)))
    with pytest.raises(InputError, match="precise peers --case new"):
        peer_sweeps.load("new", tmp_path)
    code, _, said = precise("peers", "--out", tmp_path, "--case", "new")
    assert code == 0, said
    assert seen == [3, 4]
    found = peer_sweeps.load("new", tmp_path)
    assert list(found) == [3, 4]
    assert found[3]["setting"].values.tolist() == ["fit", "fit-guided, eps 0.01"]
    assert found[3]["shipped"].values.tolist() == [True, False]
    again = sweep.at(4, labels=["fit"])
    assert again["setting"].values.tolist() == ["fit"]
    assert peer_sweeps.apart(again, found[4]) < 1e-9
    moved = again.copy(deep=True)
    moved["rmse"] *= 1.1
    assert peer_sweeps.apart(moved, found[4]) == pytest.approx(0.1)


def test_stored_results_that_moved_are_named(table, tmp_path, precise):
    far = table.copy(deep=True)
    far["rmse"].loc[{"setting": "fit"}] *= 1.1
    far["contrast_low"].loc[{"setting": "fit-guided, eps 1.0"}] += 10
    far["contrast_high"].loc[{"setting": "fit-guided, eps 1.0"}] += 10
    far = far.drop_sel(setting="fit-diffusion, threshold 5.0")
    near = table.copy(deep=True)
    near["rmse"] *= 1.02
    for name, stored in {"kept": table, "far": far, "near": near}.items():
        (tmp_path / name).mkdir()
        stored.to_netcdf(tmp_path / name / "peers_rings.nc")
    assert precise("peers", "--compare", tmp_path / "near", tmp_path / "kept") == (0, "Nothing moved.\n", "")
    code, said, _ = precise("peers", "--compare", tmp_path / "far", tmp_path / "kept")
    assert code == 1
    said = said.splitlines()
    assert [line.split(":")[0] for line in said] == [
        "rings, fit-diffusion, threshold 5.0",
        "rings, fit",
        "rings, fit-guided, eps 1.0",
    ]
    assert said[0].endswith("gone")


def test_the_table_has_a_line_as_shipped_and_one_at_its_best(table):
    assert shipped(table) == {"fit": "fit", "fit-diffusion": "fit-diffusion, threshold 0.1",
                              "fit-guided": "fit-guided, eps 0.01"}  # fmt: skip
    lines = peer_table(table).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(line) for line in cells} == {4}
    names = ["fit", "fit-diffusion", "fit-diffusion, best", "fit-guided", "fit-guided, best"]
    assert [line[0] for line in cells[2:]] == names
    errors, best = total_rmse(table), oracle(table)
    for line in cells[2:]:
        name, *rest = line[0].split(", ")
        setting = best[name] if rest else shipped(table)[name]
        rmse = line[1].split(" / ")[-1].split(" (")[0]
        assert rmse == f"{float(errors.sel(setting=setting)):.2f}"
        share = float(table["contrast"].sel(setting=setting, metabolite="Lac", region=SHOWN))
        assert line[2].startswith(f"{100 * share:.0f} ±")
        assert bool(line[3]) != bool(rest)


# `precise quantify` takes them all


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, phantom = tmp_path_factory.mktemp("rings"), rings_case().phantom
    nifti_mrs.write_mrsi(folder / "dmi.nii.gz", phantom.measure(20, 0))
    nifti.write_image(folder / "mri.nii.gz", phantom.mri, phantom.mri_affine, "MRI")
    nifti.write_image(folder / "mask.nii.gz", phantom.mask, phantom.affine, "mask")
    return folder


@pytest.mark.parametrize("name", ["fit-diffusion", "fit-guided", "svd-fit", "mppca-fit"])
def test_quantify_runs_every_peer_with_its_errors(name, files, tmp_path):
    mri = files / "mri.nii.gz" if "mri" in estimate.uses(name) else None
    options = {"mask": files / "mask.nii.gz", "estimator": name, "errors": "montecarlo", "repeats": 2}
    quantify(files / "dmi.nii.gz", tmp_path / "out", mri, **options)
    written = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"conc_Lac.nii.gz", "sd_Lac.nii.gz", "bias_Lac.nii.gz", "summary.json"} <= written


def test_quantify_asks_for_the_mri_that_a_guide_needs(files, tmp_path):
    with pytest.raises(InputError, match="'fit-guided' needs an MRI: give --mri, or use the estimator 'fit'"):
        quantify(files / "dmi.nii.gz", tmp_path / "out", estimator="fit-guided")
    assert not (tmp_path / "out").exists()
