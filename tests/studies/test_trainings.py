"""Three trainings of the CNN: which pages they are held against, and what is kept of them."""

import numpy as np
import pytest

from precise_lib.errors import InputError
from precise_lib.estimate.weights import load_weights
from precise_lib.evaluate import claims
from precise_lib.evaluate.tolerances import load_claims
from precise_lib.evaluate.trainings import stored
from precise_lib.run.notebooks import Failure, parameters_of
from precise_lib.studies import trainings
from tests.helpers import noisy_fids

LAC = "positive and largest for Lac"


@pytest.fixture
def pages(monkeypatch):
    """Pages that measure P1 by the network, a fit that does not depend on it, a time, and a judgment."""
    ran = []

    def execute(page, out, parameters, environment):
        ran.append((page.stem, parameters))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        claims.record("P1", 1.5 + 0.1 * ("_2" in parameters["weights"]))
        claims.record("P4", 1.01, part="fit, highest")
        claims.record("P5", 80.0 + len(ran), part="per-voxel fit")
        claims.record("P7", part=LAC, holds=True)

    page = next(iter(trainings.pages()))
    monkeypatch.setattr(trainings, "others", lambda: ["dmi_11t7_cnn_1", "dmi_11t7_cnn_2"])
    monkeypatch.setattr(trainings, "pages", lambda: {page: "weights"})
    monkeypatch.setattr(trainings.notebooks, "execute", execute)
    return ran


def test_pages_are_those_that_judge_by_the_network():
    found = trainings.pages()
    assert {load_claims()[i].notebook for i in ("P1", "P8", "P9")} <= {page.stem for page in found}
    assert all(parameters_of(page)[name] == trainings.FIRST for page, name in found.items())


def test_what_depends_on_the_network_is_kept(pages, tmp_path):
    found = [(m["id"], m["network"], m["value"]) for m in trainings.measure(tmp_path)]
    first, second = trainings.others()
    assert found == [("P1", first, 1.5), ("P7", first, None), ("P1", second, 1.6), ("P7", second, None)]
    assert len(pages) == 2
    assert trainings.measure(tmp_path)
    assert len(pages) == 2  # nothing runs twice


def test_a_page_that_fails_is_named(pages, monkeypatch, tmp_path):
    monkeypatch.setattr(trainings.notebooks, "execute", lambda *_: Failure("cell 3", "ValueError", "no"))
    with pytest.raises(InputError, match=r"\.ipynb with dmi_11t7_cnn_1: cell 3 failed"):
        trainings.measure(tmp_path)


def test_the_stored_figures_belong_to_the_shipped_networks():
    """Where this fails after a training or a change of a page: `precise trainings FOLDER`."""
    shipped = {net.name: net.hash for net in trainings.networks().values()}
    assert stored()["networks"] == (shipped if trainings.others() else {})
    assert len(set(shipped.values())) == len(shipped)
    seen = {(m["id"], m["network"]) for m in stored()["measured"]}
    assert seen == {(i, name) for i in trainings.JUDGED for name in trainings.others()}


def test_they_differ_by_the_seed_alone():
    configs = [net.card.config.to_dict() for net in trainings.networks().values()]
    seeds = [c.pop("seed") for c in configs]
    assert len(set(seeds)) == len(seeds)
    assert all(c == configs[0] for c in configs)
    assert list(trainings.networks()) == [f"seed {s}" for s in seeds]


def test_the_mean_of_two_networks():
    net, fids = load_weights("dmi_11t7"), noisy_fids(n=3)[0]
    other = load_weights("dmi_11t7_paper")
    expected = (net.amplitudes(fids) + other.amplitudes(fids)) / 2
    np.testing.assert_allclose(trainings.Mean([net, other]).amplitudes(fids), expected)
    assert "| seed 0 | " in trainings.goals({"seed 0": net, "seed 1": net}, 100, 0)
