"""The Levenberg-Marquardt loop of every fit."""

from types import SimpleNamespace

import numpy as np

from precise_lib.estimate.least_squares import levenberg_marquardt

X = np.linspace(0, 1, 20)
TRUTH = np.array([[0.5, 1.0], [2.0, 3.0], [1.0, -2.0]])


def curve(theta):
    return theta[:, :1] * np.exp(-theta[:, 1:] * X)


def fitted(start, max_iterations=50):
    data, seen = curve(TRUTH), []

    def evaluate(rows, theta):
        residual = data[rows] - curve(theta)
        return SimpleNamespace(cost=(residual**2).sum(1), residual=residual)

    def propose(rows, theta, state, damping):
        seen.append(rows)
        j = np.stack([np.exp(-theta[:, 1:] * X), -X * curve(theta)], 1)
        normal = j @ j.swapaxes(1, 2)
        np.einsum("vii->vi", normal)[:] *= 1 + damping[:, None]
        step = np.linalg.solve(normal, j @ state.residual[..., None])[..., 0]
        return theta + step, np.abs(step).max(1) < 1e-10

    return *levenberg_marquardt(start, evaluate, propose, max_iterations), seen


def test_every_row_arrives_and_those_that_have_rest():
    start = np.ones((3, 2))
    start[0] = TRUTH[0]
    theta, state, converged, seen = fitted(start)
    np.testing.assert_allclose(theta, TRUTH, atol=1e-8)
    assert converged.all()
    np.testing.assert_allclose(state.residual, 0, atol=1e-8)  # the state is that of the parameters returned
    assert 0 in seen[0]
    assert all(0 not in rows for rows in seen[1:])
    np.testing.assert_array_equal(start[1:], 1)  # the start is not written to


def test_a_row_that_has_not_arrived_says_so():
    assert not fitted(np.ones((3, 2)), max_iterations=2)[2][1:].any()


def test_a_row_whose_cost_only_rises_stays_and_is_given_up():
    calls = []

    def evaluate(rows, theta):
        calls.append(rows)
        return SimpleNamespace(cost=np.full(len(rows), float(len(calls))))

    def propose(rows, theta, state, damping):
        return theta + 1, np.ones(len(rows), bool)

    theta, _, converged = levenberg_marquardt(np.ones((2, 1)), evaluate, propose, 50, most_damping=1.0)
    np.testing.assert_array_equal(theta, 1)
    assert not converged.any()
    assert len(calls) == 1 + 3  # damping of 1e-3, 1e-2 and 1e-1


def test_no_rows():
    theta, _, converged, _ = fitted(np.empty((0, 2)))
    assert theta.shape == (0, 2)
    assert converged.shape == (0,)
