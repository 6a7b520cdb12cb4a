"""What the package computes is what it computed before: every case of `tests/reference`, at its reduced size."""

import pytest

from tests.reference import make_reference


@pytest.fixture(scope="module")
def stored():
    return make_reference.load("reduced")


@pytest.mark.parametrize("name", make_reference.names("reduced"))
def test_nothing_moved(name, stored):
    said, _ = make_reference.differences(name, "reduced", stored)
    assert not said, "\n".join(said)


def test_every_stored_case_is_computed(stored):
    assert set(stored[1]) - {"arithmetic"} == set(make_reference.names("reduced"))
