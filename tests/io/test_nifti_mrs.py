"""Files: read back by the field's own reader, to the same numbers; every bad file one clear sentence."""

import contextlib

import nibabel as nib
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nifti_mrs.create_nmrs import gen_nifti_mrs
from nifti_mrs.nifti_mrs import NIFTI_MRS
from scipy.spatial.transform import Rotation

from precise_lib.errors import InputError
from precise_lib.io import atomic, measurements, nifti, nifti_mrs
from precise_lib.signal.model import SignalModel, spectrum
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.noise import zero_filled
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import default_2h_model, dmi_11t7

SMALL = default_2h_model(Acquisition(16, 1 / 2500, 76.7))
AFFINE = np.array([[5.0, 0, 0, -80], [0, 5, 0, -75], [0, 0, 10, 3], [0, 0, 0, 1]])


def random_mrsi(shape=(3, 2, 2), model=SMALL, affine=AFFINE, seed=0):
    rng = np.random.default_rng(seed)
    fids = rng.standard_normal((*shape, model.acquisition.n_samples, 2)).astype(np.float32)
    return MRSI(fids.view(np.complex64)[..., 0], model, affine)


@pytest.fixture
def stored(tmp_path):
    """A small NIfTI-MRS file."""
    path = tmp_path / "dmi.nii.gz"
    nifti_mrs.write_mrsi(path, random_mrsi())
    return path


# ---------------------------------------------------------------- NIfTI-MRS


def test_nifti_mrs_reads_what_we_write(stored):
    data, theirs = random_mrsi(), NIFTI_MRS(stored)
    np.testing.assert_array_equal(theirs[:], data.fids)
    assert theirs.dwelltime == data.model.acquisition.dwell_time_s
    assert theirs.spectrometer_frequency == [76.7]
    assert theirs.nucleus == ["2H"]
    np.testing.assert_allclose(theirs.getAffine("voxel", "world"), AFFINE)
    # what lies in the file is the conjugate
    np.testing.assert_array_equal(np.asarray(nib.load(stored).dataobj), data.fids.conj())
    back = nifti_mrs.read_mrsi(stored)
    np.testing.assert_array_equal(back.fids, data.fids)
    assert back.fids.dtype == np.complex64
    assert back.model == data.model


def test_we_read_what_nifti_mrs_writes(tmp_path):
    """Also as NIfTI-1, where the dwell time is float32."""
    data = random_mrsi()
    for version in (1, 2):
        path = tmp_path / f"v{version}.nii.gz"
        gen_nifti_mrs(data.fids, 1 / 2500, 76.7, nucleus="2H", affine=AFFINE, nifti_version=version).save(path)
        back = nifti_mrs.read_mrsi(path)
        np.testing.assert_array_equal(back.fids, data.fids)
        assert back.model.acquisition == data.model.acquisition
        np.testing.assert_allclose(back.affine, AFFINE)


def test_a_single_frame_may_have_a_fifth_axis(tmp_path):
    data, path = random_mrsi(), tmp_path / "frame.nii.gz"
    gen_nifti_mrs(data.fids[..., None], 1 / 2500, 76.7, nucleus="2H", dim_tags=["DIM_DYN", None, None]).save(path)
    np.testing.assert_array_equal(nifti_mrs.read_mrsi(path).fids, data.fids)


@st.composite
def affines(draw):
    """Rotated, possibly flipped grids of 0.5 to 40 mm anywhere within a meter."""
    rotation = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True)
    voxel = [draw(st.floats(0.5, 40)) * draw(st.sampled_from([1, -1])) for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = rotation.as_matrix() * voxel
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return affine


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    affine=affines(),
    n=st.integers(2, 40),
    dwell_us=st.integers(20, 2000),
    mhz=st.floats(10, 190),  # of 2H: fields up to 29 T
)
def test_round_trip_of_any_grid(tmp_path, shape, affine, n, dwell_us, mhz):
    model = default_2h_model(Acquisition(n, dwell_us * 1e-6, mhz))
    data = random_mrsi(shape, model, affine)
    nifti_mrs.write_mrsi(tmp_path / "any.nii.gz", data)
    back = nifti_mrs.read_mrsi(tmp_path / "any.nii.gz", model=model)
    np.testing.assert_array_equal(back.fids, data.fids)
    np.testing.assert_allclose(back.affine, affine, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(NIFTI_MRS(tmp_path / "any.nii.gz")[:], data.fids)
    maps = data.to_maps(np.abs(data.fids[..., :1]).repeat(4, -1), "test")
    paths = nifti.write_maps(tmp_path, "m", maps, affine)
    values, map_affine, units = nifti.read_map(paths[2])
    np.testing.assert_array_equal(values, maps.values[2].astype(np.float32))
    np.testing.assert_allclose(map_affine, affine, rtol=1e-5, atol=1e-4)
    assert units == "mM"


# ---------------------------------------------------------------- bad files


def message(call, *args, **kwargs):
    """The sentence of the `InputError` that a call must raise."""
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith((".", ").")), text
    return text


def resave(path, out, **changes):
    """The file again with another header extension, data or dwell time."""
    image = nib.load(path)
    data = changes.get("data", np.asarray(image.dataobj))
    header = image.header.copy()
    if "extension" in changes:
        header.extensions.clear()
        if changes["extension"] is not None:
            header.extensions.append(nib.nifti1.Nifti1Extension(44, changes["extension"]))
    header.set_data_dtype(data.dtype)
    copy = nib.Nifti2Image(data, image.affine, header)
    copy.header["intent_name"] = changes.get("intent", b"mrs_v0_10")
    if "dwell" in changes:
        copy.header["pixdim"][4] = changes["dwell"]
    nib.save(copy, out)
    return out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extension": None}, "no NIfTI-MRS header extension"),
        ({"extension": b"not json"}, "not valid NIfTI-MRS"),
        ({"extension": b'["a", "list"]'}, "not valid NIfTI-MRS"),
        ({"extension": b'{"ResonantNucleus": ["2H"]}'}, "not valid NIfTI-MRS"),
        ({"extension": b'{"SpectrometerFrequency": [76.7]}'}, "not valid NIfTI-MRS"),
        ({"extension": b'{"SpectrometerFrequency": [-1.0], "ResonantNucleus": ["2H"]}'}, "must be positive"),
        ({"extension": b'{"SpectrometerFrequency": [300.0], "ResonantNucleus": ["1H"]}'}, "1H"),
        ({"intent": b"something"}, "not valid NIfTI-MRS"),
        ({"dwell": 0.0}, "must be positive"),
        ({"data": np.ones((2, 2, 1, 16), np.float32)}, "complex"),
        ({"data": np.ones((2, 2, 1, 1), np.complex64)}, "1 time point"),
        ({"data": np.ones((2, 2, 1), np.complex64)}, "1 time point"),
    ],
)
def test_bad_nifti_mrs(stored, tmp_path, changes, said):
    bad = resave(stored, tmp_path / "bad.nii.gz", **changes)
    text = message(nifti_mrs.read_mrsi, bad)
    assert said in text
    assert "bad.nii.gz" in text


@pytest.mark.parametrize("tag", ["DIM_COIL", "DIM_DYN", "DIM_MEAS", "DIM_EDIT"])
def test_extra_dimensions_are_named(tmp_path, tag):
    path = tmp_path / "five.nii.gz"
    fids = np.ones((2, 1, 1, 16, 3), np.complex64)
    gen_nifti_mrs(fids, 1 / 2500, 76.7, nucleus="2H", dim_tags=[tag, None, None]).save(path)
    assert f"{tag} (3)" in message(nifti_mrs.read_mrsi, path)
    if tag in ("DIM_DYN", "DIM_MEAS"):  # repeats: a series
        assert len(nifti_mrs.read_series(path)) == 3
    else:
        assert f"{tag} (3)" in message(nifti_mrs.read_series, path)


def test_missing_and_foreign_files(tmp_path):
    assert "no file" in message(nifti_mrs.read_mrsi, tmp_path / "nowhere.nii.gz")
    assert "is a folder" in message(nifti_mrs.read_mrsi, tmp_path)
    for name in ("text.nii.gz", "text.nii", "text.txt", "empty.nii.gz"):
        (tmp_path / name).write_bytes(b"" if "empty" in name else b"not an image " * 100)
        assert "not readable" in message(nifti_mrs.read_mrsi, tmp_path / name)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), zipped=st.booleans())
def test_any_truncation_is_reported(tmp_path, share, zipped):
    path = tmp_path / ("cut.nii.gz" if zipped else "cut.nii")
    nifti_mrs.write_mrsi(path, random_mrsi())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert "cut.nii" in message(nifti_mrs.read_mrsi, path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 899), value=st.integers(0, 255))
def test_any_damaged_header_byte_is_reported_or_harmless(tmp_path, position, value):
    path = tmp_path / "damaged.nii"
    nifti_mrs.write_mrsi(path, random_mrsi((1, 1, 1)))
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(bytes(content))
    with contextlib.suppress(InputError):  # anything else fails the test
        nifti_mrs.read_mrsi(path)


def test_model_must_be_of_this_acquisition(stored):
    a = SMALL.acquisition

    def model(**changes):
        values = {**a.__dict__, **changes}
        fields = ("n_samples", "dwell_time_s", "spectrometer_frequency_mhz", "nucleus")
        return SignalModel(Acquisition(*(values[f] for f in fields)), SMALL.resonances)

    assert "number of samples 16 against 32" in message(nifti_mrs.read_mrsi, stored, model=model(n_samples=32))
    assert "dwell time" in message(nifti_mrs.read_mrsi, stored, model=model(dwell_time_s=a.dwell_time_s * 1.001))
    assert "frequency" in message(nifti_mrs.read_mrsi, stored, model=model(spectrometer_frequency_mhz=78.0))
    assert "nucleus 2H against 1H" in message(nifti_mrs.read_mrsi, stored, model=model(nucleus="1H"))
    close = model(dwell_time_s=a.dwell_time_s * 1.00005, spectrometer_frequency_mhz=76.9)
    assert nifti_mrs.read_mrsi(stored, model=close).model == close


# ---------------------------------------------------------------- MRI and mask


def test_mri_and_mask(stored, tmp_path):
    mask = np.zeros((3, 2, 2))
    mask[1, 1, 0] = 7
    gray = np.arange(8.0 * 8 * 4).reshape(8, 8, 4)
    fine = AFFINE @ np.diag([0.4, 0.4, 0.5, 1])
    nifti.write_image(tmp_path / "mask.nii.gz", mask, AFFINE)
    nifti.write_image(tmp_path / "mri.nii.gz", gray, fine)
    data = nifti_mrs.read_mrsi(stored, tmp_path / "mri.nii.gz", tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(data.mask, mask > 0)
    np.testing.assert_array_equal(data.mri, gray)
    np.testing.assert_allclose(data.mri_affine, fine)


def test_mri_that_contains_or_lies_within_one_voxel_overlaps(tmp_path):
    big = np.diag([1e4, 1e4, 1e4, 1.0])  # the standard's affine for data without a position
    nifti_mrs.write_mrsi(tmp_path / "voxel.nii.gz", random_mrsi((1, 1, 1), affine=big))
    nifti.write_image(
        tmp_path / "mri.nii.gz", np.ones((4, 4, 4)), np.diag([2.0, 2, 2, 1]) + 100 * np.eye(4)[:, [3]] * 0
    )
    assert nifti_mrs.read_mrsi(tmp_path / "voxel.nii.gz", tmp_path / "mri.nii.gz").mri.shape == (4, 4, 4)


def test_bad_mri_and_mask(stored, tmp_path):
    def image(name, values, affine=AFFINE):
        nib.save(nib.Nifti1Image(values, affine), tmp_path / name)
        return tmp_path / name

    elsewhere = AFFINE.copy()
    elsewhere[2, 3] += 500
    gray = np.ones((3, 2, 2), np.float32)
    assert "does not overlap" in message(nifti_mrs.read_mrsi, stored, image("mri.nii.gz", gray, elsewhere))
    assert "one real 3-D image" in message(nifti_mrs.read_mrsi, stored, image("4d.nii.gz", np.ones((3, 2, 2, 5))))
    assert "one real 3-D image" in message(nifti_mrs.read_mrsi, stored, image("c.nii.gz", gray.astype(complex)))
    flat = nib.Nifti1Image(gray, None)
    flat.header["sform_code"], flat.header["srow_x"] = 1, [5, 0, 0, 0]
    nib.save(flat, tmp_path / "flat.nii.gz")
    assert "not invertible" in message(nifti_mrs.read_mrsi, stored, tmp_path / "flat.nii.gz")
    assert "no file" in message(nifti_mrs.read_mrsi, stored, tmp_path / "nowhere.nii.gz")
    assert "does not overlap" in message(nifti_mrs.read_mrsi, stored, mask=image("m2.nii.gz", gray, elsewhere))
    speck = np.zeros((30, 20, 20), np.uint8)
    speck[5, 5, 5] = 1
    small = image("speck.nii.gz", speck, AFFINE @ np.diag([0.1, 0.1, 0.1, 1]))
    assert "by half or more" in message(nifti_mrs.read_mrsi, stored, mask=small)
    assert "empty" in message(nifti_mrs.read_mrsi, stored, mask=image("m3.nii.gz", 0 * gray))
    # an overlap outside the mask does not count
    corner = np.zeros((3, 2, 2), np.uint8)
    corner[0, 0, 0] = 1
    beside = AFFINE.copy()
    beside[0, 3] += 10
    small = image("small.nii.gz", np.ones((1, 2, 2), np.float32), beside)
    assert nifti_mrs.read_mrsi(stored, small).mri is not None


# ---------------------------------------------------------------- writing


def test_maps_are_float32_with_units_and_safe_names(tmp_path):
    values = np.arange(8.0).reshape(2, 2, 2, 1)
    values[0, 0, 0, 0] = np.nan
    maps = xr.DataArray(
        values,
        dims=("metabolite", "x", "y", "z"),
        coords={"metabolite": ["Glc", "a/b c"]},
        attrs={"units": "mM"},
    )
    paths = nifti.write_maps(tmp_path / "new" / "folder", "conc", maps, AFFINE)
    assert [p.name for p in paths] == ["conc_Glc.nii.gz", "conc_a_b_c.nii.gz"]
    image = nib.load(paths[0])
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_array_equal(image.get_fdata(), values[0])
    assert nifti.read_map(paths[0])[2] == "mM"
    clash = maps.assign_coords(metabolite=["a b", "a/b"])
    assert "equal file names" in message(nifti.write_maps, tmp_path, "conc", clash, AFFINE)


def listing(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_a_failure_leaves_nothing_behind(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a.txt").write_text("before")
    before = listing(tmp_path)
    for folder in (tmp_path / "old", tmp_path / "new" / "deep"):
        with pytest.raises(FileNotFoundError), atomic.staged(folder) as work:
            (work / "a.txt").write_text("half").real + (work / "b.txt").stat().st_size
    assert listing(tmp_path) == before
    assert (tmp_path / "old" / "a.txt").read_text() == "before"
    with atomic.staged(tmp_path / "old") as work:
        (work / "a.txt").write_text("after")
        assert (tmp_path / "old" / "a.txt").read_text() == "before"
    assert (tmp_path / "old" / "a.txt").read_text() == "after"
    assert listing(tmp_path) == before


def test_unwritable_folders(tmp_path):
    """A folder below a file cannot be made by anybody, the superuser included."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        assert str(folder) in message(atomic.staged(folder).__enter__)
    assert listing(tmp_path) == ["file"]
    assert ".nii.gz" in message(nifti_mrs.write_mrsi, tmp_path / "data.mat", random_mrsi())


def test_zero_filling_is_found():
    fids = random_mrsi((2, 2, 1), dmi_11t7()).fids.copy()
    assert zero_filled(fids) == 0
    fids[..., 300:] *= 1e-8
    assert zero_filled(fids) == 212
    fids[..., 300:] = 0
    assert zero_filled(fids) == 212
    assert zero_filled(dmi_11t7().fids([[1.0, 0.3, 0.6, 0.1]])) == 0


# ---------------------------------------------------------------- real data


def test_sign_of_the_2h_voxel():
    """The second highest line, Glx, lies below water: 2.5 ppm lower, not higher."""
    data = nifti_mrs.read_mrsi(measurements.fetch("in_vivo_2h_3t_voxel"))
    acquisition = data.model.acquisition
    assert (acquisition.n_samples, acquisition.dwell_time_s) == (1400, 1 / 5000)
    assert acquisition.spectrometer_frequency_mhz == 19.613053
    decay = np.exp(-acquisition.time_s / 0.03)
    power = np.abs(spectrum(data.fids[0, 0, 0] * decay))
    ppm = acquisition.frequency_axis_hz / acquisition.spectrometer_frequency_mhz
    water = ppm[power.argmax()]
    assert abs(water) < 0.3
    at_glx, mirrored = (power[np.abs(ppm - water + s * 2.5) < 0.2].max() for s in (1, -1))
    assert at_glx > 1.5 * mirrored


def test_sign_of_the_1h_spectrum():
    path = measurements.fetch("in_vivo_1h_3t_press35")
    acquisition = nifti_mrs.open_mrsi(path).acquisition
    lines = (Resonance("water", 4.68, 0.05), Resonance("NAA", 2.008, 0.05))
    model = SignalModel(acquisition, lines, carrier_ppm=4.68)
    assert "1H" in message(nifti_mrs.read_mrsi, path)
    fid = nifti_mrs.read_mrsi(path, model=model).fids[0, 0, 0]
    padded = np.pad(fid * np.exp(-acquisition.time_s / 0.2), (0, 6144))
    power = np.abs(spectrum(padded))
    ppm = np.fft.fftshift(np.fft.fftfreq(8192, acquisition.dwell_time_s)) / acquisition.spectrometer_frequency_mhz
    reference = nifti_mrs.read_mrsi(measurements.fetch("in_vivo_1h_3t_press35_water"), model=model).fids[0, 0, 0]
    water = np.abs(spectrum(np.pad(reference, (0, 6144))))
    ppm += 4.68 - ppm[water.argmax()]
    window = (ppm > 1.7) & (ppm < 2.3)
    assert ppm[window][power[window].argmax()] == pytest.approx(2.01, abs=0.03)
