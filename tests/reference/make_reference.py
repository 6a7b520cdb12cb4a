"""Store what the package computes, or compare a fresh computation with what is stored.

    python -m tests.reference.make_reference             # both sizes, written beside this file
    python -m tests.reference.make_reference --compare   # the full size against the stored one; exit code 1 if it moved

Of a large array a selection of its values is stored, with its sums and the SHA-256 of all its bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from .cases import CASES, NOT_REDUCED, flat

HERE = Path(__file__).parent
SIZES = ("reduced", "full")
KEPT = {"reduced": 600, "full": 3000}  # values of one array
RTOL = 1e-6
FLOOR = 1e-13  # what is zero but for rounding
# How far another order of the same sums moves what networks find in single precision, and small differences of that:
# 1.4e-4 at most, with two threads for one and on processors of three kinds.
SINGLE = 3e-4
# What moves further. Trainings go through many steps, and Adam makes a full step of a gradient that is next to nothing:
# single weights move by a tenth of the largest one. The matched network starts from directions of a singular value
# decomposition that are free to turn, so elsewhere its weights are others and only its losses, roughly, are the same.
# The noise level of a single voxel is taken along such directions, too.
ELSEWHERE = {
    "trained": 0.2,
    "trained sve efficient: weights": np.inf,
    "trained sve efficient: sums": np.inf,
    "trained sve efficient: losses": 0.3,
    "prior errors: subspace noise": 0.1,
}


def names(size: str) -> list[str]:
    return [name for name in CASES if size == "full" or name not in NOT_REDUCED]


@contextmanager
def one_thread():
    """The order of sums depends on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)


@cache
def arithmetic() -> str:
    """SHA-256 of some results to the bit: another processor or library rounds otherwise."""
    rng, digest = np.random.default_rng(0), hashlib.sha256()
    with one_thread():
        for kind in (np.float64, np.float32):
            a = rng.standard_normal((300, 200)).astype(kind)
            tensor = torch.from_numpy(a)
            for part in (a.T @ a, np.exp(a), *np.linalg.svd(a), np.fft.fft(a), (tensor.T @ tensor).numpy()):
                digest.update(part.tobytes())
            convolved = torch.nn.functional.conv1d(tensor[None].float(), tensor[:8, None, :9].float().repeat(1, 300, 1))
            digest.update(convolved.numpy().tobytes())
    return digest.hexdigest()


def compute(name: str, size: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and texts of one case, as they are stored."""
    with one_thread():
        found = flat(CASES[name](size))
    arrays, texts = {}, {}
    for key, value in found.items():
        if isinstance(value, str):
            texts[key] = value
            continue
        value = np.ascontiguousarray(value)
        if value.ndim:
            texts[f"shape {key}"] = f"{value.dtype} {value.shape}"
        numbers = value.astype(complex if np.iscomplexobj(value) else float)
        keep = np.unique(np.linspace(0, numbers.size - 1, min(numbers.size, KEPT[size])).astype(int))
        arrays[key] = numbers.ravel()[keep]
        if numbers.size > len(keep):
            texts[f"sha256 {key}"] = hashlib.sha256(value.tobytes()).hexdigest()
            finite = np.isfinite(numbers)
            counted = numbers[finite]
            sums = [np.abs(counted).sum(), (np.abs(counted) ** 2).sum(), (~finite).sum()]
            arrays[f"{key} sums"] = np.array(sums)
    return arrays, texts


def load(size: str) -> tuple[dict[str, np.ndarray], dict[str, dict[str, str]]]:
    """Stored arrays by "case: name", and texts by case and name."""
    with np.load(HERE / f"{size}.npz") as stored:
        arrays = dict(stored)
    return arrays, json.loads((HERE / f"{size}.json").read_text())


def moved(name: str, key: str, new, old, here: bool) -> str:
    """Why two arrays differ by more than rounding, or an empty text; `here`: where the stored ones were made."""
    full = f"{name}: {key}"
    known = max((k for k in ELSEWHERE if full.startswith(k)), key=len, default="")
    rtol = RTOL if here else ELSEWHERE.get(known, SINGLE)
    if new is None or old is None or new.shape != old.shape:
        return "came, went or has another shape"
    if new.size == 0 or rtol == np.inf:
        return ""
    scale = np.abs(old[np.isfinite(old)]).max(initial=0.0) if not key.endswith(" sums") else 0.0
    try:
        np.testing.assert_allclose(new, old, rtol=rtol, atol=rtol * scale + FLOOR)
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    return ""


def differences(name: str, size: str, stored=None) -> tuple[list[str], bool]:
    """What moved in a case, in sentences, and whether all of it is equal to the bit."""
    arrays, texts = compute(name, size)
    old_arrays, old_texts = load(size) if stored is None else stored
    prefix, before, here = f"{name}: ", old_texts.get(name, {}), old_texts["arithmetic"] == arithmetic()
    old = {k.removeprefix(prefix): v for k, v in old_arrays.items() if k.startswith(prefix)}
    said = [f"{k}: {why}" for k in {**old, **arrays} if (why := moved(name, k, arrays.get(k), old.get(k), here))]
    plain = [k for k in {**before, **texts} if not k.startswith("sha256 ")]
    said += [f"{k}: {before.get(k)!r} -> {texts.get(k)!r}" for k in plain if before.get(k) != texts.get(k)]
    same = arrays.keys() == old.keys() and all(np.array_equal(old[k], v, equal_nan=True) for k, v in arrays.items())
    return said, same and texts == before


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reference.make_reference")
    parser.add_argument("--compare", action="store_true", help="compare with what is stored; write nothing")
    parser.add_argument("--size", choices=SIZES, help="one size; both are made, the full one is compared by default")
    parser.add_argument("--only", default="", help="cases whose name begins so; with --compare")
    options = parser.parse_args(arguments)
    if options.only and not options.compare:
        parser.error("--only goes with --compare")
    code = 0
    with tempfile.TemporaryDirectory() as empty:
        os.environ["PRECISE_MODELS"] = empty  # no network of this computer's user
        for size in [options.size] if options.size else SIZES[options.compare :]:
            all_arrays, all_texts = load(size) if options.compare else ({}, {})
            here = all_texts.setdefault("arithmetic", arithmetic()) == arithmetic()
            near = f"within {RTOL:g}" if here else f"within {RTOL:g}, or what rounding elsewhere explains"
            for name in names(size):
                if not name.startswith(options.only):
                    continue
                start = time.perf_counter()
                if options.compare:
                    said, equal = differences(name, size, (all_arrays, all_texts))
                    code |= bool(said)
                    word = "MOVED" if said else "equal to the bit" if equal else near
                else:
                    (arrays, texts), said, word = compute(name, size), [], ""
                    all_arrays |= {f"{name}: {k}": v for k, v in arrays.items()}
                    all_texts[name] = texts
                print(f"{size} {name}: {word} ({time.perf_counter() - start:.1f} s)", *said, sep="\n  ", flush=True)
            if not options.compare:
                np.savez_compressed(HERE / f"{size}.npz", **all_arrays)
                text = json.dumps(all_texts, indent=1, sort_keys=True, ensure_ascii=False)
                (HERE / f"{size}.json").write_text(text + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
