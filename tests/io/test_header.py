"""Header keys that change a number: what each is read as, and which values are refused."""

import json

import numpy as np
import pytest
from nifti_mrs.create_nmrs import gen_nifti_mrs

from precise_lib.errors import InputError
from precise_lib.estimate.fit import fit_fids
from precise_lib.io import header, nifti_mrs
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import default_2h_model

AMPLITUDES = (1.0, 0.25, 0.3, 0.12)
ACQUISITION = Acquisition(256, 1 / 2500, 76.7)


def stored(tmp_path, keys, model: SignalModel):
    """A file with one clean voxel of `model` and these header keys."""
    path = tmp_path / "dmi.nii.gz"
    mrs = gen_nifti_mrs(model.fids(AMPLITUDES)[None, None, None].astype(np.complex64), 1 / 2500, 76.7, nucleus="2H")
    for key, value in keys.items():
        mrs.add_hdr_field(key, value)
    mrs.save(path)
    return path


@pytest.mark.parametrize(
    ("keys", "carrier"),
    [
        ({}, 4.7),
        ({"SpecFreqChemShift": 3.0}, 3.0),
        ({"SpecFreqChemShift": 2.4}, 2.4),
        ({"SpecFreqChemShift": 4.7, "RxOffset": -1.7}, 3.0),
        ({"RxOffset": -1.7}, 3.0),
        ({"SpecFreqChemShift": 4.7, "TxOffset": -1.7}, 4.7),
    ],
)
@pytest.mark.parametrize("dead_time_s", [0.0, 6e-4])
def test_the_carrier_of_the_header_is_obeyed(tmp_path, keys, carrier, dead_time_s):
    """Clean FIDs come back to 1e-4, whether the model takes the carrier or the FIDs are turned to the model's."""
    acquisition = Acquisition(256, 1 / 2500, 76.7, dead_time_s=dead_time_s)
    lines = default_2h_model(acquisition).resonances
    keys = keys | ({"AcquisitionStartTime": dead_time_s} if dead_time_s else {})
    path = stored(tmp_path, keys, SignalModel(acquisition, lines, carrier_ppm=carrier))
    for model in (None, default_2h_model(acquisition)):
        data = nifti_mrs.read_mrsi(path, model=model)
        fit = fit_fids(data.fids.reshape(1, -1), data.model)
        np.testing.assert_allclose(fit.amplitudes[0], AMPLITUDES, atol=1e-4)
        assert abs(fit.shift_hz[0]) < 0.01
        assert abs(fit.phase_rad[0]) < 1e-3


@pytest.mark.parametrize(
    ("keys", "dead_time_s"),
    [
        ({}, None),
        ({"AcquisitionStartTime": 6e-4}, 6e-4),
        ({"EchoTime": 1.2e-3}, 1.2e-3),  # the delay of a FID sequence
        ({"EchoTime": 1e-3, "AcquisitionStartTime": 2e-4}, 1.2e-3),
        ({"EchoTime": 0.035}, None),  # a spin echo
        ({"EchoTime": 0.035, "AcquisitionStartTime": 2e-4}, 2e-4),
    ],
)
def test_dead_time(keys, dead_time_s):
    assert header.parse(json.dumps(keys)).dead_time_s == (dead_time_s and pytest.approx(dead_time_s))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"kSpace": [True, True, False]}, "k-space"),
        ({"AcquisitionStartTime": -2e-4}, "dead time is -0.0002 s"),
        ({"AcquisitionStartTime": 0.6}, "given in ms"),
        ({"RepetitionTime": 0}, "repetition time is 0 s"),
        ({"RepetitionTime": 400}, "given in ms"),
        ({"ExcitationFlipAngle": 400}, "flip angle is 400 degrees"),
        ({"ExcitationFlipAngle": 0.0}, "flip angle is 0.0"),
        ({"SpecFreqChemShift": 7.67e7}, "carrier"),
        ({"RepetitionTime": float("nan")}, "repetition time is nan"),
    ],
)
def test_values_that_cannot_be(keys, said):
    with pytest.raises(InputError, match=said):
        header.parse(json.dumps(keys))


def test_all_that_is_known_survives_a_file(tmp_path):
    acquisition = Acquisition(256, 1 / 2500, 76.7, "2H", 5e-4, 0.4, 60.0)
    model = SignalModel(acquisition, default_2h_model(acquisition).resonances, carrier_ppm=3.2)
    data = MRSI(np.ones((1, 1, 1, 256), np.complex64), model)
    nifti_mrs.write_mrsi(tmp_path / "dmi.nii.gz", data)
    found = nifti_mrs.open_mrsi(tmp_path / "dmi.nii.gz")
    assert found.acquisition == acquisition
    assert found.header.carrier_ppm == 3.2
    assert nifti_mrs.read_mrsi(tmp_path / "dmi.nii.gz").model == model


@pytest.mark.parametrize("name", ["D", "2h", "H2", "2H", "deuterium"])
def test_nuclei_under_other_names(tmp_path, name):
    fids = np.ones((1, 1, 1, 64), np.complex64)
    gen_nifti_mrs(fids, 1 / 2500, 76.7, nucleus=name, no_conj=True).save(tmp_path / "d.nii.gz")
    assert nifti_mrs.read_mrsi(tmp_path / "d.nii.gz").model.acquisition.nucleus == "2H"
