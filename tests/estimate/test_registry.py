"""What every registered estimator must do; a new one inherits these tests by its registration.

``pytest --estimator NAME tests/estimate/test_registry.py`` runs them on one alone, ``file.py:factory`` included.
"""

import tracemalloc
from functools import lru_cache

import numpy as np
import pytest

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate import registry, weights
from precise_lib.evaluate import conformance
from precise_lib.evaluate.checks import Subject
from precise_lib.evaluate.conformance import CHECKS
from precise_lib.signal.mrsi import MRSI
from precise_lib.signal.presets import dmi_11t7
from tests.helpers import SHIPPED, has_certified_weights, noisy_fids

NAMES = estimate.names()
# Fourier has the tails of neighboring lines in its windows, fine-tuning stops before it has settled, in single
# precision many times over and too slowly for the whole phantom
LIMITS = {"fourier": {"tolerance": 0.2}, "precise-finetune": {"tolerance": 0.15, "rounding": 0.05, "quick": True}}


def pytest_generate_tests(metafunc):
    if "any_name" in metafunc.fixturenames:
        given = metafunc.config.getoption("--estimator")
        metafunc.parametrize("any_name", [given] if given else NAMES)


@lru_cache
def subject(name: str) -> Subject:
    """One for all checks: they share its maps."""
    return Subject(estimate.load(name) if ":" in name else name, **LIMITS.get(name, {}))


@pytest.mark.parametrize("check", CHECKS)
def test_conforms(any_name, check):
    if "network" in subject(any_name).uses and not has_certified_weights():
        pytest.skip(f"data/weights has no certified {SHIPPED}")
    conformance.run(check, subject(any_name))


@pytest.mark.parametrize("name", ["fourier", "fit"])
def test_memory_is_bounded(name):
    """Nothing of the size of a Jacobian (seven times the data, in double precision) is held for all voxels."""
    fids, _ = noisy_fids(n=32)
    data = MRSI(np.tile(fids, (192, 1)).reshape(64, 96, 1, -1), dmi_11t7())
    estimator = estimate.make(name)
    tracemalloc.start()
    estimator(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * data.fids.nbytes + 64e6


def test_network_sees_bounded_batches(monkeypatch):
    if not has_certified_weights():
        pytest.skip(f"data/weights has no certified {SHIPPED}")
    data, estimator = subject("fit").data, estimate.make("sve")
    whole = estimator(data)
    sizes = []
    monkeypatch.setattr(weights, "BATCH", 10)
    front = type(weights.resolve(None, data.model).network.front)
    project = front.project
    monkeypatch.setattr(front, "project", lambda self, fids: sizes.append(len(fids)) or project(self, fids))
    np.testing.assert_allclose(estimator(data), whole, atol=0.03)
    assert max(sizes) == 10
    assert sum(sizes) == data.usable.sum()


# the registry


def test_registry_lists_the_methods_of_the_paper():
    assert {"fourier", "fit", "sve", "precise", "precise-finetune"} <= set(NAMES)


def test_unknown_names_and_options_get_one_sentence():
    with pytest.raises(InputError, match="No estimator 'magic'; there are fourier"):
        estimate.make("magic")
    with pytest.raises(InputError, match=r"^The estimator 'fit' does not take the option lam\.$"):
        estimate.make("fit", lam=0.1)


def test_a_new_estimator_is_one_function_and_one_registration(monkeypatch):
    monkeypatch.setattr(registry, "_FACTORIES", dict(registry._FACTORIES))
    data = subject("fit").data

    def double(factor=2.0):
        def estimator(data):
            return data.map_usable(lambda fids: np.abs(fids[:, :1]) * [1, factor, 0, 0], "double")

        estimator.name = "double"
        return estimator

    estimate.register("double", double)
    assert estimate.names()[-1] == "double"
    values = estimate.make("double", factor=0.5)(data).values
    np.testing.assert_allclose(values[1][data.mask], 5.0)
    with pytest.raises(ValueError, match="registered already"):
        estimate.register("double", double)


# the object they all take


@pytest.mark.parametrize(("change", "words"), [
    ({"fids": np.ones((2, 2, 1, 512))}, "must be complex"),
    ({"fids": np.ones((2, 2, 512), complex)}, "axes"),
    ({"fids": np.ones((2, 2, 1, 100), complex)}, "100 time points, the signal model 512"),
    ({"mask": np.ones((3, 3, 1), bool)}, "mask has shape"),
    ({"mri": np.ones((4, 4, 1))}, "come together"),
])  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(change, words):
    values = {"fids": np.ones((2, 2, 1, 512), complex), "model": dmi_11t7()}
    with pytest.raises(InputError, match=words):
        MRSI(**(values | change))


def test_data_are_single_precision_and_usable_says_where():
    fids = np.ones((3, 1, 1, 512), complex)
    fids[0] = 0
    fids[1, ..., 5] = np.nan
    data = MRSI(fids, dmi_11t7())
    assert data.fids.dtype == np.complex64
    assert data.usable.ravel().tolist() == [False, False, True]
    assert not data.replace(mask=np.zeros((3, 1, 1), bool)).usable.any()
