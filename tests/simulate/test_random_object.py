"""Random objects: reproducible, different, and with the lesions that they promise."""

import numpy as np
import pytest

from precise_lib.estimate.prior import prepare_mri
from precise_lib.simulate.random_object import random_object

SMALL = {"matrix": (14, 14, 7)}


def test_a_seed_is_an_object():
    one, same, other = (random_object(s, **SMALL) for s in (1, 1, 2))
    np.testing.assert_array_equal(one.concentrations, same.concentrations)
    np.testing.assert_array_equal(one.mri, same.mri)
    assert not np.allclose(one.concentrations.values[1], other.concentrations.values[1], equal_nan=True)


@pytest.mark.parametrize("seed", range(5))
def test_both_lesions_are_in_the_metabolism_and_one_in_the_mri(seed):
    phantom = random_object(seed, **SMALL)
    gray = prepare_mri(phantom.measure(12.0, 0))
    lac = phantom.concentrations.sel(metabolite="Lac").values
    healthy = phantom.mask & ~phantom.tumors["shown"] & ~phantom.tumors["hidden"]
    for name, site in phantom.tumors.items():
        assert site.sum() >= 3, name
        assert lac[site].mean() > 1.8 * lac[healthy].mean()
    assert gray[phantom.tumors["shown"]].mean() > gray[healthy].max() - 0.3
    assert gray[phantom.tumors["hidden"]].mean() < gray[phantom.tumors["shown"]].mean()
    np.testing.assert_allclose(phantom.concentrations.sel(metabolite="water").values[phantom.mask], 10.0)
