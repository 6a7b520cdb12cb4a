"""The one call that a user of the package makes on own data."""

import inspect

import precise_lib
from precise_lib.quantify import quantify, run


def test_quantify_is_a_function_of_its_room():
    assert quantify is run.quantify
    assert inspect.isfunction(precise_lib.quantify.quantify)
