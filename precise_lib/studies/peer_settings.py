"""The registry's estimators over their own settings, so that none is judged by a bad one.

`PEERS` lists the values tried of the one parameter of each that trades noise against contrast; `oracle` picks the
setting of least error, which needs the truth.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from precise_lib import estimate
from precise_lib.errors import InputError
from precise_lib.studies.peers import REGIONS, Case, study


@dataclass(frozen=True)
class Peer:
    """A registered estimator and the parameter that trades its noise against contrast.

    `shipped` is the value that it has without being told (None: this line is not the shipped one), `others` are the
    values tried besides; `most_repeats` bounds the noise realizations of one that is slow.
    """

    label: str
    name: str
    parameter: str | None = None
    shipped: float | str | None = None
    others: tuple = ()
    options: dict = field(default_factory=dict)
    most_repeats: int | None = None

    @property
    def values(self) -> tuple:
        """Every value tried; (None,) for an estimator without a parameter."""
        return tuple(v for v in (self.shipped, *self.others) if v is not None) or (None,)

    def setting(self, value=None) -> str:
        """Name of the peer at one setting."""
        return self.label if value is None else f"{self.label}, {self.parameter} {value}"

    def make(self, value=None, weights=None, base: Callable | None = None) -> Callable:
        """The estimator at one setting; filters of a fit work on `base` where one is given."""
        options, uses = dict(self.options), estimate.uses(self.name)
        if "network" in uses:
            options["weights"] = weights
        if value is not None:
            options[self.parameter] = value
        if base is not None and (self.name.startswith(f"{base.name}-") or options.get("base") == base.name):
            options["base"] = base
        return base if base is not None and self.name == base.name else estimate.make(self.name, **options)


WIDTHS = (0.005, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2)
VARIATIONS = (0.2, 0.3, 0.5, 0.8, 1.2, 1.8, 2.7)
LAMS = (1.0, 1.8, 3.2, 5.6, 10.0, 18.0)
FIXED = {"base": "fit"}
BY_GRAY = FIXED | {"gray": 0.0}  # neighbors by gray level alone, as Bowsher has them
BOWSHER = BY_GRAY | {"tau": np.inf, "slack": 0.0}
PEERS = (
    Peer("fourier", "fourier"),
    Peer("fit", "fit"),
    Peer("sve", "sve"),
    Peer("svd-fit", "svd-fit", "rank", "gavish-donoho", (1, 2, 4, 10, 20, 40)),
    Peer("mppca-fit", "mppca-fit", "size", 5, (3, 4)),
    Peer("fit-diffusion", "fit-diffusion", "threshold", 0.1, (0.01, 0.02, 0.05, 0.15, 0.2, 0.3, 0.5)),
    Peer(
        "fit-diffusion, 30 steps", "fit-diffusion", "threshold", None, (0.05, 0.1, 0.15, 0.2, 0.3), {"iterations": 30}
    ),
    Peer("fit-guided", "fit-guided", "eps", 0.01, (1e-5, 1e-4, 1e-3, 3e-3, 0.03, 0.1, 1.0)),
    Peer("fit-guided, 5 voxels", "fit-guided", "eps", None, (1e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 1.0), {"radius": 2}),
    Peer("fit-nlm", "fit-nlm", "width", "auto", WIDTHS, most_repeats=12),
    Peer("fit-nlm, 3 voxels", "fit-nlm", "width", None, WIDTHS, {"window": 1}, 12),
    Peer("fit-nlm, 11 voxels", "fit-nlm", "width", None, WIDTHS, {"window": 5}, 12),
    Peer("fit-tv", "fit-tv", "lam", "auto", VARIATIONS, most_repeats=12),
    Peer("fit-dtv", "fit-dtv", "lam", "auto", VARIATIONS, most_repeats=12),
    Peer("fit-dtv, eta 0.03", "fit-dtv", "lam", None, VARIATIONS, {"eta": 0.03}, 12),
    Peer("fit-dtv, eta 0.3", "fit-dtv", "lam", None, VARIATIONS, {"eta": 0.3}, 12),
    # Bowsher's prior is the adaptive one with a penalty that never opens.
    Peer("bowsher", "adaptive", "lam", "auto", (), BOWSHER, 12),
    *(Peer(f"bowsher, k {k}", "adaptive", "lam", None, LAMS, BOWSHER | {"neighbors": k}, 12) for k in (3, 4, 6)),
    Peer("adaptive", "adaptive", "lam", "auto", most_repeats=12),
    *(
        Peer(f"adaptive, k {k}, tau {t:g}", "adaptive", "lam", None, LAMS, BY_GRAY | {"neighbors": k, "tau": t}, 6)
        for k in (3, 4, 6)
        for t in (0.5, 0.7, 1.0, 1.4)
    ),
    Peer("precise", "precise", "lam", 0.01, (0.001, 0.002, 0.004, 0.02, 0.04, 0.1, 0.2)),
    # Under the shipped cap of 5.5 an MRI edge weaker than 1 / sqrt(5.5) = 0.43 of the range of gray is none.
    Peer("precise, cap 100", "precise", "lam", None, (1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 0.01), {"omega_max": 100.0}),
    Peer("precise, cap 1000", "precise", "lam", None, (1e-4, 2e-4, 4e-4, 8e-4, 1.6e-3), {"omega_max": 1000.0}),
    Peer("precise-finetune", "precise-finetune", "lam", 0.01, most_repeats=6),
)


class Cached:
    """A single-voxel estimator that works once for all who ask about the same FIDs."""

    def __init__(self, estimator: Callable):
        self.estimator, self.name = estimator, estimator.name
        self.efficient = getattr(estimator, "efficient", False)
        self._known = (None, None)

    def _of(self, what, fids, model):
        if not np.array_equal(self._known[0], fids):
            self._known = fids, getattr(self.estimator, what)(fids, model)
        return self._known[1]

    def fit(self, fids, model):
        return self._of("fit", fids, model)

    def amplitudes(self, fids, model):
        return (
            self.fit(fids, model).amplitudes if hasattr(self.estimator, "fit") else self._of("amplitudes", fids, model)
        )

    def __call__(self, data) -> xr.DataArray:
        return data.map_usable(lambda fids: self.amplitudes(fids, data.model), self.name)


def curves(
    case: Case, n_repeats: int, seed: int = 0, peers: Iterable[Peer] | None = None, progress=iter, timed: bool = True
) -> xr.Dataset:
    """`study` over every setting of every peer, by default of all `PEERS`.

    Returns as `study`, dimension `setting`, with `peer`, `value` (NaN for a rule of its own or no parameter),
    `parameter` and `shipped` for each, and `cpu_seconds` of the shipped settings alone, median of five calls, each with
    its own fit (NaN unless `timed`). A network that does not exist for the case is left out and named in the attribute
    `left_out`.
    """
    shared, made, missing = Cached(estimate.make("fit")), [], []
    data = case.measure(np.random.default_rng([seed, 0]))
    for peer in PEERS if peers is None else peers:
        try:
            if "network" in estimate.uses(peer.name):
                estimate.make("sve", weights=case.weights)(data)
        except InputError as error:
            missing.append(f"{peer.label}: {error}")
        else:
            made += [(peer, value, peer.make(value, case.weights, shared)) for value in peer.values]
    if not made:
        raise InputError(f"No peer can be tried: {'; '.join(missing) or 'the list is empty.'}")
    tables = []
    for most in dict.fromkeys(peer.most_repeats for peer, *_ in made):
        group = {peer.setting(value): e for peer, value, e in made if peer.most_repeats == most}
        n = n_repeats if most is None else min(n_repeats, most)
        table = study(group, case, n, seed, progress).rename(estimator="setting")
        tables.append(table.assign_coords(n_repeats=("setting", [n] * len(group))))
    out = xr.concat(tables, "setting", data_vars="minimal", combine_attrs="override")
    settings = {peer.setting(value): (peer, value) for peer, value, _ in made}
    order = [settings[setting] for setting in out["setting"].values]
    own = [value == peer.shipped for peer, value in order]
    out = out.assign_coords(
        peer=("setting", [peer.label for peer, _ in order]),
        parameter=("setting", [peer.parameter or "" for peer, _ in order]),
        value=("setting", [value if isinstance(value, int | float) else np.nan for _, value in order]),
        shipped=("setting", own),
    )
    alone = [p.make(v, case.weights) if s and timed else None for (p, v), s in zip(order, own, strict=True)]
    seconds = [np.nan if estimator is None else _seconds(estimator, data) for estimator in alone]
    out["cpu_seconds"] = "setting", seconds
    out.attrs["left_out"] = "; ".join(missing)
    return out


def _seconds(estimator: Callable, data) -> float:
    """Median CPU time of five calls, fewer of a slow one: what other jobs on the machine take does not count."""
    taken = []
    while len(taken) < 5 and sum(taken) < 3:
        start = time.process_time()
        estimator(data)
        taken.append(time.process_time() - start)
    return float(np.median(taken))


def total_rmse(table: xr.Dataset, region: str = REGIONS[0]) -> xr.DataArray:
    """RMSE over all metabolites but the reference, whose value is given: root of the mean square, mM."""
    return np.sqrt((table["rmse"].sel(region=region).where(table["quantified"]) ** 2).mean("metabolite"))


def oracle(table: xr.Dataset) -> dict[str, str]:
    """peer -> setting of least `total_rmse` over the object, the two kinds of windows of a filter taken as one."""
    least = {}
    for setting, peer, error in zip(
        table["setting"].values, table["peer"].values, total_rmse(table).values, strict=True
    ):
        name = peer.split(",")[0]
        if name not in least or error < least[name][0]:
            least[name] = error, setting
    return {name: setting for name, (_, setting) in least.items()}


def shipped(table: xr.Dataset) -> dict[str, str]:
    """peer -> the setting that it has without being told."""
    own = table["shipped"].values.astype(bool)
    return dict(zip(table["peer"].values[own], table["setting"].values[own], strict=True))
