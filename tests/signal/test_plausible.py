"""Numbers that no scanner and no line has: one sentence that names the value and the likely slip."""

from dataclasses import replace

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.noise import LAST, free_space
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.io.lines import read_signal_model
from precise_lib.signal.model import SignalModel
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.plausible import check_acquisition, check_model
from precise_lib.signal.presets import dmi_3t, dmi_4t, dmi_7t, dmi_11t7, dmi_rat

GOOD = Acquisition(512, 4e-4, 76.7)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spectrometer_frequency_mhz": 76.7e6}, "probably given in Hz (that would be 76.7 MHz)"),
        ({"spectrometer_frequency_mhz": 76.7e3}, "probably given in kHz"),
        ({"spectrometer_frequency_mhz": 0.0767}, "probably given in GHz (that would be 76.7 MHz)"),
        ({"spectrometer_frequency_mhz": 499.6}, "76.4 T (perhaps it is that of 1H)"),
        ({"dwell_time_s": 0.4}, "probably given in ms (that would be 0.0004 s)"),
        ({"dwell_time_s": 400.0}, "probably given in us (that would be 0.0004 s)"),
        ({"dwell_time_s": 1.0}, "dwell time is 1.0 s"),
        ({"dwell_time_s": 2500.0}, "it may be the bandwidth in Hz, of 0.0004 s"),
        ({"dwell_time_s": 4e-10}, "dwell time is 4e-10 s"),
        ({"dead_time_s": 0.6}, "dead time is 0.6 s"),
        ({"dead_time_s": 600.0}, "probably given in us"),
        ({"repetition_time_s": 400.0}, "probably given in ms (that would be 0.4 s)"),
        ({"repetition_time_s": 0.0}, "repetition time is 0.0 s"),
        ({"flip_angle_deg": 400.0}, "flip angle is 400.0 degrees"),
    ],
)
def test_acquisitions(change, said):
    with pytest.raises(InputError) as refusal:
        check_acquisition(replace(GOOD, **change))
    assert said in str(refusal.value)


def lines(*more, **changes) -> SignalModel:
    return SignalModel(replace(GOOD, **changes), (Resonance("water", 4.7, 0.02), *more))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (lines(Resonance("Glc", 3.7, 20)), "T2* of Glc is 20 s, outside 0.0001 to 1 s; it was probably given in ms"),
        (lines(Resonance("Glc", 3.7, 20000)), "probably given in us"),
        (lines(Resonance("Glc", 3.7, 1e-5)), "T2* of Glc is 1e-05 s"),
        (lines(Resonance("Glc", 1e6, 0.02)), "Glc at 1e+06 ppm is 7.67e+07 Hz from the carrier"),
        (lines(Resonance("Glc", np.inf, 0.02)), "Glc at inf ppm"),
        (lines(Resonance("Glc", 25.0, 0.02)), "beyond the bandwidth of +-1250 Hz"),
        (lines(Resonance("Glc", 3.7, 0.02, lines=((3.7, 1, 0, 0), (25.0, 1, 0, 0)))), "Glc at 25 ppm"),
        (lines(Resonance("Glc", 4.7, 0.02)), "water and Glc lie at one place"),
        (lines(Resonance("Glc", 4.7005, 0.021)), "water and Glc lie at one place"),
        (lines(Resonance("Glc", 3.7, 0.02, t1_s=64.0 * 1000)), "T1 of Glc is 64000.0 s"),
        (lines(Resonance("Glc", 3.7, 0.02, nuclei=400)), "nuclei per molecule of Glc is 400"),
        (lines(Resonance("Glc", 3.7, 0.02, shift_sd_hz=1000.0)), "shift_sd_hz of Glc is 1000 Hz"),
        (replace(lines(dead_time_s=0.015), resonances=(Resonance("water", 4.7, 0.004),)), "no signal is left"),
    ],
)
def test_models(model, said):
    with pytest.raises(InputError) as refusal:
        check_model(model)
    assert said in str(refusal.value)


def test_what_is_meant_passes():
    for model in (dmi_11t7(), dmi_3t(), dmi_4t(), dmi_7t(), dmi_rat()):
        check_model(model)
    check_model(lines(Resonance("lipid", 4.7, 0.008)))  # at one place, but of another width
    check_acquisition(Acquisition(4096, 1e-4, 120.15, "31P"))
    check_acquisition(Acquisition(128, 4e-5, 17.6, "129Xe"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{name: no, ppm: 4.7, t2star_s: 0.02}", "has name False; it must be text"),
        ("{name: 3, ppm: 4.7, t2star_s: 0.02}", "has name 3; it must be text"),
        (
            "{name: water, ppm: 4.7 ppm, t2star_s: 0.02}",
            "Resonance 1 of the signal model has ppm '4.7 ppm'; it must be a number",
        ),
        ("{name: water, ppm: 4.7, t2star_s: 20ms}", "has t2star_s '20ms'; it must be a number"),
        ("{name: water, ppm: 4.7, t2star_s: yes}", "has t2star_s True; it must be a number"),
        ("{name: water, ppm: 4.7}", "Resonance 1 of the signal model lacks t2star_s"),
        ("{name: water, ppm: 4.7, t2star: 0.02}", "has unknown settings t2star (did you mean t2star_s?)"),
        ("water", "Resonance 1 of the signal model is 'water'"),
        ("{name: water, t2star_s: 0.02, lines: [{hz: 8}]}", "by hz from the resonance's own ppm"),
        ("{name: water, ppm: 4.7, t2star_s: 0.02, lines: [{ppm: 1, ratio: Glc}]}", "ratio of a line of water is 'Glc'"),
        ("{name: water, ppm: 4.7, t2star_s: 0.02, lines: [{ppm: 1, ratio: 0}]}", "ratios of the lines of water are"),
        ("{name: water, ppm: 4.7, t2star_s: 0.02, lines: [{ppm: 1, hz: 3}]}", "it has ppm or hz"),
        ("{name: water, ppm: 4.7, t2star_s: 0.02, lines: 3}", "has lines 3; it must be a list"),
    ],
)
def test_files(tmp_path, content, said):
    path = tmp_path / "lines.yaml"
    path.write_text(f"resonances: [{content}]")
    with pytest.raises(InputError) as refusal:
        read_signal_model(path, GOOD)
    assert said.lower() in str(refusal.value).lower()


def test_lines_in_words_are_those_in_numbers(tmp_path):
    """Half of Glc at each place, and a J-coupled pair around its own; the amplitude is that of the sum."""
    path = tmp_path / "lines.yaml"
    path.write_text(
        "resonances:\n  - {name: water, ppm: 4.7, t2star_s: 0.02, t1_s: 0.35, nuclei: 1}\n"
        "  - {name: Glc, t2star_s: 0.02, lines: [{ppm: 3.71, ratio: 2}, {ppm: 3.88, ratio: 2}], shift_sd_hz: 1}\n"
        "  - {name: ATP, ppm: 2.0, t2star_s: 0.02, lines: [{hz: -8, gaussian_hz: 3}, {hz: 8, phase_deg: 180}]}\n"
    )
    model = read_signal_model(path, replace(GOOD, dead_time_s=3e-4))
    glc, atp = model.resonances[1:]
    assert glc == Resonance("Glc", 3.71, 0.02, lines=((3.71, 0.5, 0, 0), (3.88, 0.5, 0, 0)), shift_sd_hz=1)
    hz = (np.array([line[0] for line in atp.lines]) - 2.0) * 76.7
    np.testing.assert_allclose(hz, [-8, 8])
    np.testing.assert_allclose([line[1] for line in atp.lines], [0.5, -0.5])
    assert [line[3] for line in atp.lines] == [3, 0]
    assert model.acquisition.dead_time_s == 3e-4
    assert model.resonances[0].t1_s == 0.35


def test_every_reader_of_a_model_asks_the_same_judge():
    values = TrainConfig().to_dict()
    values["signal_model"]["resonances"][1]["t2star_s"] = 20
    with pytest.raises(InputError, match="probably given in ms"):
        TrainConfig.from_dict(values)


def test_long_fids_need_no_square_matrix():
    """16,384 samples: all their directions free of signal would be 4 GiB; some of them tell the noise level."""
    model = SignalModel(Acquisition(16_384, 1e-4, 76.7), tuple(replace(r, t2star_s=0.2) for r in dmi_11t7().resonances))
    space = free_space(model, 16_384, "subspace")
    assert space.shape == (16_384, LAST // 2)
    assert np.abs(space.T @ model.basis()).max() < 2e-3 * np.linalg.norm(model.basis()[-LAST:, 0])
    few = space[:, :20]
    np.testing.assert_allclose(few.conj().T @ few, np.eye(20), atol=1e-6)
