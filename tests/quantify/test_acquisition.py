"""From the header to the maps: what a scanner writes changes the numbers as it should, and the summary says how."""

import json

import numpy as np
import pytest
from nifti_mrs.create_nmrs import gen_nifti_mrs

from precise_lib.errors import InputError
from precise_lib.quantify import quantify
from precise_lib.signal.model import SignalModel
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model

TRUTH = {"water": 10.0, "Glc": 2.5, "Glx": 3.0, "Lac": 1.2}
AMPLITUDES = np.array(list(TRUTH.values())) / 10
SHAPE = (6, 6, 1)


def acquisition(**changes) -> Acquisition:
    return Acquisition(**{"n_samples": 512, "dwell_time_s": 1 / 2500, "spectrometer_frequency_mhz": 76.7} | changes)


def write(path, snr=60.0, keys=None, carrier_ppm=4.7, amplitudes=AMPLITUDES, seed=0, **changes):
    """FIDs of one object with white noise, and what the header says of them."""
    model = SignalModel(acquisition(**changes), default_2h_model(acquisition()).resonances, carrier_ppm)
    rng, sigma = np.random.default_rng(seed), float(snr_to_sigma(model, snr))
    clean = model.fids(np.broadcast_to(amplitudes, (*SHAPE, 4)), phase_rad=0.4)
    mrs = gen_nifti_mrs(add_noise(clean, sigma, rng).astype(np.complex64), 1 / 2500, 76.7, nucleus="2H")
    for key, value in (keys or {}).items():
        mrs.add_hdr_field(key, value)
    mrs.save(path)
    return path


def maps(folder):
    import nibabel as nib

    return {name: nib.load(folder / f"conc_{name}.nii.gz").get_fdata() for name in TRUTH}


def right(folder, truth=TRUTH, percent=3.0):
    """The mean over the grid is the truth; at an SNR of 60 and 36 voxels its SE is below .7 % of the weakest."""
    for name, values in maps(folder).items():
        assert values.mean() == pytest.approx(truth[name], rel=percent / 100), name


@pytest.mark.parametrize("estimator", ["fit", "sve", "fourier"])
@pytest.mark.parametrize("keys", [{"SpecFreqChemShift": 3.0}, {"SpecFreqChemShift": 4.7, "RxOffset": -1.7}])
def test_a_carrier_between_the_lines(tmp_path, estimator, keys):
    summary = quantify(write(tmp_path / "d.nii.gz", keys=keys, carrier_ppm=3.0), tmp_path / "o", estimator=estimator)
    right(tmp_path / "o", percent=8 if estimator == "fourier" else 3)  # lines of 16 Hz overlap a little
    assert "3 ppm" in summary["acquisition"]["header"]["SpecFreqChemShift"]
    assert "carrier" not in [each["what"] for each in summary["acquisition"]["assumed"]]


def test_a_signal_model_may_take_or_overrule_the_carrier(tmp_path):
    lines = (
        "resonances: ["
        + ", ".join(
            f"{{name: {r.name}, ppm: {r.ppm}, t2star_s: .02}}" for r in default_2h_model(acquisition()).resonances
        )
        + "]"
    )
    path = write(tmp_path / "d.nii.gz", keys={"SpecFreqChemShift": 3.0}, carrier_ppm=3.0)
    (tmp_path / "m.yaml").write_text(lines)
    quantify(path, tmp_path / "a", estimator="fit", model=str(tmp_path / "m.yaml"))
    right(tmp_path / "a")
    path = write(tmp_path / "e.nii.gz", keys={"SpecFreqChemShift": 4.7}, carrier_ppm=3.0)  # the header is wrong
    (tmp_path / "n.yaml").write_text(f"carrier_ppm: 3.0\n{lines}")
    summary = quantify(path, tmp_path / "b", estimator="fit", model=str(tmp_path / "n.yaml"))
    right(tmp_path / "b")
    assert any("that of the signal model was taken" in said for said in summary["warnings"])


@pytest.mark.parametrize(("keys", "scan"), [({"AcquisitionStartTime": 6e-4}, {}), ({}, {"dead_time_s": "6e-4"})])
def test_a_dead_time_of_the_header_or_by_hand(tmp_path, keys, scan):
    path = write(tmp_path / "d.nii.gz", keys=keys, dead_time_s=6e-4)
    summary = quantify(path, tmp_path / "o", **scan)  # no network fits: the fit serves and says so
    right(tmp_path / "o")
    assert summary["settings"]["estimator"] == "fit"
    assert any("0.6 ms" in said and "'fit'" in said for said in summary["warnings"])
    assert summary["acquisition"]["given"] == ({"dead_time_s": 6e-4} if scan else {})


def test_what_was_assumed_has_its_worth(tmp_path):
    """On this object .3 ms moves the maps by -10 / -7 / +1 %, .6 ms by -20 / -21 / -17 %; .5 ms lies between."""
    path = write(tmp_path / "d.nii.gz", amplitudes=np.array([1.0, 0.25, 0.35, 0.2]))
    summary = quantify(path, tmp_path / "o", estimator="fit")
    about = json.loads((tmp_path / "o" / "summary.json").read_text())["acquisition"]
    assert about == summary["acquisition"]
    dead = next(each for each in about["assumed"] if each["what"] == "dead time")
    for name, low, high in (("Glc", -20, -10), ("Glx", -21, -7), ("Lac", -17, 1)):
        assert low < dead["worth_percent"][name] < high
    assert "Glc -" in dead["sentence"]


@pytest.mark.parametrize(
    ("keys", "said"), [({"kSpace": [True, True, False]}, "k-space"), ({"WaterSuppressed": True}, "no reference")]
)
def test_a_header_that_says_not_ready(tmp_path, keys, said):
    with pytest.raises(InputError, match=said):
        quantify(write(tmp_path / "d.nii.gz", keys=keys), tmp_path / "o", estimator="fit")
    assert not (tmp_path / "o").exists()
