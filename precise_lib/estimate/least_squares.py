"""The Levenberg-Marquardt loop of every fit: all rows of a batch advance together, each with a damping of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

ROUNDING = 1e-13  # a cost that rises by this share of itself has not risen


def levenberg_marquardt(
    theta, evaluate: Callable, propose: Callable, max_iterations: int, most_damping: float = 1e8
) -> tuple[np.ndarray, object, np.ndarray]:
    """Minimize a cost from a start (V, P); returns theta (V, P), the state there, and converged (V,) bool.

    Parameters
    ----------
    evaluate : (rows (v,), theta (v, P)) -> state of these rows: an object whose attributes are arrays (v, ...), made
        by its class from them as keywords; `cost` (v,) among them
    propose : (rows (v,), theta (v, P), state, damping (v,)) -> trial theta (v, P), and whether it is the last one (v,),
        provided that the cost does not rise
    most_damping : a row whose damping has grown to this is given up
    """
    theta, rows = np.array(theta, float), np.arange(len(theta))
    state, damping, converged = evaluate(rows, theta), np.full(len(theta), 1e-3), np.zeros(len(theta), bool)
    for _ in range(max_iterations):
        rows = np.flatnonzero(~converged & (damping < most_damping))
        if not len(rows):
            break
        now = type(state)(**{name: values[rows] for name, values in vars(state).items()})
        trial, last = propose(rows, theta[rows], now, damping[rows])
        new = evaluate(rows, trial)
        better = new.cost <= now.cost * (1 + np.copysign(ROUNDING, now.cost))
        kept = rows[better]
        theta[kept] = trial[better]
        for name, values in vars(state).items():
            values[kept] = getattr(new, name)[better]
        damping[rows] = np.where(better, damping[rows] / 10, damping[rows] * 10)
        converged[rows] = better & last
    return theta, state, converged
