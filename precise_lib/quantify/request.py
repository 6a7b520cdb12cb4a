"""The options of ``precise quantify``, checked before any file is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precise_lib import estimate
from precise_lib.errors import InputError, check_number
from precise_lib.estimate.prior import OMEGA_MAX

LARGEST_LAMBDA = 1e9  # far beyond, neighbors and data no longer fit into one number


@dataclass(frozen=True)
class Request:
    """Options of `quantify`, checked: `lam` is None, a number or "auto"; `way` of errors; `own` further ones."""

    estimator: str
    lam: float | str | None
    omega_max: float
    way: str
    forced: bool  # the way was asked for: its failure is an error
    repeats: int
    seed: int
    own: dict
    asked: bool = True  # whether the estimator was asked for by name

    @property
    def uses(self) -> frozenset[str]:
        return estimate.uses(self.estimator)

    def options(self, network) -> dict:
        """Options of the estimator's factory."""
        out = dict(self.own)
        if network is not None and "network" in self.uses:
            out["weights"] = network
        elif "base" in self.uses:
            out.setdefault("base", "fit")
        if "lambda" in self.uses and self.lam != "auto":  # one that adapts chooses it anyway
            out["lam"] = self.lam
        if "cap" in self.uses:
            out["omega_max"] = self.omega_max
        return out


def checked(estimator, mri, lam, errors, repeats, seed, omega_max, own=None) -> Request:
    """The options as a `Request`; raises `InputError` for those that make no sense."""
    prior = "adaptive" if lam is None and omega_max is None else "precise"  # whose options these are
    asked, estimator = estimator is not None, estimator or ("sve" if mri is None else prior)
    estimate.find(estimator)
    own = dict(own or {})
    lam = own.pop("lam", lam)
    method, uses = estimate.make(estimator, **own), estimate.uses(estimator)
    lam, cap = _parse_lambda(lam, method), OMEGA_MAX if omega_max is None else float(omega_max)
    check_number("The cap of the edge weights (omega_max)", cap)
    if errors not in (None, "closed", "montecarlo", "none"):
        raise InputError(f"There is no way '{errors}' to estimate errors: choose closed, montecarlo or none.")
    if repeats < 2:
        raise InputError(f"The number of repeats is {repeats}: an SD needs at least 2.")
    known = hasattr(method, "smoother") or hasattr(method, "adapted")
    known = known or (hasattr(method, "amplitudes") and getattr(method, "unbiased", True))
    if errors == "closed" and not known:
        raise InputError(f"'{estimator}' has no errors in closed form: choose montecarlo, or none.")
    if "mri" in uses and mri is None:
        alone = "sve" if "network" in uses else "fit"
        raise InputError(f"The estimator '{estimator}' needs an MRI: give --mri, or use the estimator '{alone}'.")
    if lam is None and "lambda" in uses:
        lam = getattr(method, "lam", 0.01)
    way = errors or ("closed" if known else "none")
    return Request(estimator, lam, cap, way, errors is not None, repeats, seed, own, asked)


def _parse_lambda(lam, method):
    """None, a number, or "auto" for an estimator with a linear map."""
    if lam is None:
        return None
    if lam == "auto":
        if not ((hasattr(method, "smoother") and hasattr(method, "values")) or hasattr(method, "adapted")):
            raise InputError(
                f"lambda can be chosen for estimators with a linear map, such as 'precise' with an MRI, not for "
                f"'{method.name}'."
            )
        return lam
    try:
        value = float(lam)
    except ValueError:
        value = np.nan
    if not 0 <= value <= LARGEST_LAMBDA:
        raise InputError(f"lambda is {lam}: give zero, a positive number up to {LARGEST_LAMBDA:g}, or auto.")
    return value
