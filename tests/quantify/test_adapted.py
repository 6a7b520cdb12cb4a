"""The adaptive prior as a tool: files, masks, 3-D and frames go in; maps, intervals and sentences come out."""

import json
from dataclasses import dataclass, replace

import nibabel as nib
import numpy as np
import pytest

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate import registry
from precise_lib.estimate.registry import Adapted
from precise_lib.estimate.single_voxels import SingleVoxels
from precise_lib.estimate.tuned import Adaptive
from precise_lib.estimate.tuned_about import outside
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import figures, quantify, report, report_tables, result
from precise_lib.signal.mrsi import Series
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model
from precise_lib.simulate.phantoms import rings
from precise_lib.simulate.random_object import random_object

PHANTOM = rings()


def given(folder):
    return [folder / f"{name}.nii.gz" for name in ("dmi", "mri", "mask")]


def run(folder, out="out", **options):
    dmi, mri, mask = given(folder)
    return quantify(dmi, folder / out, mri, mask, **{"estimator": "adaptive"} | options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rings")
    nifti_mrs.write_phantom(folder, PHANTOM, 12.0)
    return folder


@pytest.fixture(scope="module")
def summary(folder):
    return run(folder)


def test_maps_intervals_and_the_lesion_that_the_mri_does_not_show(folder, summary):
    found, mask = result.read(folder / "out"), PHANTOM.mask
    truth = PHANTOM.concentrations.values[1:, mask]
    conc, low, high = (found[name].values[1:, mask] for name in ("concentration", "low", "high"))
    single = 10 * found["amplitude"].values[1:, mask] / found["amplitude"].values[0, mask]
    # a fifth of the error of single voxels on this phantom, here with room for one draw of noise
    assert np.sqrt(((conc - truth) ** 2).mean()) < 0.3 * np.sqrt(((single - truth) ** 2).mean())
    assert ((low <= truth) & (truth <= high)).mean() > 0.8
    np.testing.assert_allclose((high - low) / found["sd"].values[1:, mask], 2 * 1.6449, rtol=1e-3)
    flag = nifti.read_map(folder / "out" / "flag_overruled.nii.gz")[0] > 0
    hidden = PHANTOM.tumors["B"]  # the MRI shows A and C, and D where there is none
    assert (flag & hidden).any()
    assert (flag & ~hidden).sum() <= 2
    said = summary["flags"]["overruled"]["sentence"]
    assert said in summary["warnings"]
    assert "Lac" in said
    assert "higher" in said
    adapted = summary["adapted"]
    assert adapted["by_mri"]
    assert adapted["error_over_single_voxel"] < 0.3
    assert adapted["given"] == []
    assert adapted["files"] == ["map_opened.nii.gz", "map_unfollowed.nii.gz"]
    opened = nifti.read_map(folder / "out" / "map_opened.nii.gz")[0]
    assert np.nanmin(opened) >= 0
    assert np.nanmax(opened) <= 1


def test_alone_it_says_nearly_what_quantify_writes(folder, summary):
    """`quantify` also measures what the network's SD is above the bound, about 1 %."""
    data = nifti_mrs.read_mrsi(*given(folder))
    maps = Adaptive()(data)
    stored = nifti.read_map(folder / "out" / "conc_Lac.nii.gz")[0]
    assert np.nanmedian(np.abs(maps.sel(metabolite="Lac").values - stored)) < 0.03
    assert maps.attrs["base"] == "sve"
    assert {"setting_by_mri", "setting_gray"} <= maps.attrs.keys()  # which of them is chosen hangs on little here


def test_the_report_shows_where_the_mri_was_overruled(folder, summary):
    found = report.read(report.Source(*given(folder), folder / "out", False))
    assert summary["adapted"]["sentence"][:20] in report_tables.about(found)
    assert figures.overruled(found) is not None
    assert "map" in report_tables.files(found)
    for name in ("opened", "unfollowed"):  # a header holds 79 characters
        said = nifti.description_of(nib.load(folder / "out" / f"map_{name}.nii.gz"))
        assert said == found.result[name].attrs["description"]
    level = found.unfollowed
    assert np.isnan(level).all()  # in two dimensions at SNR 12 nothing can be told
    np.testing.assert_array_equal(nifti.read_map(folder / "out" / "flag_unfollowed.nii.gz")[0] > 0, level > 0.5)
    assert any(text.startswith("At 0 % of the edges of the MRI noise is low enough") for text in summary["warnings"])


def test_edges_that_no_metabolite_follows_are_found_where_noise_is_low(tmp_path):
    """The rings at SNR 60: tumor D is in the MRI alone."""
    nifti_mrs.write_phantom(tmp_path, PHANTOM, 60.0)
    said = run(tmp_path, errors="none")["flags"]["unfollowed"]
    share, flag = (nifti.read_map(tmp_path / "out" / f"{x}_unfollowed.nii.gz")[0] for x in ("map", "flag"))
    assert np.nanmin(share) == 0
    assert np.nanmax(share) == 1
    assert (flag > 0)[PHANTOM.tumors["D"]].all()
    assert not (flag > 0)[PHANTOM.tumors["C"]].any()  # in both
    assert f"At {int(said['voxels'])} voxel(s) the MRI shows edges that no metabolite follows" in said["sentence"]


def test_given_settings_are_kept(folder):
    found = run(folder, "fixed", lam=10, own={"tau": np.inf, "neighbors": 4.0, "mri": "no"}, errors="none")
    assert found["adapted"]["lambda"] == {"Glc": 10, "Glx": 10, "Lac": 10}
    assert (found["adapted"]["tau"], found["adapted"]["neighbors"], found["adapted"]["by_mri"]) == ("inf", 4, False)
    assert found["adapted"]["given"] == ["lam", "mri", "neighbors", "tau"]
    assert found["errors"]["method"] == "none"
    json.dumps(found)
    none = run(folder, "none", lam=0, errors="none")
    data = nifti_mrs.read_mrsi(*given(folder))
    single = none["adapted"] and nifti.read_map(folder / "none" / "conc_Glx.nii.gz")[0]
    np.testing.assert_allclose(single, estimate.make("sve")(data).sel(metabolite="Glx").values, rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lam": "-1"}, "lambda"),
        ({"own": {"tau": 0.0}}, "tau is 0"),
        ({"own": {"tau": "wide"}}, "give a number or auto"),
        ({"own": {"neighbors": 2.5}}, "whole number"),
        ({"own": {"neighbors": 40.0}}, "touches 8"),
        ({"own": {"mri": "perhaps"}}, "yes, no or auto"),
        ({"own": {"frames": -1.0}}, "frames"),
        ({"own": {"slack": -1.0}}, "slack"),
        ({"own": {"tolerance": 0.0}}, "tolerance"),
        ({"own": {"tolerance": 100.0}}, "below 100"),
        ({"own": {"tolerance": "auto"}}, "tolerance is 'auto': give a number"),
        ({"own": {"width": 1.0}}, "does not take the option width"),
    ],
)
def test_bad_settings_end_in_one_sentence(folder, options, said):
    with pytest.raises(InputError, match=said):
        run(folder, "bad", **options)
    assert not (folder / "bad").exists() or not list((folder / "bad").iterdir())


def test_three_dimensions_with_thick_slices(tmp_path):
    phantom = random_object(7, (12, 12, 6))
    thick = np.diag([1, 1, 2, 1.0])
    phantom = replace(phantom, affine=phantom.affine @ thick, mri_affine=phantom.mri_affine @ thick)
    nifti_mrs.write_phantom(tmp_path, phantom, 12.0)
    run(tmp_path)
    found, mask = result.read(tmp_path / "out"), phantom.mask
    truth = phantom.concentrations.values[1:, mask]
    single = 10 * found["amplitude"].values[1:, mask] / found["amplitude"].values[0, mask]
    error = [np.sqrt(((x - truth) ** 2).mean()) for x in (found["concentration"].values[1:, mask], single)]
    assert error[0] < 0.65 * error[1]


def test_frames_are_coupled_and_what_changes_between_them_is_kept(tmp_path):
    """Glc is fed in; what stays gains by a second and third look at it."""
    frames = 4
    levels = [PHANTOM.concentrations * (1 - 0.05 * i * (np.arange(4) == 1))[:, None, None, None] for i in range(frames)]
    sets = [replace(PHANTOM, concentrations=c).measure(8.0, [3, i]) for i, c in enumerate(levels)]
    series = replace(Series.of(sets[0]), fids=np.stack([s.fids for s in sets], -1))
    single = Adaptive().single_voxel(series.model)
    voxels = SingleVoxels.of(series, single)
    truth = np.concatenate([c.values[:, PHANTOM.mask].T for c in levels])

    def error(found):
        return np.sqrt(((found.concentrations - truth)[:, 1:] ** 2).mean(0))

    together = Adaptive().adapted(voxels, errors=False)
    apart = Adaptive(frames=0).adapted(voxels, errors=False)
    assert together.settings["frames"] > 0
    assert (error(together) < 0.97 * error(apart)).sum() >= 2
    glc = together.concentrations[:, 1].reshape(frames, -1).mean(1)
    np.testing.assert_allclose(glc / glc[0], 1 - 0.05 * np.arange(frames), atol=0.03)


def test_a_voxel_without_signal_is_nobody_s_neighbor():
    data = PHANTOM.measure(12.0, 0)
    voxels = SingleVoxels.of(Series.of(data), Adaptive().single_voxel(data.model))
    amplitudes, places = voxels.amplitudes.copy(), np.argwhere(data.usable)
    bad = int(np.flatnonzero((places == [16, 16, 0]).all(1))[0])
    amplitudes[bad] = [-0.1, 5, 5, 5]
    found = Adaptive(lam=10, tau=1, neighbors=4, mri=True).adapted(replace(voxels, amplitudes=amplitudes))
    assert np.isnan(found.concentrations[bad]).all()
    assert np.isnan(found.sd[bad]).any()
    apart = np.arange(len(places)) == bad
    without = Adaptive(lam=10, tau=1, neighbors=4, mri=True).adapted(replace(voxels, trusted=~apart))
    np.testing.assert_array_equal(found.concentrations[~apart], without.concentrations[~apart])
    np.testing.assert_allclose(without.concentrations[bad], data.model.concentrations(voxels.amplitudes[bad]))


def test_a_short_fid_counts_its_noise_as_white(tmp_path):
    model = default_2h_model(Acquisition(40, 1 / 1500, 60.0))
    nifti_mrs.write_phantom(tmp_path, rings(matrix=16, model=model), 20.0)
    voxels = SingleVoxels.of(Series.of(rings(matrix=16, model=model).measure(20.0, 0)), estimate.make("fit"))
    if voxels.white:
        assert any("white" in said for said in Adaptive().adapted(voxels, errors=False).notes)
    summary = run(tmp_path)
    assert summary["adapted"]["settings_tried"] > 0


def test_without_noise_there_is_nothing_to_adapt_to():
    data = PHANTOM.measure(12.0, 0)
    voxels = SingleVoxels.of(Series.of(data), Adaptive().single_voxel(data.model))
    found = Adaptive().adapted(replace(voxels, covariance=0 * voxels.covariance))
    np.testing.assert_array_equal(found.concentrations, data.model.concentrations(voxels.amplitudes))
    assert "single voxels" in found.notes[0]


def test_one_voxel_has_no_neighbors():
    data = PHANTOM.measure(12.0, 0)
    mask = np.zeros(data.grid_shape, bool)
    mask[16, 16] = True
    one = data.replace(mask=mask)
    maps = Adaptive()(one)
    np.testing.assert_allclose(maps.values[:, mask], estimate.make("sve")(one).values[:, mask], rtol=1e-4)


def test_an_estimator_of_one_s_own_may_adapt(folder, monkeypatch):
    @dataclass(frozen=True)
    class Median:
        name: str = "median"
        base: str = "fit"

        def adapted(self, voxels, errors=True):
            conc = np.broadcast_to(np.nanmedian(voxels.series.model.concentrations(voxels.amplitudes), 0), (732, 4))
            return Adapted(conc, 0 * conc + 0.5, "a guess", 2.0, settings={"step": 1}, notes=("Flat.",))

        def __call__(self, data):
            raise NotImplementedError

    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    monkeypatch.setattr(registry, "_USES", dict(registry._USES))
    estimate.register("median", Median, uses=("neighbors",))
    found = run(folder, "median", estimator="median")
    assert found["adapted"]["step"] == 1
    assert "Flat." in found["warnings"]
    assert found["errors"]["how"].startswith("a guess")
    assert {"sd_Glx.nii.gz", "low_Glx.nii.gz", "high_Glx.nii.gz"} <= set(found["errors"]["files"])


def test_share_of_neighbors_outside_a_block():
    """By counting: of a block of 2 x 2, each voxel touches 3 inside and 5 outside; of 2 x 2 x 2, 7 and 19."""
    assert outside(1, 2) == 1
    assert outside(2, 2) == pytest.approx(5 / 8)
    assert outside(2, 3) == pytest.approx(19 / 26)
