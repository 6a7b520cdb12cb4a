"""``precise model init`` and what takes its file."""

import pytest
import yaml
from typer.testing import CliRunner

from precise_lib import cli
from precise_lib.errors import InputError
from precise_lib.io import measurements, nifti_mrs
from precise_lib.io.lines import TEMPLATES, read_signal_model, template
from precise_lib.quantify import train_like
from precise_lib.signal.parts import Acquisition
from precise_lib.simulate.phantoms import rings


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(a) for a in arguments])


FREQUENCY = {"2H": (76.7, 4e-4), "1H": (123.2, 2.5e-4), "31P": (120.0, 1e-4), "129Xe": (35.3, 5e-5)}


@pytest.mark.parametrize("nucleus", TEMPLATES)
def test_the_file_is_a_model_and_says_what_can_be_written(tmp_path, nucleus):
    out, (mhz, dwell) = tmp_path / "lines.yaml", FREQUENCY[nucleus]
    assert run("model", "init", "--nucleus", nucleus, "--out", out).exit_code == 0
    model = read_signal_model(out, Acquisition(512, dwell, mhz, nucleus))
    assert len(model.names) >= 3
    text = out.read_text()
    for field in ("lines", "ratio", "shift_sd_hz", "width_sd_hz", "role", "t1_s", "nuclei", "lineshape", "null"):
        assert field in text
    assert yaml.safe_load(text)["reference"] in (model.reference, None)
    assert max(map(len, text.splitlines())) <= 120


def test_what_is_there_stays(tmp_path):
    out = tmp_path / "lines.yaml"
    out.write_text("mine")
    assert run("model", "init", "--out", out).exit_code != 0
    assert out.read_text() == "mine"
    with pytest.raises(InputError, match="no example for the nucleus '3He'"):
        template("3He")


def test_places_that_cannot_be_written(precise, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for out in (tmp_path / ("x" * 300), tmp_path / "file" / "x.yaml", tmp_path):
        code, said, err = precise("model", "init", "--out", out)
        assert (code, said, err.count("\n")) == (2, "", 1), err
    monkeypatch.setattr("precise_lib.studies.overruled_runs.one", lambda *_: 1 / 0)  # refused before the first run
    assert precise("overruled", tmp_path / "file")[0] == 2


def test_train_like_takes_it(tmp_path):
    dmi, lines = tmp_path / "dmi.nii.gz", tmp_path / "lines.yaml"
    nifti_mrs.write_mrsi(dmi, rings().measure(40.0, 0))
    lipid = "  - {name: lipid, ppm: 0.9, t2star_s: 0.010, role: lipid}\n"
    lines.write_text(template("2H").replace("lineshape: lorentzian", "lineshape: voigt") + lipid)
    config, said = train_like.plan(dmi, "", None, None, False, lines)
    assert config.signal_model.names == ["water", "Glc", "Glx", "Lac", "lipid"]
    assert config.gaussian_range_hz[1] > 0
    assert config.offset_range_hz == (-20.0, 20.0)
    assert said
    phosphorus = measurements.fetch("in_vivo_31p_7t")
    with pytest.raises(InputError, match="has no reference"):
        train_like.plan(phosphorus, "", None, None, False, phosphorus.parent / "lines.yaml")
