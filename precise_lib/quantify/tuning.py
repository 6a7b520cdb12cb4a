"""The setting of a prior (lambda) that one data set asks for, metabolite by metabolite."""

from __future__ import annotations

import numpy as np

from precise_lib.estimate import choose, smoother
from precise_lib.evaluate.closed_form import closed_form
from precise_lib.quantify.errors import ErrorModel, number

SHARE = 0.5  # of the SD that the bias may take where lambda is limited by bias


def choose_settings(errors: ErrorModel, values=None) -> tuple[np.ndarray, dict]:
    """Settings (M,) by Stein's estimate, and what goes into the summary: every rule's choice.

    One setting for all frames: the estimates of risk of those that share the largest set of voxels are averaged.

    Parameters
    ----------
    values : to try, ascending from zero; default `choose.GRID`
    """
    smoothing, model = errors.smoothing, errors.model
    prior, frames = smoothing.groups[0]
    amplitudes = smoothing.of_frames(frames, errors.estimates.amplitudes)
    single = closed_form(model, amplitudes, smoothing.of_frames(frames, errors.covariance))
    water, sd = model.index(model.reference), single.sd / model.reference_concentration_mm
    sparse = smoother.lattices(prior.usable, sums_only=True)
    curves = choose.curves(prior.make, amplitudes, water, sd, values, lattice=sparse).over_realizations()
    chosen = {method: curves.choose(method, SHARE) for method in choose.METHODS}

    def named(values):
        pairs = enumerate(zip(model.names, values, strict=True))
        return {name: number(value) for k, (name, value) in pairs if k != water}

    about = {
        "method": "stein",
        "how": "least value of Stein's unbiased risk estimate of each metabolite over water, errors in units of "
        "each voxel's own noise; water takes the lambda of the metabolite it divides",
        "chosen": named(chosen["stein"]),
        "limits": [float(curves.lams[1]), float(curves.lams[-1])],
        "other_rules": {
            "cross-validation": named(chosen["cross-validation"]),
            f"largest lambda with RMS bias below {SHARE:g} of RMS SD": named(chosen["bias"]),
        },
    }
    return chosen["stein"], about
