"""From files to maps under a signal model that the data set taught: what changes, what is said, what is kept."""

import json
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import yaml
from nifti_mrs.create_nmrs import gen_nifti_mrs
from nifti_mrs.nifti_mrs import NIFTI_MRS

from precise_lib.errors import InputError
from precise_lib.estimate.noise_model import Noise
from precise_lib.quantify import quantify, report
from precise_lib.quantify.estimated import estimated
from precise_lib.quantify.request import checked
from precise_lib.quantify.taught import Taught, of_series
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import dmi_11t7
from precise_lib.simulate.imperfections import simulate

MODEL, TRUTH = dmi_11t7(), np.array([1.0, 0.25, 0.35, 0.2])
SHAPE = (12, 6, 2)


def write(path, *found, snr=60, seed=0):
    """A measurement under imperfections."""
    made = simulate(found, MODEL, np.broadcast_to(TRUTH, (*SHAPE, 4)), snr, seed, phase_rad=0.4)
    gen_nifti_mrs(made.fids, 1 / 2500, 76.7, nucleus="2H", dim_tags=[None] * 3).save(path)
    return path


def bias(folder) -> np.ndarray:
    """Of the mean over the grid, in %."""
    mean = [nib.load(folder / f"conc_{name}.nii.gz").get_fdata().mean() for name in MODEL.names[1:]]
    return 100 * (np.array(mean) / (10 * TRUTH[1:]) - 1)


def sd(folder, name="Glc"):
    return nib.load(folder / f"sd_{name}.nii.gz").get_fdata()


def test_ideal_data_are_left_alone(tmp_path):
    path = write(tmp_path / "d.nii.gz")
    found = [quantify(path, tmp_path / c, estimator="fit", calibrate=c) for c in ("auto", "off")]
    assert found[0]["calibration"] is None
    assert found[0]["signal_model_hash"] == found[1]["signal_model_hash"]
    assert not (tmp_path / "auto" / "calibrated.yaml").exists()
    for name in MODEL.names:
        for kind in ("conc", "sd"):
            a, b = ((tmp_path / c / f"{kind}_{name}.nii.gz").read_bytes() for c in ("auto", "off"))
            assert a == b


@pytest.mark.parametrize("estimator", ["fit", "sve"])
def test_a_dead_time_is_learned_from_the_data(tmp_path, estimator):
    path = write(tmp_path / "d.nii.gz", ("dead time", 0.6))
    quantify(path, tmp_path / "off", estimator=estimator, calibrate="off")
    assert np.abs(bias(tmp_path / "off")).max() > 15
    summary = quantify(path, tmp_path / "auto", estimator=estimator)
    # 144 voxels at an SNR of 60 tell a mean to half a percent, the dead time to 2 us
    assert np.abs(bias(tmp_path / "auto")).max() < 2
    about = summary["calibration"]
    assert about["changed"]
    assert about["terms"][0]["term"] == "dead time"
    assert about["terms"][0]["value"] == pytest.approx(6e-4, abs=2e-5)
    assert about["maps_moved_by_percent"]["Glc"] > 15
    assert any("taught the signal model" in w and "dead time 0.6" in w for w in summary["warnings"])
    assert any("was not made for these lines" in w for w in summary["warnings"]) == (estimator == "sve")
    assert summary["settings"]["estimator"] == "fit"
    shown = report.read(report.Source(path, None, None, tmp_path / "auto", False))
    assert shown.model.acquisition.dead_time_s == pytest.approx(6e-4, abs=2e-5)


def test_lines_of_unlike_width_at_3_t(tmp_path):
    """40, 30 and 61 Hz as in a brain: Glx of 4.6 mM, which one common width made 1.8 +- .2 without a flag.

    What the data teach is one of several descriptions of the same signal: its uncertainty is the larger part of the SD.
    """
    acquisition = Acquisition(1400, 2e-4, 19.613053)
    places = {"water": (4.7, 0.008), "Glc": (3.7, 0.0106), "Glx": (2.4, 0.0052), "Lac": (1.3, 0.008)}
    model = SignalModel(acquisition, tuple(Resonance(name, *place) for name, place in places.items()))
    truth = np.array([1.0, 0.29, 0.46, 0.0])
    made = simulate([], model, np.broadcast_to(truth, (8, 8, 1, 4)), 60, 0)
    gen_nifti_mrs(made.fids, 2e-4, 19.613053, nucleus="2H", dim_tags=[None] * 3).save(tmp_path / "d.nii.gz")
    summary = quantify(tmp_path / "d.nii.gz", tmp_path / "o", estimator="fit")
    assert "width of Glx" in [each["term"] for each in summary["calibration"]["terms"]]
    for name, mm in zip(("Glc", "Glx", "Lac"), 10 * truth[1:], strict=True):
        values = nib.load(tmp_path / "o" / f"conc_{name}.nii.gz").get_fdata()
        assert abs(values.mean() - mm) < 1.5 * np.median(sd(tmp_path / "o", name))
        assert values.std() < 1.2 * np.median(sd(tmp_path / "o", name))


def test_the_calibrated_model_is_kept_and_used_again(tmp_path):
    first, second = (write(tmp_path / f"{s}.nii.gz", ("T2* per line", 0.4), seed=s) for s in (1, 2))
    summary = quantify(first, tmp_path / "a", estimator="fit")
    kept = tmp_path / "a" / "calibrated.yaml"
    assert yaml.safe_load(kept.read_text())["signal_model"] == summary["signal_model"]
    again = quantify(second, tmp_path / "b", estimator="fit", calibrate=kept)
    assert again["signal_model"] == summary["signal_model"]
    assert again["calibration"]["why"] == "given"
    assert np.abs(bias(tmp_path / "b")).max() < 3
    # the same uncertainty as in the run that learned it
    assert again["calibration"]["part_in_median_sd_mm"]["Glc"] == pytest.approx(
        summary["calibration"]["part_in_median_sd_mm"]["Glc"], rel=0.1
    )


def test_the_uncertainty_goes_into_the_sd(tmp_path):
    path = write(tmp_path / "d.nii.gz", ("T2* per line", 0.4))
    summary = quantify(path, tmp_path / "o", estimator="fit")
    part = summary["calibration"]["part_in_median_sd_mm"]["Glc"]
    model = tmp_path / "m.yaml"
    model.write_text(json.dumps(summary["signal_model"]))
    known = quantify(path, tmp_path / "known", estimator="fit", model=str(model), calibrate="off")
    # which samples are free of signal each run knows from its model file: levels differ by what chance makes of them
    level = summary["errors"]["noise_sd"] / known["errors"]["noise_sd"]
    assert level == pytest.approx(1, abs=0.01)
    added = np.sqrt(np.median(sd(tmp_path / "o") ** 2 - (level * sd(tmp_path / "known")) ** 2))
    assert added == pytest.approx(part, rel=0.05)
    assert 0.002 < part / np.median(sd(tmp_path / "known")) < 0.5


@pytest.mark.parametrize("header_s", [None, 6e-4])
def test_a_dead_time_may_be_asked_for(tmp_path, header_s):
    """Whatever the header says of it, more or less."""
    path = write(tmp_path / "d.nii.gz", ("dead time", 0.3))
    if header_s is not None:
        mrs = NIFTI_MRS(str(path))
        mrs.add_hdr_field("AcquisitionStartTime", header_s)
        mrs.save(tmp_path / "e.nii.gz")
        path = tmp_path / "e.nii.gz"
    summary = quantify(path, tmp_path / "o", estimator="fit", calibrate="off", dead_time_s="auto")
    learned = summary["calibration"]["terms"]
    assert [each["term"] for each in learned] == ["dead time"]
    assert learned[0]["value"] == pytest.approx(3e-4, abs=5 * learned[0]["sd"])
    assert summary["settings"]["scan"] == {"dead_time_s": "auto"}


def test_a_network_stays_where_nothing_was_learned(tmp_path):
    """A dead time of zero within its SD: the network's maps to the bit, and an SD that knows the uncertainty."""
    path = write(tmp_path / "d.nii.gz")
    options = {"estimator": "sve", "calibrate": "off"}
    plain = quantify(path, tmp_path / "p", **options)
    summary = quantify(path, tmp_path / "o", dead_time_s="auto", **options)
    assert summary["weights"] == plain["weights"]
    assert summary["weights"] is not None
    assert summary["settings"]["estimator"] == "sve"
    assert not summary["calibration"]["changed"]
    assert any("lies within its SD, so nothing was changed: the network" in w for w in summary["warnings"])
    assert (tmp_path / "o" / "conc_Glc.nii.gz").read_bytes() == (tmp_path / "p" / "conc_Glc.nii.gz").read_bytes()
    assert (sd(tmp_path / "o") > sd(tmp_path / "p")).all()


def test_what_cannot_be_taught_is_said(tmp_path):
    path = write(tmp_path / "d.nii.gz", ("lipid", 0.2))
    summary = quantify(path, tmp_path / "o", estimator="fit")
    assert not summary["calibration"]["changed"]
    assert any("likeliest reason: lipid under or near lactate" in w for w in summary["warnings"])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "not readable"),
        ("a: 1", "no calibrated model"),
        ("calibration: {given: 3, terms: [], covariance: []}", "no calibrated model"),
        ("[1, 2]", "no calibrated model"),
    ],
)
def test_files_that_are_no_calibration(tmp_path, content, said):
    path, other = write(tmp_path / "d.nii.gz"), tmp_path / "c.yaml"
    if content is not None:
        other.write_text(content)
    with pytest.raises(InputError, match=said):
        quantify(path, tmp_path / "o", estimator="fit", calibrate=other)
    assert not (tmp_path / "o").exists()


def test_a_line_that_is_hardly_there_makes_no_color_of_white_noise():
    """Widths as of a voxel at 3 T, without lactate, to which the noise then taught a T2* of 60 ms."""
    rng, shape = np.random.default_rng(1), (8, 8, 1)
    acquisition = Acquisition(1400, 2e-4, 19.613053)
    lines = [replace(r, t2star_s=t) for r, t in zip(MODEL.resonances, (0.008, 0.0106, 0.0052, 0.008), strict=True)]
    true = replace(MODEL, acquisition=acquisition, resonances=tuple(lines))
    given = replace(MODEL, acquisition=acquisition)
    noisy = rng.standard_normal((*shape, 1400, 2)).view(complex)[..., 0]
    fids = true.fids([1.0, 0.29, 0.46, 0.0]) + snr_to_sigma(true, 25) * noisy
    series = Series.of(MRSI(fids.astype(np.complex64), given))
    learned = [replace(r, t2star_s=t) for r, t in zip(given.resonances, (0.02, 0.0421, 0.0086, 0.0601), strict=True)]
    found = Taught(given, replace(given, resonances=tuple(learned)), (), np.zeros(0), np.zeros((0, 0)), [], {})
    assert Noise.of(replace(series, model=found.model)).density is not None  # what the wrong widths leave of Glx
    under = SimpleNamespace(
        series=replace(series, model=found.model), taught=found, zero_filled=0, network=None, reference=None
    )
    under.scale, under.inside = SimpleNamespace(factor=1.0), np.ones(64, bool)
    known = estimated(checked("fit", None, None, None, 100, 0, None, None), under).errors.estimates
    assert known.noise.density is None
    assert known.noise.level == pytest.approx(snr_to_sigma(true, 25), rel=0.02)


def test_a_line_more_is_offered_where_the_voxels_ask_for_it(tmp_path):
    """Lipid of a fifth of water under lactate: +52 % of lactate and a sentence; with the model offered, nothing."""
    path = write(tmp_path / "d.nii.gz", ("lipid", 0.2))
    about = quantify(path, tmp_path / "a", estimator="fit")["calibration"]
    assert bias(tmp_path / "a")[2] > 30
    assert about["offered"] == "offered.yaml"
    assert not about["changed"]
    summary = quantify(path, tmp_path / "b", estimator="fit", model=str(tmp_path / "a" / "offered.yaml"))
    assert summary["calibration"] is None
    # 144 voxels at an SNR of 60 tell the mean of a lactate under lipid to .7 %
    assert np.abs(bias(tmp_path / "b")).max() < 2.1
    assert not (tmp_path / "b" / "offered.yaml").exists()


def test_baselines_of_gaussian_width_alone_can_be_taught_beside():
    """Their T2* of seconds made narrower lines of all and a negative T2* of their own; nothing was taught then."""
    model = replace(MODEL, resonances=(*MODEL.resonances, Resonance("hump", 3.0, 10.0, "baseline", ((3, 1, 0, 300),))))
    made = simulate([("dead time", 0.6)], model, np.broadcast_to([*TRUTH, 0.1], (*SHAPE, 5)), 60, 0, phase_rad=0.4)
    found = of_series(Series.of(MRSI(made.fids, model)))
    assert found.terms[0].kind == "dead time"
    assert found.values[0] == pytest.approx(6e-4, abs=3e-5)
