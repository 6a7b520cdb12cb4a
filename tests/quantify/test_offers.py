"""What an estimator offers is what it gets: errors, flags and the choice of its setting, whoever wrote it."""

import json
import shlex
from dataclasses import dataclass, replace

import numpy as np
import pytest

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate import registry
from precise_lib.estimate.choose import ratios
from precise_lib.estimate.fit import fit_fids
from precise_lib.estimate.precise import Precise
from precise_lib.estimate.smoother import DenseMap, Smoother
from precise_lib.evaluate import crlb
from precise_lib.io import nifti, nifti_mrs
from precise_lib.quantify import quantify
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model
from precise_lib.simulate.phantoms import rings

SNR = 20.0


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    monkeypatch.setattr(registry, "_USES", dict(registry._USES))
    estimate.register("halves", Halves)
    estimate.register("averaged", Averaged, uses=("neighbors",))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, phantom = tmp_path_factory.mktemp("files"), rings(matrix=16)
    nifti_mrs.write_phantom(folder, phantom, SNR)
    return folder, phantom


class Halves:
    """A fit of the first fifth of each FID: unbiased, with an SD above the bound."""

    name = "halves"

    def amplitudes(self, fids, model):
        n = model.acquisition.n_samples // 5
        short = replace(model, acquisition=replace(model.acquisition, n_samples=n))
        return fit_fids(fids[:, :n], short).amplitudes

    def __call__(self, data):
        return data.map_usable(lambda fids: self.amplitudes(fids, data.model), self.name)


@dataclass(frozen=True)
class Averaged:
    """The fit, averaged with a share of the next voxels along the first axis."""

    share: float = 0.2
    name: str = "averaged"
    base: str = "fit"
    parameter = "share"
    values = np.array([0.0, 0.02, 0.05, 0.1, 0.2, 0.4])

    def smoother(self, data):
        places = np.argwhere(data.usable)
        near = (np.abs(places[:, None] - places).sum(-1) == 1) & (places[:, None, 1:] == places[:, 1:]).all(-1)
        return Smoother(data.usable, lambda share: DenseMap((1 - share) * np.eye(len(near)) + share * near / 2))

    def __call__(self, data):
        maps, water = self.smoother(data).at([self.share] * 4), data.model.index(data.model.reference)
        fids = estimate.make(self.base)
        return data.map_usable(lambda x: ratios(maps, fids.amplitudes(x, data.model), water), self.name)


def sd_of(folder, name="Glx"):
    return nifti.read_map(folder / f"sd_{name}.nii.gz")[0]


def test_amplitudes_bring_errors_and_flags(files, tmp_path):
    folder, phantom = files
    given = (folder / "dmi.nii.gz", tmp_path / "halves", None, folder / "mask.nii.gz", "halves")
    summary = quantify(*given)
    assert summary["errors"]["method"] == "closed form"
    excess = summary["errors"]["single_voxel_sd_over_bound"]
    assert all(1.01 < excess[name] < 3 for name in ("Glc", "Glx", "Lac"))
    assert set(summary["flags"]) == {"residual", "snr", "fit", "negative"}
    repeated = quantify(*given[:1], tmp_path / "mc", *given[2:], errors="montecarlo", repeats=60)
    closed, counted = sd_of(tmp_path / "halves")[phantom.mask], sd_of(tmp_path / "mc")[phantom.mask]
    assert np.sqrt((closed**2).mean() / (counted**2).mean()) == pytest.approx(1, abs=0.06)
    assert repeated["errors"]["method"] == "monte carlo"
    with pytest.raises(InputError, match="lambda can be chosen"):
        quantify(*given, lam="auto")


def test_a_linear_map_brings_errors_bias_and_the_choice_of_its_setting(files, tmp_path):
    folder, phantom = files
    given = (None, folder / "mask.nii.gz", "averaged")
    summary = quantify(folder / "dmi.nii.gz", tmp_path / "a", *given)
    data = nifti_mrs.read_mrsi(folder / "dmi.nii.gz", mask=folder / "mask.nii.gz")
    expected = Averaged()(data.replace(model=SignalModel.from_dict(summary["signal_model"]))).values[2]
    np.testing.assert_allclose(nifti.read_map(tmp_path / "a" / "conc_Glx.nii.gz")[0], expected, rtol=1e-4)
    assert {"sd_Glx.nii.gz", "bias_Glx.nii.gz"} <= set(summary["errors"]["files"])
    quantify(folder / "dmi.nii.gz", tmp_path / "mc", *given, errors="montecarlo", repeats=60)
    closed, counted = (sd_of(tmp_path / name)[phantom.mask] for name in ("a", "mc"))
    assert np.sqrt((closed**2).mean() / (counted**2).mean()) == pytest.approx(1, abs=0.06)
    chosen = quantify(folder / "dmi.nii.gz", tmp_path / "auto", *given, lam="auto")["lambda_choice"]["chosen"]
    assert set(chosen) == {"Glc", "Glx", "Lac"}
    assert all(0 <= share <= 0.4 for share in chosen.values())
    assert summary["false_negative"] is None


def test_a_command_to_copy_quotes_its_path(tmp_path):
    folder = tmp_path / "the rat's brain"
    model = default_2h_model(Acquisition(400, 1 / 4000, 60.0))
    nifti_mrs.write_mrsi(folder / "d.nii.gz", MRSI(model.fids(np.ones((1, 1, 1, 4))), model))
    with pytest.raises(InputError) as refusal:
        quantify(folder / "d.nii.gz", tmp_path / "out", estimator="sve")
    assert f"'precise train --like {shlex.quote(str(folder / 'd.nii.gz'))}'" in str(refusal.value)


def test_the_prior_works_on_the_fit_where_no_network_fits(tmp_path):
    model = default_2h_model(Acquisition(400, 1 / 4000, 60.0))
    phantom = rings(matrix=16, model=model)
    nifti_mrs.write_phantom(tmp_path, phantom, SNR)
    given = [tmp_path / f"{name}.nii.gz" for name in ("dmi", "mri", "mask")]
    summary = quantify(given[0], tmp_path / "out", *given[1:], "precise")
    assert summary["weights"] is None
    assert any("works on the model fit" in said for said in summary["warnings"])
    assert {"sd_Glx.nii.gz", "bias_Glx.nii.gz"} <= set(summary["errors"]["files"])
    assert set(summary["errors"]["single_voxel_sd_over_bound"].values()) == {1.0}
    assert set(summary["flags"]) == {"residual", "snr", "fit", "negative", "bright"}
    assert summary["false_negative"]["kept"]["Lac"]
    # one lambda chosen; a gain in SD against the fit alone, whose SD is the bound
    auto = quantify(given[0], tmp_path / "auto", *given[1:], lam="auto")
    assert auto["lambda_choice"]["chosen"]["Lac"] > 0
    bound = 10 * crlb.ratio_sd(model, phantom.amplitudes[phantom.mask], snr_to_sigma(model, SNR))[:, 2]
    assert np.median(sd_of(tmp_path / "out")[phantom.mask] / bound) < 0.8
    data = nifti_mrs.read_mrsi(*given)
    maps = Precise()(data)
    assert maps.attrs["base"] == "fit"
    np.testing.assert_allclose(nifti.read_map(tmp_path / "out" / "conc_Lac.nii.gz")[0], maps.values[3], rtol=1e-5)
    for alone in ("sve", "precise-finetune"):
        with pytest.raises(InputError, match="precise train"):
            quantify(given[0], tmp_path / "no", *given[1:], estimator=alone)


def test_a_signal_model_of_ones_own_is_fitted(tmp_path):
    """Nobody asked for a network: lines in a file are a matter of the fit, and a sentence says so."""
    model = default_2h_model(Acquisition(400, 1 / 4000, 60.0))
    nifti_mrs.write_mrsi(tmp_path / "d.nii.gz", MRSI(model.fids(np.full((2, 2, 1, 4), [1.0, 0.3, 0.6, 0.1])), model))
    (tmp_path / "lines.json").write_text(json.dumps(model.to_dict()))
    summary = quantify(tmp_path / "d.nii.gz", tmp_path / "out", model=tmp_path / "lines.json")
    assert summary["settings"]["estimator"] == "fit"
    assert any(
        said.startswith("A signal model was given: the model fit ('fit') was used") for said in summary["warnings"]
    )
    np.testing.assert_allclose(nifti.read_map(tmp_path / "out" / "conc_Glx.nii.gz")[0], 6.0, rtol=1e-4)
