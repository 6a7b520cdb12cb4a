"""Networks of one's own: trained for the acquisition of a file, kept by hash, found by quantify, in a defined order."""

import json
import shutil
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate import catalog, training, weights
from precise_lib.estimate.network import MatchedFront
from precise_lib.estimate.sampling import signal_families
from precise_lib.estimate.train_config import TrainConfig
from precise_lib.estimate.weights import find_weights, load_weights
from precise_lib.evaluate.crlb import covariance
from precise_lib.io import nifti_mrs
from precise_lib.quantify import train_like
from precise_lib.quantify.measurement import resolve_model
from precise_lib.signal.information import jacobian
from precise_lib.signal.model import SignalModel
from precise_lib.signal.mrsi import MRSI, Series
from precise_lib.signal.noise import add_noise, snr_to_sigma
from precise_lib.signal.parts import Acquisition, Resonance
from precise_lib.signal.presets import SHIFTS_2H_PPM, default_2h_model, dmi_11t7, dmi_rat, parse_metabolites

SMALL = Acquisition(64, 1 / 625, 76.7)  # an acquisition that no shipped network knows, quick to train for
ITERATIONS = 40


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty model folder, which is not there yet."""
    monkeypatch.setenv("PRECISE_MODELS", str(tmp_path / "own models"))
    return tmp_path / "own models"


def measured(model, shape=(4, 3, 2), snr=20.0, seed=0, shift_hz=0.0):
    """`MRSI` of one tissue with noise."""
    rng = np.random.default_rng(seed)
    clean = np.broadcast_to(model.fids([1.0, 0.3, 0.6, 0.2], shift_hz), (*shape, model.acquisition.n_samples))
    return MRSI(add_noise(clean, snr_to_sigma(model, snr), rng), model, np.diag([5.0, 5, 5, 1]))


@pytest.fixture(scope="module", autouse=True)
def settings_once():
    """The size of the network is found once for each signal model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_like, "settings_for", lru_cache(train_like.settings_for))
        yield


@pytest.fixture(scope="module")
def dmi(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "dmi.nii.gz"
    nifti_mrs.write_mrsi(path, measured(default_2h_model(SMALL, 0.025)))
    return path


@pytest.fixture(scope="module")
def made(dmi, tmp_path_factory):
    """Folder of a model folder with the one network that `train --like` made without interruption."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PRECISE_MODELS", str(tmp_path_factory.mktemp("made")))
    frequent_checkpoints(patch)
    config, _ = train_like.plan(dmi, "water,Glc,Glx,Lac", None, ITERATIONS)
    entry, new = train_like.train_into_folder(config, "small", progress=False)
    assert new
    patch.undo()
    return entry


def frequent_checkpoints(patch):
    ours = train_like.settings_for
    patch.setattr(train_like, "settings_for", lambda *a: replace(ours(*a), checkpoint_every=10))


def put(entry, name, **changes):
    """Store a network with another name and signal model (so another hash), as if it had been trained for it."""
    home = catalog.folder().parent / "work"
    home.mkdir(exist_ok=True)
    model = replace(entry.signal_model, **changes)
    config = replace(entry.card.config, signal_model=model)
    shutil.copy(entry.path, home / "w.safetensors")
    replace(entry.card, name=name, config=config, signal_model_hash=model.hash).write(home / "w.safetensors")
    return catalog.store(home / "w.safetensors")


def with_lac_at(model, ppm):
    """A change that leaves the size of the network alone."""
    return {"resonances": tuple(replace(r, ppm=ppm) if r.name == "Lac" else r for r in model.resonances)}


# ---------------------------------------------------------------- from a file to settings


def test_shifts_are_those_of_the_presets():
    assert list(parse_metabolites("water,Glc,Glx,Lac").items()) == [(r.name, r.ppm) for r in dmi_11t7().resonances]
    assert parse_metabolites(" WATER , bhb") == {"water": 4.7, "BHB": SHIFTS_2H_PPM["BHB"]}
    assert parse_metabolites("water:4.65,ala:1.48") == {"water": 4.65, "ala": 1.48}


@pytest.mark.parametrize("t2star_s", [0.012, 0.025, 0.040])
def test_width_of_the_lines_is_measured(t2star_s):
    """The search starts elsewhere; outside the object there is noise alone, and one voxel is not finite."""
    model = default_2h_model(Acquisition(512, 1 / 2500, 60.0), t2star_s)
    data = measured(model, (6, 5, 4), snr=15, shift_hz=6.0)
    data.fids[0] -= model.fids([1.0, 0.3, 0.6, 0.2], 6.0).astype(np.complex64)
    data.fids[1, 0, 0, 3] = np.nan
    lines = train_like.measure_lines(data.replace(model=default_2h_model(model.acquisition, 0.030)))
    assert len(lines.width_hz) == 99
    # SD of a voxel's width at this SNR: 5 %; of the median of 99: 0.6 %
    assert np.median(lines.width_hz) == pytest.approx(1 / (np.pi * t2star_s), rel=0.03)
    assert lines.t2star_s == pytest.approx(t2star_s, abs=0.0015)
    assert np.median(lines.shift_hz) == pytest.approx(6.0, abs=0.3)


def test_noise_has_no_line(dmi, tmp_path):
    model = default_2h_model(Acquisition(512, 1 / 2500, 60.0))
    data = measured(model, (8, 8, 4))
    noise = data.replace(fids=data.fids - model.fids([1.0, 0.3, 0.6, 0.2]).astype(np.complex64))
    with pytest.raises(InputError, match="give --t2star"):
        train_like.measure_lines(noise)


def test_width_of_a_time_course_is_that_of_its_first_frame(tmp_path):
    first, later = (measured(default_2h_model(SMALL, t), (3, 2, 1)).fids for t in (0.025, 0.010))
    series = Series(np.stack([first, later, later], -1), default_2h_model(SMALL), np.diag([5.0, 5, 5, 1]))
    nifti_mrs.write_mrsi(tmp_path / "frames.nii.gz", series)
    config, _ = train_like.plan(tmp_path / "frames.nii.gz", "water,Glc,Glx,Lac")
    assert config.signal_model.t2star_s[0] == pytest.approx(0.025, abs=0.0015)


def test_plan_says_what_it_found(dmi, precise, folder):
    config, said = train_like.plan(dmi, "water,Glc,Glx,Lac")
    assert config.signal_model == default_2h_model(SMALL, 0.025)
    assert said[0] == f"{dmi}: 2H at 76.7 MHz (11.74 T), 64 points of 1600 us."
    assert "T2* is taken as 25 ms" in said[1]
    assert not [sentence for sentence in said if sentence.startswith("Note")]
    config, said = train_like.plan(dmi, "water,Glc,Glx,Gln,ala:1.48", 0.02)
    assert [r.ppm for r in config.signal_model.resonances] == [4.7, 3.7, 2.4, 2.44, 1.48]
    assert said[1].startswith("Note: Glx and Gln are 3.1 Hz apart")
    # --field-check measures, says what training would cover, and stops
    code, out, err = precise("train", "--like", dmi, "--t2star", "0.005", "--field-check")
    assert code == 0
    assert "Frequency shifts" in out
    assert "Note: 100 % of the voxels are outside" in err  # 12.7 Hz wide lines, and 64 Hz assumed
    assert not folder.exists()


def test_size_of_network_and_training_follow_from_the_model():
    for preset in (dmi_11t7(), dmi_rat()):
        config = train_like.settings_for(preset)
        shipped = TrainConfig.for_model(preset)
        assert replace(config, iterations=shipped.iterations) == shipped
        assert 20_000 <= config.iterations <= shipped.iterations
    assert train_like.settings_for(dmi_11t7()) == TrainConfig()
    assert train_like.settings_for(dmi_11t7(), 7).iterations == 7
    many = SignalModel(
        dmi_rat().acquisition, tuple(Resonance(f"m{i}", 6 - i * 0.9, 0.03) for i in range(7)), reference="m1"
    )
    wide = train_like.settings_for(many)
    assert wide.network.rank > 40
    assert wide.network.aligned_rank > 16
    few = train_like.settings_for(default_2h_model(Acquisition(12, 1 / 625, 76.7)))
    assert (few.network.rank, few.network.aligned_rank) == (12, 12)


def test_front_end_of_that_size_keeps_the_precision():
    """The bound for projected data is within 0.5 % of that for the FID: here 64 dimensions are needed, not 40."""
    model = default_2h_model(Acquisition(512, 1 / 2500, 111.0), 0.040)
    config, rng = train_like.settings_for(model), np.random.default_rng(0)
    assert config.network.rank > 50
    front = MatchedFront(model, config.network, config.shift_range_hz, signal_families(config, 1000))
    projector = front.projector.numpy().astype(float).view(complex)[..., 0]
    for _ in range(20):
        amplitudes = np.array([1.0, *rng.uniform(0, 1.2, 3)])
        shift, broad = rng.uniform(*config.shift_range_hz), rng.uniform(*config.broadening_range_hz)
        full = np.sqrt(np.diag(covariance(model, amplitudes, 1.0, shift, broad, 0.4)))[:4]
        j = jacobian(model, amplitudes, shift, broad, 0.4) @ projector
        assert (np.sqrt(np.diag(np.linalg.inv((j.conj() @ j.T).real)))[:4] / full < 1.005).all()


# ---------------------------------------------------------------- trained, stored, found


def test_train_like_and_quantify(dmi, precise, folder, tmp_path):
    """The whole way through the command line: refused, trained, listed, used, and not trained twice."""
    out = ("--out", tmp_path / "maps")
    code, _, err = precise("quantify", dmi, *out, "--estimator", "sve")
    assert code == 2
    assert f"precise train --like {dmi}" in err
    train = ("train", "--like", dmi, "--iterations", ITERATIONS)
    code, said, _ = precise(*train, "--name", "mine")
    assert code == 0
    assert "Stored the network 'mine'" in said
    assert said.rstrip().endswith(f"precise quantify {dmi} --out maps")
    key = default_2h_model(SMALL, 0.025).hash
    assert {p.name for p in folder.iterdir()} == {f"{key}.safetensors", f"{key}.json"}
    card = json.loads((folder / f"{key}.json").read_text())
    assert card["name"] == "mine"
    assert set(card["accuracy"]["sd_over_crlb"]) == {"water", "Glc", "Glx", "Lac"}
    assert str(tmp_path) not in json.dumps(card)
    assert str(dmi) not in json.dumps(card)
    for choice in ((), ("--model", "mine"), ("--model", key), ("--model", folder / f"{key}.safetensors")):
        assert precise("quantify", dmi, *out, *choice, "--overwrite")[0] == 0
        summary = json.loads((tmp_path / "maps" / "summary.json").read_text())
        assert summary["weights"] == {"name": "mine", "sha256": card["sha256"]}
        assert summary["signal_model_hash"] == key
    listed = precise("models")[1]
    assert next(line for line in listed.splitlines() if line.startswith("mine")).split()[:3] == ["mine", key, "*"]
    assert str(folder) in listed
    before = (folder / f"{key}.json").read_bytes()
    code, said, _ = precise(*train)
    assert code == 0
    assert "There is already the network 'mine'" in said
    assert (folder / f"{key}.json").read_bytes() == before


def test_out_takes_the_weights_elsewhere(dmi, precise, folder, tmp_path):
    command = ("train", "--like", dmi, "--t2star", 0.03, "--iterations", 3, "--out", tmp_path / "w", "--name", "x")
    assert precise(*command)[0] == 0
    assert {p.name for p in (tmp_path / "w").iterdir()} == {"x.safetensors", "x.json"}
    assert not folder.exists()
    assert load_weights(tmp_path / "w" / "x.safetensors").signal_model == default_2h_model(SMALL, 0.03)


@pytest.mark.parametrize("at", [5, 25, ITERATIONS])
def test_interrupted_training_goes_on_to_the_identical_file(dmi, made, precise, folder, monkeypatch, at):
    """Before the first checkpoint, between two, and after the last step, when the accuracy is being measured."""
    frequent_checkpoints(monkeypatch)
    command = ("train", "--like", dmi, "--iterations", ITERATIONS, "--name", "small")
    step, steps = training.Trainer.step, []

    def interrupted(trainer):
        if trainer.iteration == at:
            raise KeyboardInterrupt
        step(trainer)

    def interruption(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Trainer, "step", interrupted)
        if at == ITERATIONS:
            patch.setattr(train_like, "certify", interruption)
        code, _, err = precise(*command)
    assert code == 130
    assert "the same command resumes" in err
    assert catalog.trained() == []
    with pytest.raises(InputError):
        find_weights(SMALL)
    monkeypatch.setattr(training.Trainer, "step", lambda trainer: steps.append(trainer.iteration) or step(trainer))
    assert precise(*command)[0] == 0
    assert steps == list(range(at // 10 * 10, ITERATIONS))
    [entry] = catalog.trained()
    assert entry.path.read_bytes() == made.path.read_bytes()
    assert replace(entry.card, stored=None, wall_time_s=0.0) == replace(made.card, stored=None, wall_time_s=0.0)
    assert {p.name for p in folder.iterdir()} == {made.path.name, made.path.with_suffix(".json").name}


def test_damaged_checkpoint_is_one_sentence(dmi, precise, folder, monkeypatch):
    frequent_checkpoints(monkeypatch)
    config, _ = train_like.plan(dmi, "water,Glc,Glx,Lac", 0.02, ITERATIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_like, "train", lambda *a, **k: training.train(*a, **k, stop_after=10) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_like.train_into_folder(config, progress=False)
    [checkpoint] = folder.rglob("*.checkpoint.safetensors")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    code, _, err = precise("train", "--like", dmi, "--t2star", 0.02, "--iterations", ITERATIONS)
    assert (code, err.count("\n")) == (2, 1)
    assert str(checkpoint) in err
    assert "remove it" in err


def test_unwritable_folder_and_taken_names(dmi, made, precise, folder, tmp_path, monkeypatch):
    command = ("train", "--like", dmi, "--t2star", 0.02, "--iterations", 2)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PRECISE_MODELS", str(tmp_path / "file" / "below"))  # refuses root as well
    code, _, err = precise(*command)
    assert code == 2
    assert "PRECISE_MODELS" in err
    assert catalog.trained() == []
    monkeypatch.setenv("PRECISE_MODELS", str(folder))
    put(made, "taken", **with_lac_at(made.signal_model, 1.35))
    for name, owner in (("taken", "user"), ("dmi_11t7", "shipped")):
        code, _, err = precise(*command, "--name", name)
        assert code == 2
        assert f"There is a {owner} network named '{name}' already" in err
    assert len(catalog.trained()) == 1


def test_several_networks_of_one_acquisition(folder):
    """The shipped default, then the user's, newest first; `resolve` takes the first that was made for the model."""
    default, standard = catalog.find("dmi_11t7"), dmi_11t7()
    assert catalog.fitting(standard.acquisition) == [default]
    lac = {"older": 1.35, "newer": 1.40, "elsewhere": 1.30}
    for name, ppm in lac.items():
        changes = with_lac_at(standard, ppm)
        if name == "elsewhere":
            changes["acquisition"] = replace(standard.acquisition, spectrometer_frequency_mhz=75.0)
        put(default, name, **changes)
    assert [entry.name for entry in catalog.fitting(standard.acquisition)] == ["dmi_11t7", "newer", "older"]
    assert find_weights(standard.acquisition) == "dmi_11t7"
    model, network, notes = resolve_model(None, "sve", standard.acquisition)
    assert (model, network.name) == (standard, "dmi_11t7")
    assert notes == ["The network 'dmi_11t7' was used; --model names another: newer, older."]
    _, network, notes = resolve_model("older", "sve", standard.acquisition)
    assert (network.name, notes) == ("older", [])
    for name in ("older", "newer"):
        assert weights.resolve(None, replace(standard, **with_lac_at(standard, lac[name]))).name == name
    with pytest.raises(InputError, match="other frequencies or T2"):
        weights.resolve(None, dmi_11t7(0.050))
    # stored again, the older is the newer; and it is one file, not two
    put(catalog.find("older"), "older")
    assert [entry.name for entry in catalog.trained() if entry.name != "elsewhere"] == ["older", "newer"]
    # a hash that both have means one's own
    put(default, "again")
    assert catalog.find(standard.hash).name == "again"
    assert catalog.find("dmi_11t7") == default


def test_shipped_networks_are_found_by_their_acquisition(folder):
    """Every default network, whatever comes to be shipped; no two defaults for one acquisition."""
    defaults = [entry for entry in catalog.shipped() if entry.is_default]
    names = {entry.name for entry in defaults}
    assert {"dmi_11t7", "dmi_11t7_rat", "dmi_7t", "dmi_3t"} <= names
    assert not {"dmi_11t7_paper", "dmi_11t7_acetate"} & names
    for entry in defaults:
        assert find_weights(entry.signal_model.acquisition) == entry.name
        assert catalog.fitting(entry.signal_model.acquisition) == [entry]
    assert all(entry.problem is None for entry in catalog.shipped())


@pytest.mark.parametrize(
    "damage", ["cut", "no card", "half a card", "a list", "other card", "bytes", "unfinished", "folder"]
)
def test_damaged_files_do_not_break_the_others(made, precise, folder, damage):
    good = put(made, "good", **with_lac_at(made.signal_model, 1.35))
    bad = put(made, "bad", **with_lac_at(made.signal_model, 1.40))  # the newer, so it would come first
    card = bad.with_suffix(".json")
    text = card.read_text()
    if damage == "cut":
        bad.write_bytes(bad.read_bytes()[:-100])
    elif damage == "no card":
        card.unlink()
    elif damage == "half a card":
        card.write_text(text[: len(text) // 2])
    elif damage == "a list":
        card.write_text("[1, 2]")
    elif damage == "other card":
        card.write_text(text.replace('"ppm": 1.4', '"ppm": 1.35'))
    elif damage == "bytes":
        card.write_bytes(b"\xff\xfe\x00")
    elif damage == "unfinished":
        card.write_text(json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}))
    else:
        bad.unlink()
        bad.mkdir()
    assert [entry.name for entry in catalog.fitting(SMALL)] == ["good"]
    assert find_weights(SMALL) == str(good)
    code, out, err = precise("models")
    assert (code, err) == (0, "")
    assert f"Not usable: {bad}" in out
    assert "good" in out
    if damage != "other card":  # whoever names it knows what it is
        with pytest.raises(InputError):
            load_weights(bad)


def test_the_folder_is_where_programs_keep_their_data(monkeypatch):
    monkeypatch.delenv("PRECISE_MODELS")
    assert catalog.folder().parts[-2:] == ("precise", "models")
    monkeypatch.setenv("PRECISE_MODELS", "here")
    assert str(catalog.folder()) == "here"
    assert catalog.trained() == []
