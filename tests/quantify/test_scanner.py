"""As an animal scanner writes it: dead time, digital filter, four coils, eight transients that drift; to maps in mM."""

import json
import re

import numpy as np
import pytest
from nifti_mrs.create_nmrs import gen_nifti_mrs
from scipy import signal

from precise_lib import cli
from precise_lib.io import nifti
from precise_lib.quantify import report
from precise_lib.signal.noise import snr_to_sigma
from precise_lib.signal.parts import Acquisition, saturation
from precise_lib.signal.presets import default_2h_model
from tests.quantify.test_concentrations import maps

MM = np.array([10.0, 2.5, 3.5, 2.0])
T1 = np.array([0.32, 0.064, 0.146, 0.297])
KEYS = {"AcquisitionStartTime": 6e-4, "RepetitionTime": 0.25, "ExcitationFlipAngle": 50.0, "SpecFreqChemShift": 3.0}
SHAPE, COILS, TRANSIENTS = (8, 8, 2), 4, 8
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def write(path, snr=30.0, seed=0):
    """The file; `snr` of water in the average of the combined coils, about."""
    rng, a = np.random.default_rng(seed), Acquisition(512, 1 / 5000, 76.7, dead_time_s=6e-4)
    model = default_2h_model(a)
    model = type(model)(a, model.resonances, carrier_ppm=3.0)
    weight = saturation(T1, 0.25, 50.0)
    amplitudes = MM / MM[0] * weight / weight[0]
    x = np.indices(SHAPE)[0]
    s = np.exp(1j * rng.uniform(-3, 3, COILS)) / (1 + (np.abs(x[..., None] - [0, 2, 5, 7]) / 4) ** 2)
    shift, phase = 2.0 * np.arange(TRANSIENTS), np.linspace(0, 2, TRANSIENTS)
    clean = model.fids(amplitudes, 3.0 * np.cos(x)[..., None] + shift, 0, phase)  # (x, y, z, d, t)
    clean = np.moveaxis(clean, -2, -1)[..., None, :] * s[..., None, :, None]  # (x, y, z, t, c, d)
    c = 0.3 ** np.abs(np.subtract.outer(np.arange(COILS), np.arange(COILS)))
    best = np.sqrt(np.einsum("xyzc,cd,xyzd->xyz", s.conj(), np.linalg.inv(c), s).real).mean()
    noise = rng.standard_normal((*SHAPE, 512 + 64, COILS, TRANSIENTS, 2)).view(complex)[..., 0]
    noise = signal.lfilter(signal.firwin(65, 0.6), 1, noise, axis=3)[:, :, :, 64:] / np.sqrt(0.6)
    noise = np.einsum("cb,xyztbd->xyztcd", np.linalg.cholesky(c), noise)
    sigma = float(snr_to_sigma(model, snr)) * best * np.sqrt(TRANSIENTS)
    fids = (clean + sigma * noise).astype(np.complex64)
    mrs = gen_nifti_mrs(fids, 1 / 5000, 76.7, nucleus="D", affine=AFFINE, dim_tags=["DIM_COIL", "DIM_DYN", None])
    for key, value in KEYS.items():
        mrs.add_hdr_field(key, value)
    mrs.save(path)
    return path


def test_from_file_to_maps_in_one_command(tmp_path, monkeypatch):
    """Bias below 2 % (128 voxels at SNR 30: an SE of .6 % for Lac), intervals that cover, and a report of the same."""
    path = write(tmp_path / "raw.nii.gz")
    nifti.write_image(tmp_path / "mask.nii.gz", np.ones(SHAPE), AFFINE)
    command = ["quantify", path, "--out", tmp_path / "o", "--average", "--mask", tmp_path / "mask.nii.gz"]
    monkeypatch.setattr("sys.argv", ["precise", *map(str, command)])
    with pytest.raises(SystemExit) as leaving:
        cli.app_main()
    assert leaving.value.code == 0
    found, sd = maps(tmp_path / "o"), maps(tmp_path / "o", "sd")
    assert found.mean((0, 1, 2)) / MM == pytest.approx(np.ones(4), abs=0.02)
    summary = json.loads((tmp_path / "o" / "summary.json").read_text())
    said = " ".join(summary["warnings"])
    assert "4 coils were combined" in said
    assert float(re.search(r"8 transients were aligned.* within ([0-9.]+) Hz", said)[1]) == pytest.approx(14, abs=0.3)
    alone = report.read(report.Source(path, None, tmp_path / "mask.nii.gz", tmp_path / "o", False))
    assert alone.data.fids.shape == (*SHAPE, 512)
    z = (found - MM)[..., 1:] / sd[..., 1:]
    assert (np.abs(z) < 1.96).mean() > 0.9  # T1 is right here, and its stated SD comes on top of the noise
