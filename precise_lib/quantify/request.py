"""The options of ``precise quantify``, checked before any file is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.estimate.prior import OMEGA_MAX


@dataclass(frozen=True)
class Request:
    """Options of `quantify` once they are checked: `lam` is None, a number or "auto"; `way` to estimate errors."""

    estimator: str
    lam: float | str | None
    omega_max: float
    way: str
    forced: bool  # the way was asked for: its failure is an error
    repeats: int
    seed: int

    @property
    def uses(self) -> frozenset[str]:
        return estimate.uses(self.estimator)

    def options(self, network) -> dict:
        """Options of the estimator's factory."""
        out = {}
        if network is not None and "network" in self.uses:
            out["weights"] = network
        elif "base" in self.uses:
            out["base"] = "fit"
        if "lambda" in self.uses:
            out["omega_max"] = self.omega_max
            out |= {} if self.lam == "auto" else {"lam": self.lam}
        return out


def checked(estimator, mri, lam, errors, repeats, seed, omega_max) -> Request:
    """The options as a `Request`; raises `InputError` for those that make no sense, before any file is read."""
    estimator = estimator or ("sve" if mri is None else "precise")
    estimate.find(estimator)
    method, uses = estimate.make(estimator), estimate.uses(estimator)
    lam, omega_max = parse_lambda(lam, method), parse_omega_max(omega_max)
    if errors not in (None, "closed", "montecarlo", "none"):
        raise InputError(f"There is no way '{errors}' to estimate errors: choose closed, montecarlo or none.")
    if repeats < 2:
        raise InputError(f"The number of repeats is {repeats}: an SD needs at least 2.")
    known = hasattr(method, "smoother") or (hasattr(method, "amplitudes") and getattr(method, "unbiased", True))
    if errors == "closed" and not known:
        raise InputError(f"'{estimator}' has no errors in closed form: choose montecarlo, or none.")
    if "mri" in uses and mri is None:
        alone = "sve" if "network" in uses else "fit"
        raise InputError(f"The estimator '{estimator}' needs an MRI: give --mri, or use the estimator '{alone}'.")
    if lam is None and "lambda" in uses:
        lam = 0.01
    way = errors or ("closed" if known else "none")
    return Request(estimator, lam, omega_max, way, errors is not None, repeats, seed)


def parse_lambda(lam, method):
    """``--lam``: None, a float, or "auto" for an estimator with a linear map; raises `InputError` for anything else."""
    if lam is None:
        return None
    if lam == "auto":
        if not (hasattr(method, "smoother") and hasattr(method, "values")):
            raise InputError(
                f"lambda can be chosen for estimators with a linear map, such as 'precise' with an MRI, not for "
                f"'{method.name}'."
            )
        return lam
    try:
        value = float(lam)
    except ValueError:
        value = np.nan
    if not (np.isfinite(value) and value >= 0):
        raise InputError(f"lambda is {lam}: give zero, a positive number, or auto.")
    return value


def parse_omega_max(omega_max) -> float:
    """``--omega-max``: a positive number; raises `InputError` for anything else."""
    value = OMEGA_MAX if omega_max is None else float(omega_max)
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"The cap of the edge weights (omega_max) is {omega_max}; give a positive number.")
    return value
