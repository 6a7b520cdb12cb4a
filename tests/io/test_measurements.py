"""The measurements that travel with the project: all there, each with its license, none used but the published one."""

import shutil

import pytest

from precise_lib.errors import InputError
from precise_lib.io import measurements, nifti_mrs
from precise_lib.io.shipped import data_path


@pytest.mark.parametrize("name", measurements.MEASUREMENTS)
def test_every_measurement_is_there_with_its_license(name):
    path = measurements.fetch(name)
    assert (path.parent / "LICENSE.txt").read_text(encoding="utf-8").strip()
    assert nifti_mrs.open_mrsi(path).acquisition.n_samples >= 256


def test_every_file_is_registered():
    files = {p.relative_to(data_path("measurements")).as_posix() for p in data_path("measurements").rglob("*.nii.gz")}
    assert files == {entry.file for entry in measurements.MEASUREMENTS.values()}


def test_an_unknown_name_gets_the_known_ones():
    with pytest.raises(InputError, match="known are in_vivo_2h_3t_voxel"):
        measurements.fetch("something")


@pytest.mark.parametrize("name", measurements.MEASUREMENTS)
def test_another_file_is_refused(name, tmp_path, monkeypatch):
    entry = measurements.MEASUREMENTS[name]
    copy = tmp_path / entry.file
    copy.parent.mkdir()
    shutil.copyfile(measurements.fetch(name), copy)
    monkeypatch.setattr(measurements, "data_path", lambda _, *parts: tmp_path.joinpath(*parts))
    assert measurements.fetch(name) == copy
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not the published measurement"):
        measurements.fetch(name)
