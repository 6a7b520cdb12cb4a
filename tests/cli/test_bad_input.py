"""Whatever is wrong with files, options or settings ends in one sentence that says what, where and what to do.

Every case goes through the console entry: exit code 2, nothing on stdout, one line on stderr, no file made or touched.
"""

import gzip
import json
import re
import shlex
import shutil
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from precise_lib import cli
from precise_lib.errors import reason
from precise_lib.estimate import training
from precise_lib.io import nifti, nifti_mrs
from precise_lib.io.shipped import data_path
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.parts import Acquisition
from precise_lib.signal.presets import dmi_11t7

MODEL = dmi_11t7()
AFFINE = np.diag([5.0, 5, 5, 1])
SHAPE = (3, 2, 2)


def write_dmi(path, model=MODEL, affine=AFFINE, value=None):
    fids = np.broadcast_to(model.fids([1.0, 0.3, 0.6, 0.1]), (*SHAPE, model.acquisition.n_samples))
    nifti_mrs.write_mrsi(path, MRSI(fids if value is None else np.full_like(fids, value), model, affine))
    return path


def saved(path, values, affine=AFFINE, **header):
    """A NIfTI image with whatever in its header; no NIfTI-MRS extension."""
    image = nib.Nifti1Image(values, None)
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    for i, row in enumerate("xyz"):
        image.header[f"srow_{row}"] = affine[i]
    for key, value in header.items():
        image.header[key] = value
    # as stored: nibabel would compute an affine of its own for an image that it is given one for
    nib.Nifti1Image(values, None, image.header).to_filename(path)
    return path


def altered(path, out, values=None, extension=None, dwell_s=None, affine=None):
    """A NIfTI-MRS file again, with other numbers, header extension, dwell time or affine."""
    image = nib.load(path)
    values = np.asarray(image.dataobj) if values is None else values
    header = image.header.copy()
    header.set_data_dtype(values.dtype)
    if extension is not None:
        header.extensions.clear()
        header.extensions.append(nib.nifti1.Nifti1Extension(44, json.dumps(extension).encode()))
    if affine is not None:
        header["qform_code"], header["sform_code"] = 0, 2
        for i, row in enumerate("xyz"):
            header[f"srow_{row}"] = affine[i]
    copy = nib.Nifti2Image(values, None if affine is not None else image.affine, header)
    if dwell_s is not None:
        copy.header["pixdim"][4] = dwell_s
    copy.header["intent_name"] = image.header["intent_name"]
    nib.save(copy, out)
    return out


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Good files, made once: what a case spoils is a copy."""
    folder = tmp_path_factory.mktemp("good")
    write_dmi(folder / "dmi.nii.gz")
    nifti.write_image(folder / "mri.nii.gz", np.random.default_rng(0).random((6, 4, 4)), np.diag([2.5, 2.5, 2.5, 1]))
    nifti.write_image(folder / "mask.nii.gz", np.ones(SHAPE), AFFINE)
    return folder


@pytest.fixture
def refused(files, tmp_path, monkeypatch, capsys):
    """Run a command that must be refused; returns the sentence."""
    monkeypatch.setenv("PRECISE_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)

    def trains(*_, **__):
        raise AssertionError("accepted: the training began")

    monkeypatch.setattr(training.Trainer, "__init__", trains)

    def tree():
        places = [*files.rglob("*"), *tmp_path.rglob("*")]
        return {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(places)}

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["precise", *map(str, arguments)])
        before = tree()
        with pytest.raises(SystemExit) as leaving:
            cli.app_main()
        out, err = capsys.readouterr()
        assert (leaving.value.code, out) == (2, ""), err
        assert re.fullmatch(r"precise: [^\n]+\.\n", err), err
        assert "Traceback" not in err
        assert not re.search(r"[.!?]\s+[A-Z]", err.removeprefix("precise: ")), f"more than one sentence: {err}"
        assert tree() == before
        return err

    return run


# Each case: the files it makes in `t` (a fresh folder) from the good ones in `g`, and what the sentence must name. What
# a case returns are the arguments after "quantify".


def cut_gzip(t, g):
    (t / "cut.nii.gz").write_bytes((g / "dmi.nii.gz").read_bytes()[:3000])
    return t / "cut.nii.gz"


def flipped_byte(t, g):
    content = bytearray((g / "dmi.nii.gz").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (t / "flipped.nii.gz").write_bytes(content)
    return t / "flipped.nii.gz"


def cut_nifti(t, g):
    (t / "cut.nii").write_bytes(gzip.decompress((g / "dmi.nii.gz").read_bytes())[:9000])
    return t / "cut.nii"


def empty(t, g):
    (t / "empty.nii.gz").write_bytes(b"")
    return t / "empty.nii.gz"


def text(t, g):
    (t / "text.nii.gz").write_text("voxel 1: 3.5 mM\n")
    return t / "text.nii.gz"


def folder(t, g):
    (t / "scan.nii.gz").mkdir()
    return t / "scan.nii.gz"


def no_extension(t, g):
    values = np.asarray(nib.load(g / "dmi.nii.gz").dataobj)
    return saved(t / "plain.nii.gz", values)


def extension_is_no_json(t, g):
    path = altered(g / "dmi.nii.gz", t / "header.nii.gz", extension={"SpectrometerFrequency": "fast"})
    return path


def of_nucleus(nucleus, mhz):
    def case(t, g):
        acquisition = replace(MODEL.acquisition, nucleus=nucleus, spectrometer_frequency_mhz=mhz)
        return write_dmi(t / f"{nucleus}.nii.gz", replace(MODEL, acquisition=acquisition))

    return case


def two_nuclei(t, g):
    header = {"SpectrometerFrequency": [76.7, 500.0], "ResonantNucleus": ["2H", "1H"]}
    return altered(g / "dmi.nii.gz", t / "two.nii.gz", extension=header)


def zero_frequency(t, g):
    header = {"SpectrometerFrequency": [0.0], "ResonantNucleus": ["2H"]}
    return altered(g / "dmi.nii.gz", t / "still.nii.gz", extension=header)


def no_nucleus(t, g):
    return altered(g / "dmi.nii.gz", t / "nameless.nii.gz", extension={"SpectrometerFrequency": [76.7]})


def coils(t, g):
    header = {"SpectrometerFrequency": [76.7], "ResonantNucleus": ["2H"], "dim_5": "DIM_COIL"}
    values = np.repeat(np.asarray(nib.load(g / "dmi.nii.gz").dataobj)[..., None], 4, -1)
    return altered(g / "dmi.nii.gz", t / "coils.nii.gz", values, extension=header)


def zero_dwell(t, g):
    return altered(g / "dmi.nii.gz", t / "fast.nii.gz", dwell_s=0.0)


def real(t, g):
    return altered(g / "dmi.nii.gz", t / "real.nii.gz", np.asarray(nib.load(g / "dmi.nii.gz").dataobj).real)


def one_point(t, g):
    return altered(g / "dmi.nii.gz", t / "short.nii.gz", np.asarray(nib.load(g / "dmi.nii.gz").dataobj)[..., :1])


def filled_with(value):
    return lambda t, g: write_dmi(t / "filled.nii.gz", value=value)


def flat(t, g):
    return altered(g / "dmi.nii.gz", t / "flat.nii.gz", affine=np.diag([5.0, 5, 0, 1]))


def nan_affine(t, g):
    affine = AFFINE.copy()
    affine[0, 3] = np.nan
    return altered(g / "dmi.nii.gz", t / "lost.nii.gz", affine=affine)


DATA = {
    "missing": (lambda t, g: t / "nowhere.nii.gz", "nowhere.nii.gz"),
    "truncated gzip": (cut_gzip, "cut.nii.gz"),
    "a flipped byte": (flipped_byte, "flipped.nii.gz"),
    "truncated, not compressed": (cut_nifti, "cut.nii"),
    "an empty file": (empty, "empty.nii.gz"),
    "text named .nii.gz": (text, "text.nii.gz"),
    "a folder": (folder, "scan.nii.gz"),
    "no NIfTI-MRS extension": (no_extension, "plain.nii.gz"),
    "an extension of another kind": (extension_is_no_json, "header.nii.gz"),
    "1H": (of_nucleus("1H", 500.0), "1H.nii.gz"),
    "another nucleus": (of_nucleus("31P", 202.4), "31P.nii.gz"),
    "two nuclei": (two_nuclei, "two.nii.gz"),
    "no nucleus": (no_nucleus, "nameless.nii.gz"),
    "frequency zero": (zero_frequency, "still.nii.gz"),
    "dwell time zero": (zero_dwell, "fast.nii.gz"),
    "coils without noise": (coils, "coils.nii.gz"),
    "complex stored as real": (real, "real.nii.gz"),
    "one time point": (one_point, "short.nii.gz"),
    "no finite voxel": (filled_with(np.nan), "filled.nii.gz"),
    "zero throughout": (filled_with(0), "filled.nii.gz"),
    "singular affine": (flat, "flat.nii.gz"),
    "affine that is not finite": (nan_affine, "lost.nii.gz"),
    "an MRI in its place": (lambda t, g: g / "mri.nii.gz", "mri.nii.gz"),
}


@pytest.mark.parametrize("case", DATA)
def test_data(refused, files, tmp_path, case):
    make, named = DATA[case]
    dmi = make(tmp_path, files)
    for estimator in ("fit", "sve"):
        assert named in refused("quantify", dmi, "--out", tmp_path / "out", "--estimator", estimator)
    if case == "coils without noise":
        return  # a training does not look at the FIDs
    if case not in ("no finite voxel", "zero throughout"):
        assert named in refused("train", "--like", dmi, "--t2star", 0.02)
    else:
        assert "--t2star" in refused("train", "--like", dmi)


# ---------------------------------------------------------------- MRI and mask


def moved(affine, mm=500.0):
    affine = affine.copy()
    affine[:3, 3] += mm
    return affine


IMAGES = {
    "MRI elsewhere": ("--mri", lambda p: nifti.write_image(p, np.ones((6, 4, 4)), moved(AFFINE)), "overlap"),
    "MRI 4-D": ("--mri", lambda p: saved(p, np.ones((6, 4, 4, 3), np.float32)), "3-D"),
    "MRI 2-D": ("--mri", lambda p: saved(p, np.ones((6, 4), np.float32)), "3-D"),
    "MRI complex": ("--mri", lambda p: saved(p, np.ones((6, 4, 4), np.complex64)), "real"),
    "MRI in color": ("--mri", lambda p: saved(p, np.zeros((6, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])), "real"),
    "MRI flat": ("--mri", lambda p: saved(p, np.ones((6, 4, 4), np.float32), np.diag([5.0, 0, 5, 1])), "invertible"),
    "MRI not finite": ("--mri", lambda p: nifti.write_image(p, np.full((6, 4, 4), np.nan), AFFINE / 2), "finite"),
    "MRI too small": ("--mri", lambda p: nifti.write_image(p, np.ones((2, 2, 2)), AFFINE), "cover"),
    "MRI missing": ("--mri", lambda p: None, "no file"),
    "MRI damaged": ("--mri", lambda p: p.write_bytes(b"\x1f\x8b\x08damaged"), "not readable"),
    "mask empty": ("--mask", lambda p: nifti.write_image(p, np.zeros(SHAPE), AFFINE), "empty"),
    "mask elsewhere": ("--mask", lambda p: nifti.write_image(p, np.ones(SHAPE), moved(AFFINE)), ""),
    "mask 4-D": ("--mask", lambda p: saved(p, np.ones((*SHAPE, 2), np.float32)), "3-D"),
    "mask complex": ("--mask", lambda p: saved(p, np.ones(SHAPE, np.complex64)), "real"),
    "mask not finite": ("--mask", lambda p: nifti.write_image(p, np.full(SHAPE, np.nan), AFFINE), "empty"),
    "mask flat": ("--mask", lambda p: saved(p, np.ones(SHAPE, np.float32), np.diag([5.0, 5, 0, 1])), "invertible"),
    "mask missing": ("--mask", lambda p: None, "no file"),
    "mask is text": ("--mask", lambda p: p.write_text("1 1 0"), "not readable"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_mri_and_mask(refused, files, tmp_path, case):
    option, make, said = IMAGES[case]
    image = tmp_path / "image.nii.gz"
    make(image)
    sentence = refused("quantify", files / "dmi.nii.gz", "--out", tmp_path / "out", option, image)
    assert "image.nii.gz" in sentence or case in ("MRI not finite", "MRI too small")  # found when it is used
    assert said in sentence


# ---------------------------------------------------------------- options


def options_of(table):
    """Options and what must be said of them, by case, of lines ``case | options | said``."""
    rows = (line.split(" | ") for line in table.strip().splitlines())
    return {case: (shlex.split(options), said) for case, options, said in rows}


QUANTIFY = options_of("""
negative lambda | --mri mri --lam -0.1 | lambda
lambda not a number | --mri mri --lam nan | lambda
lambda infinite | --mri mri --lam inf | lambda
lambda a word | --mri mri --lam strong | lambda
cap of the edges zero | --mri mri --omega-max 0 | omega_max
cap of the edges not a number | --mri mri --omega-max nan | omega_max
lambda chosen without an MRI | --lam auto | MRI
unknown estimator | --estimator magic | magic
precise without an MRI | --estimator precise | --mri
no repeats | --errors montecarlo --repeats 0 | repeats
negative repeats | --errors montecarlo --repeats -5 | repeats
repeats a word | --repeats many | --repeats
negative seed | --seed -1 | --seed
unknown errors | --errors bootstrap | bootstrap
unknown model | --model dmi_99t | dmi_99t
unknown weights | --model mine.safetensors | mine.safetensors
unknown signal model | --estimator fit --model mine.yaml | mine.yaml
a network for another acquisition | --model dmi_3t | number of samples
negative dead time | --dead-time -0.001 | dead time is -0.001
dead time in ms | --dead-time 0.6 | given in ms
dead time a word | --dead-time soon | dead time is soon
dead time not a number | --dead-time nan | dead time is nan
repetition time of zero | --tr 0 | repetition time is 0
repetition time in ms | --tr 400 | given in ms
flip angle of 400 | --flip-angle 400 | flip angle is 400
negative flip angle | --flip-angle -60 | flip angle is -60
a reference frame that does not exist | --reference-frame 3 | frames 0 to 0
negative reference frame | --reference-frame -1 | frames 0 to 0
a reference frame that is no number | --reference-frame first | --reference-frame
two references | --reference-frame 0 --water dmi | Two references
no such water | --water nowhere.nii.gz | nowhere.nii.gz
a mask for water | --water nowhere.txt | nowhere.txt
no such map of angles | --b1 nowhere.nii.gz | nowhere.nii.gz
a measurement as map of angles | --b1 dmi | B1 map
T1 without a name | --t1 0.064 | not readable
T1 in ms | --t1 Glc=64 | T1 of Glc is 64
T1 of nobody | --t1 Glucose=0.064 | 'Glucose'
negative T1 | --t1 Glc=-0.064 | T1 of Glc is -0.064
deuterons in words | --deuterons Glc=two | not readable
no deuterons | --deuterons Glc=0 | nuclei per molecule of Glc is 0
nothing to average | --average | no transients
noise of coils that are not there | --noise dmi | no single coils
unknown calibration | --calibrate maybe | maybe
a measurement as calibration | --calibrate dmi | calibrated model
option of the estimator without a value | --set tau | NAME=VALUE
unknown option | --lambda 0.1 | --lambda
two data files | dmi | quantify --help
""")


@pytest.mark.parametrize("case", QUANTIFY)
def test_options_of_quantify(refused, files, tmp_path, case):
    options, named = QUANTIFY[case]
    options = [files / f"{o}.nii.gz" if o in ("mri", "dmi") else o for o in options]
    assert named in refused("quantify", files / "dmi.nii.gz", "--out", tmp_path / "out", *options)


TRAIN = options_of("""
unknown metabolite | --metabolites water,Glc,unobtainium | unobtainium:ppm
shift of no metabolite | --metabolites water,:3 | commas
shift a word | --metabolites water,x:high | 'x'
shift not a number | --metabolites water,x:nan | 'x'
shift in Hz | --metabolites water,x:-176 | ppm
two reference lines | --metabolites water,Glc,Water:4.65 | water twice
no reference | --metabolites Glc,Glx,Lac | water
nothing | --metabolites '' | commas
two lines at one place | --metabolites water,Glx,x:2.4 | Glx and x
a name for a path | --metabolites water,../x:3 | ../x
T2* in ms | --t2star 20 | given in ms
T2* zero | --t2star 0 | give it in s
T2* negative | --t2star -0.02 | give it in s
T2* not a number | --t2star nan | give it in s
no iterations | --iterations 0 | --iterations
iterations a word | --iterations few | --iterations
a device that is not there | --device abacus | --device
a name for a folder | --name ../mine | --name
a shipped name | --name dmi_11t7 --t2star 0.03 | --name
settings twice | --config settings.yaml | --config
""")


@pytest.mark.parametrize("case", TRAIN)
def test_options_of_train(refused, files, case):
    options, named = TRAIN[case]
    assert named in refused("train", "--like", files / "dmi.nii.gz", *options)


def test_train_without_data(refused, tmp_path):
    assert "--like" in refused("train")
    assert "--like" in refused("train", "--metabolites", "water,Glc", "--out", tmp_path / "w")
    assert "--like" in refused("train", "--t2star", "0.02", "--out", tmp_path / "w")


SETTINGS = {
    "misspelled": ("iteratons: 10", "iteratons"),
    "misspelled in the network": ("network: {hiden: 9}", "hiden"),
    "unknown recipe": ("recipe: secret", "secret"),
    "unknown front": ("network: {front: magic}", "magic"),
    "a list": ("- 1\n- 2", "settings.yaml"),
    "not YAML": ("a: [1", "settings.yaml"),
    "bytes": ("\x00\x01", "settings.yaml"),
    "range of one": ("shift_range_hz: [3]", "shift_range_hz"),
    "range the wrong way": ("snr_range: [30, 5]", "range"),
    "iterations a word": ("iterations: many", "iterations"),
    "no batch": ("batch_size: 0", "batch_size"),
    "no rate": ("learning_rate: 0", "learning_rate"),
    "unknown loss": ("loss: least", "least"),
    "no neurons": ("network: {hidden: -1}", "-1"),
    "two reference lines": (
        "signal_model: {acquisition: {n_samples: 64, dwell_time_s: 0.001, spectrometer_frequency_mhz: 76.7}, "
        "resonances: [{name: water, ppm: 4.7, t2star_s: 0.02}, {name: water, ppm: 4.6, t2star_s: 0.02}]}",
        "water, water",
    ),
    "no frequency": (
        "signal_model: {acquisition: {n_samples: 64, dwell_time_s: 0.001, spectrometer_frequency_mhz: 0}, "
        "resonances: [{name: water, ppm: 4.7, t2star_s: 0.02}]}",
        "spectrometer_frequency_mhz",
    ),
    "a card whose settings are a number": ("config: 3", "'config'"),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_training_settings(refused, tmp_path, case):
    content, named = SETTINGS[case]
    (tmp_path / "settings.yaml").write_text(content)
    sentence = refused("train", "--config", tmp_path / "settings.yaml", "--out", tmp_path / "w")
    assert named in sentence
    assert "settings.yaml" in sentence


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("resonances: [", "not readable"),
        ("just words", "mapping"),
        ("resonances: [{name: water, ppm: 4.7}]", "t2star_s"),
        ("resonances: []", "reference"),
        ("resonances: [{name: [1], ppm: 4.7, t2star_s: 0.02}]", "cannot be used"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0.02}, {name: water, ppm: 4.6, t2star_s: 0.02}]", "differ"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0}]", "T2*"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0.02}]\nreference_concentration_mm: -1", "positive"),
        ("resonances: [&r {name: water, ppm: 4.7, t2star_s: 0.02, lines: [*r]}]", "itself"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0.02, lines: [{ppm: 4.7, ratio: &a [*a]}]}]", "itself"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0.02}]\nreference: [water, Glc]", "reference"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0.02}, {name: Glc, ppm: 25, t2star_s: 0.02}]", "bandwidth"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 20}]", "given in ms"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0.02, shift_sd_hz: -3}]", "shift_sd_hz"),
        ("resonances: [{name: water, ppm: 4.7, t2star_s: 0.02, role: king}]", "king"),
        ("resonances: [{name: no, ppm: 4.7, t2star_s: 0.02}]", "name False"),
    ],
)
def test_signal_models(refused, files, tmp_path, content, named):
    (tmp_path / "model.yaml").write_text(content)
    command = ("quantify", files / "dmi.nii.gz", "--out", tmp_path / "out", "--estimator", "fit", "--model")
    sentence = refused(*command, tmp_path / "model.yaml")
    assert named in sentence
    assert "model.yaml" in sentence


# ---------------------------------------------------------------- weights


def spoil_cut(weights, card):
    weights.write_bytes(weights.read_bytes()[:5000])


def spoil_bit(weights, card):
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(content)


def spoil_card(content):
    return lambda weights, card: card.write_text(content)


WEIGHTS = {
    "cut off": spoil_cut,
    "one bit": spoil_bit,
    "no card": lambda weights, card: card.unlink(),
    "card cut off": lambda weights, card: card.write_text(card.read_text()[:300]),
    "card empty": spoil_card(""),
    "card a list": spoil_card("[]"),
    "card of nothing": spoil_card("{}"),
    "card of other settings": spoil_card('{"name": "x", "config": {"speed": 3}}'),
    "card bytes": lambda weights, card: card.write_bytes(b"\xff\xfe"),
    "empty": lambda weights, card: weights.write_bytes(b""),
    "text": lambda weights, card: weights.write_text("0.1 0.2"),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights(refused, files, tmp_path, case):
    weights = tmp_path / "mine.safetensors"
    shutil.copy(data_path("weights", "dmi_11t7.safetensors"), weights)
    shutil.copy(data_path("weights", "dmi_11t7.json"), weights.with_suffix(".json"))
    WEIGHTS[case](weights, weights.with_suffix(".json"))
    assert "mine" in refused("quantify", files / "dmi.nii.gz", "--out", tmp_path / "out", "--model", weights)


def test_no_network_fits(refused, tmp_path):
    """The sentence is the command that helps, with the name of the file."""
    model = SignalModel(Acquisition(333, 1e-3, 30.0), MODEL.resonances)
    dmi = write_dmi(tmp_path / "rare.nii.gz", model)
    sentence = refused("quantify", dmi, "--out", tmp_path / "out", "--estimator", "sve")
    assert f"'precise train --like {dmi}'" in sentence
    (tmp_path / "model.yaml").write_text(json.dumps(model.to_dict()))
    given = ("--estimator", "sve", "--model", tmp_path / "model.yaml")
    sentence = refused("quantify", dmi, "--out", tmp_path / "out", *given)
    assert f"'precise train --like {dmi}'" in sentence


# ---------------------------------------------------------------- where to write


@pytest.mark.parametrize("where", ["file", "below a file", "read-only"])
def test_output(refused, files, tmp_path, monkeypatch, where):
    """Root may write to folders without permission, so a file system that is read-only stands in for them."""
    (tmp_path / "file").write_text("")
    out = {"file": tmp_path / "file", "below a file": tmp_path / "file" / "below", "read-only": tmp_path / "out"}[where]
    if where == "read-only":

        def mkdir(*_, **__):
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr("os.mkdir", mkdir)
    for command in (("quantify", files / "dmi.nii.gz"), ("simulate", "rings"), ("train",)):
        assert str(out) in refused(*command, "--out", out)
    monkeypatch.setenv("PRECISE_MODELS", str(out))
    sentence = refused("train", "--like", files / "dmi.nii.gz", "--t2star", "0.02")
    assert str(out) in sentence
    assert "PRECISE_MODELS" in sentence


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--snr", "0"), "SNR"),
        (("--snr", "nan"), "SNR"),
        (("--tumor-size", "99"), "tumor"),
        (("--seed", "x"), "--seed"),
    ],
)
def test_options_of_simulate(refused, tmp_path, options, named):
    assert named in refused("simulate", "rings", "--out", tmp_path / "out", *options)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("quantify",), "dmi"),
        (("quantify", "dmi.nii.gz"), "--out"),
        (("quantfy",), "quantfy"),
        (("simulate", "squares"), "squares"),
        (("--verbose",), "--verbose"),
    ],
)
def test_usage(refused, arguments, named):
    sentence = refused(*arguments)
    assert named in sentence
    assert "--help" in sentence


@pytest.mark.parametrize("error", [TypeError("f() got an unexpected keyword argument 'x'"), IndexError(), ValueError(
    "could not convert string to float: 'x'"), AttributeError("'int' object has no attribute 'items'")])  # fmt: skip
def test_no_words_of_python(error):
    assert reason(error) == "a value is missing or of another kind than it must be"
    assert reason(ValueError("Our own words.\nMore.")) == "Our own words"
    assert reason(KeyError("name")) == "name is missing"
