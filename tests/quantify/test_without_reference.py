"""Amplitudes in the data's own units: no reference, any nucleus, any scale."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.io import measurements, nifti_mrs
from precise_lib.quantify import quantify, report, report_tables, result
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import add_noise
from precise_lib.signal.parts import Acquisition, Resonance

PHOSPHORUS = SignalModel(
    Acquisition(512, 2e-4, 120.15, "31P"),
    (Resonance("PCr", 0.0, 0.03), Resonance("Pi", 4.84, 0.02), Resonance("ATP", -7.56, 0.015)),
    carrier_ppm=0.0,
    reference=None,
)
TRUTH = np.array([4.0, 1.0, 3.0])
MODEL = (
    "carrier_ppm: 0\nreference: null\nresonances:\n  - {name: PCr, ppm: 0, t2star_s: 0.03}\n"
    "  - {name: Pi, ppm: 4.84, t2star_s: 0.02}\n  - {name: ATP, ppm: -7.56, t2star_s: 0.015}\n"
)


def measured(folder, scale=1.0, shape=(12, 12, 2)):
    rng = np.random.default_rng(0)
    phase, shift = rng.uniform(-3, 3, shape), rng.uniform(-10, 10, shape)
    clean = PHOSPHORUS.fids(np.broadcast_to(TRUTH, (*shape, 3)), shift, 2.0, phase)
    data = MRSI(add_noise(scale * clean, scale * 0.4, rng).astype(np.complex64), PHOSPHORUS)
    nifti_mrs.write_mrsi(folder / "p.nii.gz", data)
    (folder / "lines.yaml").write_text(MODEL)
    return folder / "p.nii.gz"


@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
def test_amplitudes_with_sd_and_flags_at_any_scale(tmp_path, scale):
    """No bias, SDs that are the scatter, no false flag; the same relative result from 1e-12 to 1e12."""
    out, path = tmp_path / "maps", measured(tmp_path, scale)
    summary = quantify(path, out, estimator="fit", model=str(tmp_path / "lines.yaml"))
    found = result.read(out)
    values = found.concentration.values.reshape(3, -1) / scale
    sd = found.sd.values.reshape(3, -1) / scale
    assert summary["units"] == "a.u."
    error = (values - TRUTH[:, None]) / sd
    n = values.shape[1]
    assert (np.abs(error.mean(1)) < 4 / np.sqrt(n) + 0.05).all(), error.mean(1)
    np.testing.assert_allclose(error.std(1), 1, atol=4 / np.sqrt(2 * n) + 0.03)
    assert all(flag["voxels"] <= 3 for flag in summary["flags"].values()), summary["flags"]
    assert not any("water" in warning or "None" in warning for warning in summary["warnings"]), summary["warnings"]
    assert list(found.snr.values.shape) == [12, 12, 2]
    assert (found.snr > 20).all()


def test_the_table_of_a_report_has_digits_at_any_scale(tmp_path):
    path = measurements.fetch("in_vivo_129xe")
    source = report.Source(path, None, None, tmp_path, False)
    quantify(path, tmp_path, estimator="fit", model=str(path.with_name("lines.yaml")))
    said = report_tables.results(report.read(source))
    rows = {cells[1].strip(): float(cells[2]) for cells in (line.split("|") for line in said.splitlines()[4:])}
    assert rows["gas"] == pytest.approx(0.00419, rel=0.01)
    assert rows["RBC"] == pytest.approx(6.4e-4, rel=0.15)


def test_the_prior_works_on_amplitudes(tmp_path):
    import nibabel as nib

    path = measured(tmp_path)
    affine = nib.load(path).affine
    nib.save(nib.Nifti1Image(np.ones((12, 12, 2), np.float32), affine), tmp_path / "mri.nii.gz")
    model, out = str(tmp_path / "lines.yaml"), tmp_path / "maps"
    quantify(path, out, tmp_path / "mri.nii.gz", estimator="precise", model=model, lam=1.0)
    found = result.read(out)
    values = found.concentration.values.reshape(3, -1)
    np.testing.assert_allclose(values.mean(1), TRUTH, rtol=0.05)
    assert (values.std(1) < 0.5 * found.amplitude.values.reshape(3, -1).std(1)).all()


def test_what_needs_a_reference_says_so(tmp_path):
    path, model = measured(tmp_path, shape=(2, 2, 1)), str(tmp_path / "lines.yaml")
    with pytest.raises(InputError, match="no reference"):
        quantify(path, tmp_path / "o", estimator="fit", model=model, reference_frame=0)
    with pytest.raises(InputError, match="a network needs a reference"):
        TrainConfig.from_dict({"signal_model": PHOSPHORUS.to_dict()})


def test_a_model_without_a_reference_is_itself_again():
    assert SignalModel.from_dict(PHOSPHORUS.to_dict()) == PHOSPHORUS
    np.testing.assert_array_equal(PHOSPHORUS.concentrations(-TRUTH), -TRUTH)
