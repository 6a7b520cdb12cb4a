"""Every reader against files that nobody would write: what comes back is usable, or the documented error.

Another exception fails a test, and so do minutes without an end and memory that a header merely claims. The same
thousand examples come every time; PRECISE_FUZZ=5 (`make fuzz`) makes ten thousand, new ones in every run.
"""

import copy
import gzip
import hashlib
import json
import os
import re
import shutil
import string
import time

import nibabel as nib
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from nibabel.nifti1 import header_dtype as NIFTI_1
from nibabel.nifti2 import header_dtype as NIFTI_2
from nifti_mrs.create_nmrs import gen_nifti_mrs

from precise_lib import quantify
from precise_lib.cli.train import _read_settings, read_yaml
from precise_lib.errors import InputError
from precise_lib.estimate import catalog, training
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import claims
from precise_lib.io import nifti, nifti_mrs
from precise_lib.io.shipped import data_path
from precise_lib.proton.train_config import DenoiseConfig, QuantifyConfig
from precise_lib.proton.weights import Denoiser
from precise_lib.quantify import measurement, provenance, report, report_tables, result, taught
from precise_lib.quantify.terms import Term
from precise_lib.run import sweep, tables
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import dmi_11t7
from precise_lib.studies import results
from tests.helpers import AMPLITUDES, minute_config

pytestmark = [
    pytest.mark.timeout(300 * int(os.environ.get("PRECISE_FUZZ", 1))),
    pytest.mark.filterwarnings("ignore"),  # of overflow: the values are absurd
]
MORE = int(os.environ.get("PRECISE_FUZZ", 0))
ACQUISITION = Acquisition(16, 1 / 2500, 76.7)
AFFINE = np.diag([5.0, 5, 5, 1])
MEMORY_MIB = 400
LONGEST_S = 60


def fuzz(n: int):
    return settings(
        max_examples=n * MORE if MORE else n // 2,
        derandomize=not MORE,
        database=None,
        deadline=None,  # a machine may be busy; what never ends meets the time limit of the test
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(autouse=True)
def bounded_memory():
    before = provenance.peak_memory_mib()
    yield
    assert provenance.peak_memory_mib() - before < MEMORY_MIB


def documented(call, *args, **options):
    """What a call returns, or None where it refuses by a sentence; any other exception fails the test."""
    began, sentence = time.monotonic(), "."
    try:
        return call(*args, **options)
    except InputError as refusal:
        sentence = str(refusal)
    finally:
        assert time.monotonic() - began < LONGEST_S
    assert sentence.endswith(".")
    assert not PYTHONS_WORDS.search(sentence), sentence
    return None


# what a sentence for a user does not hold
PYTHONS_WORDS = re.compile(
    r"not supported between|could not convert|unhashable type|positional argument|keyword argument|__init__"
    r"|invalid literal for|has no attribute|must be real number|argument after|ufunc|object is not|not iterable|unpack"
    r"|string indices|list indices|inhomogeneous|Traceback|size of tensor"
)


# ---------------------------------------------------------------- spoiled bytes, headers, values

INTEGERS = st.sampled_from([-1, 0, 1, 2, 3, 7, 8, 127, 32767, 100_000, 10**9, 2**31 - 1, 10**12, 2**62])
FLOATS = st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-300, 1e-30, 1e30, 1e300]) | st.floats()
TEXT = st.text(string.printable, max_size=8) | st.sampled_from(["2H", "1H", "DIM_DYN", "DIM_COIL", "\0", "ü", "../x"])
JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXT | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def spoiled_image(draw, content: bytes, dtype) -> bytes:
    """A NIfTI file with other header fields, other bytes, an end too early, a damaged packing."""
    content = bytearray(content)
    header = np.ndarray((), dtype, buffer=content)
    for _ in range(draw(st.integers(1, 4))):
        part = np.atleast_1d(header[draw(st.sampled_from(dtype.names))])
        i = draw(st.integers(0, len(part) - 1))
        if part.dtype.kind == "S":
            part[i] = draw(st.binary(max_size=part.dtype.itemsize))
        elif part.dtype.kind == "f":
            with np.errstate(over="ignore"):
                part[i] = np.float64(draw(FLOATS)).astype(part.dtype)
        else:
            low, high = np.iinfo(part.dtype).min, np.iinfo(part.dtype).max
            part[i] = min(max(draw(INTEGERS | st.integers(low, high)), low), high)
    for _ in range(draw(st.integers(0, 2))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 5)) == 0:
        del content[draw(st.integers(0, len(content))) :]
    return bytes(content)


@st.composite
def spoiled_json(draw, content):
    """Nested lists and mappings with some places exchanged, removed or added."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, 3))):
        place = content
        while True:
            keys = list(place) if isinstance(place, dict) else range(len(place))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], dict | list) and place[key] and draw(st.integers(0, 4)):
                place = place[key]
                continue
            if draw(st.integers(0, 5)):
                place[key] = draw(JSON)
            elif isinstance(place, dict):
                place[draw(TEXT)] = place.pop(key)
            else:
                place.append(draw(JSON))
            break
    return content


def spoiled_text(text: str):
    """A text with a piece replaced by another one."""
    yaml_only = ["\n- ", "&a ", "*a", "!!int x", "!!python/name:os.system", "2024-13-45", "1:60:60", "<<: ", "? "]
    long = ["9" * 5000, "[" * 5000, "- " * 3000]
    pieces = st.text(max_size=6) | st.sampled_from([*"[]{}'\":,;|%\n\t\0", "0x", "nan", *yaml_only, *long])
    cut = st.tuples(st.integers(0, len(text)), st.integers(0, 8), pieces)
    return st.lists(cut, min_size=1, max_size=3).map(lambda cuts: _cut(text, cuts))


def _cut(text: str, cuts) -> str:
    for start, length, new in cuts:
        text = text[:start] + new + text[start + length :]
    return text


# ---------------------------------------------------------------- images


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a good data set, for what a spoiled file meets."""
    folder = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    fids = rng.standard_normal((3, 2, 2, 16)) + 1j * rng.standard_normal((3, 2, 2, 16))
    gen_nifti_mrs(fids.astype("<c8"), 1 / 2500, 76.7, nucleus="2H", affine=AFFINE).save(folder / "dmi.nii.gz")
    nifti_mrs.write_mrsi(
        folder / "eleven.nii.gz", MRSI(np.tile(dmi_11t7().fids(AMPLITUDES), (3, 2, 2, 1)), dmi_11t7(), AFFINE)
    )
    return folder


def mrs_bytes(version: int) -> bytes:
    fids = np.ones((2, 1, 1, 16), "<c8")
    mrs = gen_nifti_mrs(fids, 1 / 2500, 76.7, nucleus="2H", affine=AFFINE, nifti_version=version)
    return mrs.image.nibImage.to_bytes()


def image_bytes(shape=(4, 3, 2), step=1) -> bytes:
    values = 1 + step * np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return nib.Nifti1Image(values, AFFINE).to_bytes()


def read_all(path, place):
    """The spoiled file as each of the files that are read."""
    series = documented(nifti_mrs.read_series, path)
    if series is not None:
        assert series.fids.dtype == np.complex64
        assert series.fids.ndim == 5
        assert np.isfinite(series.affine).all()
        assert series.model.acquisition.dwell_time_s > 0
        assert len(documented(nifti_mrs.read_series, place / "dmi.nii.gz", mask=None).fids)
    with_mri = documented(nifti_mrs.read_mrsi, place / "dmi.nii.gz", mri=path)
    assert with_mri is None or (with_mri.mri.ndim == 3 and np.isfinite(with_mri.mri_affine).all())
    masked = documented(nifti_mrs.read_mrsi, place / "dmi.nii.gz", mask=path)
    assert masked is None or (masked.mask.shape == (3, 2, 2) and masked.mask.any())
    documented(nifti.read_map, path)


@fuzz(150)
@given(content=spoiled_image(mrs_bytes(2), NIFTI_2), packed=st.booleans())
def test_nifti_2_mrs(place, content, packed):
    path = place / ("x.nii.gz" if packed else "x.nii")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    read_all(path, place)


@fuzz(100)
@given(content=spoiled_image(mrs_bytes(1), NIFTI_1))
def test_nifti_1_mrs(place, content):
    (place / "y.nii").write_bytes(content)
    read_all(place / "y.nii", place)


@fuzz(150)
@given(content=spoiled_image(image_bytes(), NIFTI_1), packed=st.booleans())
@example(content=image_bytes((0, 3, 2)), packed=False)
def test_image(place, content, packed):
    path = place / ("z.nii.gz" if packed else "z.nii")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    read_all(path, place)


@fuzz(60)
@given(cut=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=3), end=st.floats(0, 1))
def test_damaged_packing(place, cut, end):
    content = bytearray((place / "dmi.nii.gz").read_bytes())
    for position, value in cut:
        content[position % len(content)] = value
    (place / "p.nii.gz").write_bytes(content[: int(np.ceil(end * len(content)))])
    read_all(place / "p.nii.gz", place)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("voxels", [10**4, 10**8, 10**9, 10**12])
def test_a_claim_of_many_voxels(place, packed, voxels):
    """Refused by the size of the file, before memory is set aside; `bounded_memory` sees to that."""
    content = bytearray(mrs_bytes(2))
    np.ndarray((), NIFTI_2, buffer=content)["dim"][1] = voxels
    path = place / ("many.nii.gz" if packed else "many.nii")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(InputError, match="its header speaks of"):
        nifti_mrs.read_series(path)


# ---------------------------------------------------------------- header extension, arrays, affines

HEADER = {"SpectrometerFrequency": [76.7], "ResonantNucleus": ["2H"], "dim_5": "DIM_MEAS", "EchoTime": 0.01}


def with_extension(path, text: bytes, fids):
    image = nib.Nifti2Image(fids, AFFINE)
    image.header["pixdim"][4], image.header["intent_name"] = 1 / 2500, b"mrs_v0_10"
    image.header.extensions.append(nib.nifti1.Nifti1Extension(44, text))
    image.to_filename(path)
    return path


@fuzz(150)
@given(header=spoiled_json(HEADER), frames=st.sampled_from([(), (1,), (3,), (2, 2)]))
@example(header={"SpectrometerFrequency": ["76.7"], "ResonantNucleus": ["2H"]}, frames=())
@example(header={"SpectrometerFrequency": [76.7], "ResonantNucleus": [["2H"]]}, frames=())
@example(header={"SpectrometerFrequency": 76.7, "ResonantNucleus": "2H"}, frames=())
@example(header={"SpectrometerFrequency": [76.7], "ResonantNucleus": ["2H"], "EchoTime": 10**400}, frames=())
def test_header_extension(place, header, frames):
    fids = np.ones((2, 1, 1, 16, *frames), np.complex64)
    path = with_extension(place / "e.nii", json.dumps(header).encode(), fids)
    documented(nifti_mrs.read_series, path)


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"[" * 10**5, b'{"a":' * 10**5, b'{"a": 1', b"NaN", b"null"])
def test_header_extension_that_is_no_json(place, text):
    path = with_extension(place / "j.nii", text, np.ones((2, 1, 1, 16), np.complex64))
    with pytest.raises(InputError, match=r"not valid NIfTI-MRS|no NIfTI-MRS header extension"):
        nifti_mrs.read_series(path)


@fuzz(100)
@given(
    name=st.sampled_from(["u1", "i2", "i4", "f4", "f8", "c8", "c16"]),
    shape=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    numbers=st.lists(FLOATS, min_size=1, max_size=3),
    rows=st.lists(st.lists(FLOATS | st.floats(-20, 20), min_size=4, max_size=4), min_size=3, max_size=3),
)
def test_arrays_and_affines(place, name, shape, numbers, rows):
    """Any type, any number of axes, any values, an affine of any numbers."""
    with np.errstate(all="ignore"):
        values = np.resize(np.array(numbers), shape).astype(name)
    image = nib.Nifti1Image(values, None)
    image.header["sform_code"] = 1
    for axis, row in zip("xyz", rows, strict=True):
        image.header[f"srow_{axis}"] = row
    nib.Nifti1Image(values, None, image.header).to_filename(place / "a.nii")
    read_all(place / "a.nii", place)


@pytest.mark.parametrize("side_mm", [1e-3, 1e-2, 0.05, 0.5, 50, 5000])
def test_an_image_of_another_scale(place, side_mm):
    """An MRI or mask in wrong units must not be sampled at 10^10 points of each voxel."""
    nifti.write_image(place / "s.nii", np.ones((4, 4, 4)), np.diag([side_mm, side_mm, side_mm, 1]))
    for estimator, option in (("fit", "mask"), ("precise", "mri")):
        files = {option: place / "s.nii"}
        documented(quantify.quantify, place / "eleven.nii.gz", place / "out", estimator=estimator, **files)


def changed(fids, voxel, samples, factor, offset):
    """FIDs (2, 2, 1, t) with some samples of one voxel, or of all, times a factor plus an offset."""
    fids = fids.copy()
    where = (slice(None),) * 3 if voxel is None else voxel
    with np.errstate(all="ignore"):
        fids[*where, slice(*samples)] = fids[*where, slice(*samples)] * np.complex64(factor) + np.complex64(offset)
    return fids


def quantified(place, fids, estimator, mri, errors):
    """From the file to the maps: no infinite number in any of them."""
    model = dmi_11t7()
    gen_nifti_mrs(fids.conj(), model.acquisition.dwell_time_s, 76.7, nucleus="2H", affine=AFFINE).save(place / "q.nii")
    nifti.write_image(place / "mri.nii", mri, np.diag([2.5, 2.5, 2.5, 1]))
    given_mri = place / "mri.nii" if estimator == "precise" else None
    call = documented(quantify.quantify, place / "q.nii", place / "out", given_mri, estimator=estimator, errors=errors)
    for name in call["files"] if call else []:
        assert not np.isinf(nifti.read_map(place / "out" / name)[0]).any()
    return call


PLAIN = np.array(np.broadcast_to(dmi_11t7().fids([1.0, 0.3, 0.6, 0.1]), (2, 2, 1, 512)), np.complex64)
WHERE = {
    "voxel": st.sampled_from([None, (0, 0, 0), (1, 0, 0)]),
    "samples": st.sampled_from([(0, 1), (0, 512), (100, 512), (500, 501)]),
    "factor": FLOATS | st.just(1.0),
    "offset": FLOATS | st.just(0.0),
}


NO_LESION_FITS = [
    {"voxel": (0, 0, 0), "samples": (0, 1), "factor": np.nan, "offset": 0.0},
    {"voxel": None, "samples": (500, 501), "factor": 64551750.0, "offset": -1.0},
]


@fuzz(60)
@given(
    changes=st.lists(st.fixed_dictionaries(WHERE), min_size=1, max_size=3),
    estimator=st.sampled_from(["fit", "sve", "fourier", "precise"]),
    numbers=st.lists(st.floats(0, 1) | st.floats(width=32), min_size=2, max_size=4),
)
@example(changes=NO_LESION_FITS, estimator="precise", numbers=[0.0, 0.0])
def test_quantify_any_numbers(place, changes, estimator, numbers):
    fids = PLAIN
    for change in changes:
        fids = changed(fids, **change)
    with np.errstate(all="ignore"):
        quantified(place, fids, estimator, np.resize(np.float32(numbers), (4, 4, 2)), "none")


@pytest.mark.parametrize("factor", [1e-40, 1e-16, 1e-14, 1e11, 1e13, 1e30])
def test_scale_of_the_numbers(place, factor):
    """Concentrations do not depend on the unit of the FIDs; where single precision ends, voxels are left out."""
    usable = changed(PLAIN, (0, 0, 0), (0, 512), factor, 0)
    summary = quantified(place, usable, "sve", np.ones((4, 4, 2)), "none")
    maps = [nifti.read_map(place / "out" / name)[0] for name in summary["files"]]
    for values in maps:
        np.testing.assert_allclose(values[1:], values[1, 1, 0], rtol=1e-4)
        if 1e-15 < factor < 1e14:
            np.testing.assert_allclose(values[0, 0, 0], values[1, 1, 0], rtol=1e-3)
        else:
            assert np.isnan(values[0, 0, 0])


def test_data_without_noise_have_no_errors(place):
    """A constant is no measurement, but no crash either: nothing can be said of its errors, and it is not said."""
    summary = quantified(place, np.ones_like(PLAIN), "sve", np.ones((4, 4, 2)), None)
    assert set(summary["errors"]["single_voxel_sd_over_bound"].values()) == {None}


# ---------------------------------------------------------------- weights and cards


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Copies of a network that quantifies and of one that denoises: path, content and card of each."""
    folder, found = tmp_path_factory.mktemp("weights"), {}
    for name, parts in (("sve", ["dmi_4t"]), ("denoiser", ["denoise", "unet1d_small"])):
        weights = data_path("weights", *parts[:-1], f"{parts[-1]}.safetensors")
        card = json.loads(weights.with_suffix(".json").read_text())
        found[name] = folder / f"{name}.safetensors", weights.read_bytes(), card
    return found


LOAD = {"sve": load_weights, "denoiser": Denoiser.load}


def store(path, content: bytes, card, number: int):
    """Weights with a card, younger than what was there before."""
    path.write_bytes(content)
    path.with_suffix(".json").write_text(json.dumps(card))
    for file in (path, path.with_suffix(".json")):
        os.utime(file, ns=(number, number))


@pytest.mark.parametrize("kind", LOAD)
def test_cards(networks, kind, monkeypatch):
    path, content, good = networks[kind]
    stamps = iter(range(10**9, 10**12))
    small = {k: v for k, v in good.items() if k not in ("loss_history", "accuracy")}
    monkeypatch.setenv("PRECISE_MODELS", str(path.parent))

    @fuzz(30)
    @given(card=spoiled_json(small) | JSON)
    def read(card):
        store(path, content, card, next(stamps))
        documented(LOAD[kind], path)
        assert "Not usable" in catalog.table(12) or catalog.available()
        catalog.fitting(ACQUISITION)

    read()


@pytest.mark.parametrize(
    ("kind", "section", "changes"),
    [
        ("sve", "network", {"hidden": 10**6, "bank": 10**6}),
        ("sve", "network", {"hidden": 10**9}),
        ("sve", "network", {"rank": 10**6}),
        ("sve", "network", {"aligned_rank": 10**7}),
        ("sve", "network", {"front": "fid", "channels": [10**5] * 6}),
        ("sve", None, {"shift_range_hz": [-1e12, 1e12]}),
        ("denoiser", "network", {"width": 1e3}),
        ("denoiser", "network", {"width": 1e9}),
        ("denoiser", "network", {"width": 1e300}),
        ("denoiser", "network", {"kernel": 10**12 + 1}),
        ("denoiser", "network", {"groups": [[10**5, 10**5]]}),
    ],
)
def test_a_card_that_claims_a_huge_network(networks, kind, section, changes):
    path, content, good = networks[kind]
    card = copy.deepcopy(good)
    (card["config"][section] if section else card["config"]).update(changes)
    store(path, content, card, 10**9 + hash(json.dumps(changes)) % 10**8)
    with pytest.raises(InputError):
        LOAD[kind](path)


@pytest.mark.parametrize("kind", LOAD)
def test_weights(networks, kind):
    """With a card whose hash is that of the damaged file: the hash cannot help here."""
    path, content, card = networks[kind]
    length = int.from_bytes(content[:8], "little")
    stamps = iter(range(10**12, 10**13))

    @fuzz(30)
    @given(
        header=spoiled_json(json.loads(content[8 : 8 + length])) | st.none(),
        cuts=st.lists(st.tuples(st.integers(0, 8 + length), st.integers(0, 255)), max_size=3),
        end=st.just(1.0) | st.floats(0, 1),
    )
    def read(header, cuts, end):
        spoiled = bytearray(content)
        if header is not None:
            text = json.dumps(header).encode()
            spoiled = bytearray(len(text).to_bytes(8, "little") + text + content[8 + length :])
        for position, value in cuts:
            spoiled[position] = value
        del spoiled[int(np.ceil(end * len(spoiled))) :]
        store(path, bytes(spoiled), card | {"sha256": hashlib.sha256(spoiled).hexdigest()}, next(stamps))
        documented(LOAD[kind], path)

    read()


# ---------------------------------------------------------------- settings, tables, results

RINGS = dmi_11t7().to_dict()


def read_denoise_settings(path):
    return DenoiseConfig.from_dict(read_yaml(path))


def read_signal_model(path):
    return measurement.read_signal_model(path, ACQUISITION)


def read_quantify_settings(path):
    return QuantifyConfig.from_dict(read_yaml(path))


def read_calibrated(path):
    return taught.read(path, dmi_11t7()).about


def read_training_settings(path):
    return _read_settings(path, None)


TERMS = [Term("dead time"), Term("frequency", 1), Term("gaussian")]
LEARNED = taught.Taught(
    dmi_11t7(), dmi_11t7(), tuple(TERMS), np.array([1e-4, 2.0, 9.0]), np.diag([1e-9, 0.1, 4]), [], {}
)
SPLIT = {"carrier_ppm": 4.7, "reference": "water", "resonances": [{"name": "water", "ppm": 4.7, "t2star_s": 0.02}]}
SPLIT["resonances"] += [{"name": "Glc", "t2star_s": 0.02, "lines": [{"ppm": 3.71, "ratio": 0.5}, {"ppm": 3.88}]}]
SPLIT["resonances"] += [
    {"name": "Lac", "ppm": 1.3, "t2star_s": 0.02, "lines": [{"hz": -4.0}, {"hz": 4, "phase_deg": 9}]}
]

SETTINGS = [
    (read_training_settings, TrainConfig().to_dict()),
    (read_denoise_settings, DenoiseConfig().to_dict()),
    (read_quantify_settings, QuantifyConfig().to_dict()),
    (read_signal_model, RINGS),
    (read_signal_model, SPLIT),
    (read_calibrated, LEARNED.kept),
]


@pytest.mark.parametrize(("reader", "good"), SETTINGS, ids=lambda x: getattr(x, "__name__", ""))
def test_settings(place, reader, good):
    path = place / "settings.yaml"

    @fuzz(80)
    @given(text=spoiled_json(good).map(json.dumps) | spoiled_text(yaml.safe_dump(good)))
    @example(text="a: 2024-13-45")
    @example(text="[" * 10**4)
    @example(text="a: " + "9" * 5000)
    @example(text="a: !!int x")
    @example(text="network: {kind: []}")
    @example(text="network: {kind: 1d, 3: 4}")
    @example(text='seed: "' + "x" * 10 + '"')
    def read(text):
        path.write_text(text, encoding="utf-8", errors="replace")
        documented(reader, path)

    read()


CSV = 'lam,name,mode\n0.01,ü,none\n1e-3,"a, b",[1]\n,x,"{""a"": 1}"\n'


@pytest.mark.parametrize("suffix", ["csv", "yaml"])
def test_tables(place, suffix):
    defaults = {"lam": 0.1, "name": "x", "mode": None}
    path = place / f"table.{suffix}"
    rows = [{"lam": 0.01, "name": "a", "mode": [1, 2]}, {"lam": 1, "name": "b", "mode": {"a": None}}]
    text = CSV if suffix == "csv" else yaml.safe_dump(rows)

    @fuzz(200)
    @given(text=spoiled_text(text) | (spoiled_json(rows).map(json.dumps) if suffix == "yaml" else st.text()))
    @example(text="- lam: 2024-13-45")
    @example(text="- mode: !!int x")
    @example(text='- mode: "\\ud800"')
    @example(text="- mode: &a [*a]")
    @example(text="- {mode: [&a [x, x, x, x], &b [*a, *a, *a, *a]]}")
    @example(text="lam\n" + "9" * 5000)
    @example(text="mode\n" + "[" * 5000)
    @example(text="name\n" + "x" * 200_000)
    def read(text):
        path.write_text(text, encoding="utf-8", errors="replace")
        for row in documented(tables.read, path, defaults) or []:
            assert set(row) <= set(defaults)
            usable = {name: value for name, value in row.items() if not isinstance(value, tables.Refused)}
            sent = yaml.safe_dump(usable, allow_unicode=True).encode("utf-8")  # as a notebook gets them
            assert yaml.safe_load(sent) is not None or not usable

    read()


def test_results(place):
    kept = json.loads(data_path("results", "claims.json").read_text(encoding="utf-8"))
    kept["claims"] = [claim for claim in kept["claims"] if claim["measured"]][:3]
    folder = place / "records"
    folder.mkdir()

    @fuzz(150)
    @given(content=spoiled_json(kept).map(json.dumps) | spoiled_text(json.dumps(kept["claims"][0])))
    def read(content):
        path = place / "claims.json"
        path.write_text(content, encoding="utf-8", errors="replace")
        records = documented(results.read_results, path)
        if records:
            documented(results.table, records)
        (folder / "a.json").write_text(content, encoding="utf-8", errors="replace")
        documented(claims.read_records, folder)

    read()


# ---------------------------------------------------------------- folders that an earlier run filled


@st.composite
def spoiled_bytes(draw, content: bytes) -> bytes:
    """Other bytes, an end too early, or nothing of it."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 8))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content[: draw(st.integers(0, len(content)) | st.just(len(content)))])


def test_checkpoints(tmp_path):
    config = minute_config()
    training.train(config, tmp_path, progress=False, stop_after=3)
    path, trainer = tmp_path / "sve.checkpoint.safetensors", training.SveTrainer(config)
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])

    @fuzz(60)
    @given(content=spoiled_bytes(content) | spoiled_json(header).map(lambda h: with_header(h, content[8 + length :])))
    def read(content):
        path.write_bytes(content)
        documented(trainer.load, path)

    read()


def with_header(header, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + tensors


def test_folders_of_results(place):
    """A report reads what `quantify` wrote into the folder, whatever has happened to it."""
    out = place / "whole"
    quantify.quantify(place / "eleven.nii.gz", out, estimator="fit", errors="none")
    summary, content = json.loads((out / "summary.json").read_text()), (out / result.FILE).read_bytes()
    where = report.source(place / "eleven.nii.gz", out=out)

    @fuzz(60)
    @given(content=spoiled_bytes(content) | st.just(content), summary=spoiled_json(summary) | st.just(summary))
    def read(content, summary):
        (out / result.FILE).write_bytes(content)
        (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
        found = documented(report.read, where)
        assert found is None or report_tables.about(found)

    read()


def test_folders_of_sweeps(tmp_path):
    done = {"parameters": {"a": 1}, "version": "0", "seconds": 1.0, "values": {"x": 1}}
    done["records"] = [{"id": "P1", "part": None, "value": 1.0, "spread": 0.1, "holds": None}]
    run = sweep.Run(tmp_path / "n.ipynb", {"a": 1}, tmp_path / "run")
    run.folder.mkdir()

    @fuzz(100)
    @given(content=spoiled_json(done).map(json.dumps) | spoiled_text(json.dumps(done)) | JSON.map(json.dumps))
    @example(content="[" * 100_000)
    def read(content):
        (run.folder / "run.json").write_text(content, encoding="utf-8", errors="replace")
        (run.folder / "failed.json").write_text(content, encoding="utf-8", errors="replace")
        sweep.write_table(tmp_path / "table.csv", [run], ["a"])

    read()


# ---------------------------------------------------------------- commands: one sentence, and nothing half-written


FIT = "quantify GOOD --errors none --estimator fit"
SPOILED = {  # what the file is spoiled from, and a command that reads it
    "dmi": (mrs_bytes(2), "quantify FILE --estimator fit"),
    "mri": (image_bytes(), "quantify GOOD --errors none --estimator precise --mri FILE"),
    "mask": (image_bytes(), f"{FIT} --mask FILE"),
    "water": (image_bytes((3, 2, 2)), f"{FIT} --water FILE"),
    "b1": (image_bytes((3, 2, 2), 0), f"{FIT} --tr 0.4 --flip-angle 60 --b1 FILE"),
    "model": (yaml.safe_dump(RINGS), f"{FIT} --model FILE"),
    "lines": (yaml.safe_dump(SPLIT), f"{FIT} --model FILE"),
    "calibrated": (yaml.safe_dump(LEARNED.kept), f"{FIT} --calibrate FILE"),
    "settings": (json.dumps(minute_config(iterations=1).to_dict()), "train --config FILE"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_commands(place, precise, tmp_path, kind):
    """Exit code 0 with a whole folder, or 2 with one line and no folder."""
    good, words = SPOILED[kind]
    out, path = tmp_path / "out", tmp_path / f"x.{'yaml' if isinstance(good, str) else 'nii'}"
    command = [{"FILE": path, "GOOD": place / "eleven.nii.gz"}.get(word, word) for word in words.split()]
    if isinstance(good, str):
        content = spoiled_text(good).map(str.encode)
    else:
        content = spoiled_image(good, NIFTI_2 if kind == "dmi" else NIFTI_1)

    @fuzz(12)
    @given(content=content)
    def run(content):
        path.write_bytes(content)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training.Trainer, "run", lambda *_: (_ for _ in ()).throw(InputError("Enough.")))
            code, said, err = precise(*command, "--out", out)
        if code == 0:
            assert (out / "summary.json").is_file()
            shutil.rmtree(out)
        else:
            assert (code, said, err.count("\n")) == (2, "", 1), err
            assert err.startswith("precise: ")
            assert not [p for p in tmp_path.rglob("*") if p not in (path, out)]

    run()
