"""`train`, `quantify` and `sweep`, killed at every rename and at random moments, and two of each at once.

A command runs in a fork of a process that has everything loaded, which costs no start. After the kill the same command
gives what an undisturbed one gives, nothing is left beside it, and what another process would have read in between is
of one run. ``make kills``: 100 random moments of each.
"""

import multiprocessing
import os
import signal
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest

from tests.kills import commands
from tests.kills.commands import REFUSED, guarded, killed_at

MORE = "PRECISE_KILLS" in os.environ
RANDOM = int(os.environ.get("PRECISE_KILLS", 3))
SERVED = "forkserver" in multiprocessing.get_all_start_methods()
CONTEXT = multiprocessing.get_context("forkserver" if SERVED else None)
pytestmark = [
    pytest.mark.skipif(not SERVED, reason="this system forks no processes"),
    pytest.mark.timeout(3600 if MORE else 300),
]


def started(call, *arguments):
    process = CONTEXT.Process(target=guarded, args=(call, *arguments))
    process.start()
    return process


def ended(call, *arguments) -> int:
    process = started(call, *arguments)
    process.join()
    return process.exitcode


def tree(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "PRECISE_WARM_UP"):  # threads do not survive a fork
            patch.setenv(name, "1")
        CONTEXT.set_forkserver_preload(["tests.kills.commands"])
        forkserver.ensure_running()
        assert ended(os.getpid) == 0


@pytest.fixture(scope="module", params=["Train", "Quantify", "Sweep"])
def command(request, server, tmp_path_factory):
    """A command with what an undisturbed run leaves, its files and its renames."""
    folder = tmp_path_factory.mktemp(request.param)
    made = getattr(commands, request.param)(folder)
    assert ended(made.run, folder / "whole") == 0
    made.expected, made.tree = made.left(folder / "whole"), tree(folder / "whole")
    assert ended(killed_at, made.run, folder / "counted", -1, folder / "count") == 0
    made.renames = int((folder / "count").read_text())
    return made


def prepared(command, out):
    if hasattr(command, "before"):
        command.before(out)
    return out


def undisturbed(command, folder) -> float:
    """Seconds of a run that nobody kills."""
    with tempfile.TemporaryDirectory(dir=folder) as home:
        out = prepared(command, Path(home) / "out")
        process, began = started(command.run, out), time.perf_counter()
        process.join()
        assert process.exitcode == 0
        return time.perf_counter() - began


def check_rerun(command, out, home):
    if out.exists():
        command.check(out)
    assert ended(command.run, out) == 0
    assert command.left(out) == command.expected
    assert tree(out) == command.tree
    assert [path.name for path in home.iterdir()] == [out.name], "nothing is left beside it"


# ---------------------------------------------------------------- kills


def test_killed_at_every_rename(command, tmp_path):
    """Before each, and after the last; every third of them, and the last four, unless for `make kills`."""
    last = command.renames
    assert last > 2
    for number in (n for n in range(last + 1) if MORE or n % 3 == 0 or n > last - 4):
        home = tmp_path / str(number)
        home.mkdir()
        out = prepared(command, home / "out")
        code = ended(killed_at, command.run, out, number, tmp_path / "count")
        assert code == -signal.SIGKILL
        check_rerun(command, out, home)


def test_killed_at_random_moments(command, tmp_path):
    """Moments uniform over the time of an undisturbed run, which is measured again before every tenth.

    As many kills as asked for have to meet a running command; where runs are short, more moments are drawn for them.
    """
    killed, moments = 0, np.random.default_rng(0).uniform(0, 1, 4 * RANDOM)
    for number, share in enumerate(moments):
        if number % 10 == 0:  # the load of the machine changes, and with it how long the command runs
            seconds = undisturbed(command, tmp_path)
        home = tmp_path / str(number)
        home.mkdir()
        out = prepared(command, home / "out")
        process = started(command.run, out)
        process.join(share * seconds)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        check_rerun(command, out, home)
        if killed == RANDOM:
            return
    raise AssertionError(f"{killed} of {len(moments)} kills met a running command: fewer than a quarter")


@pytest.mark.parametrize("number", range(20 if MORE else 2))
def test_two_at_once(command, tmp_path, number):
    """Both whole, or one refused by a sentence."""
    out = prepared(command, tmp_path / "out")
    pair = [started(command.run, out) for _ in range(2)]
    for process in pair:
        process.join()
    codes = sorted(process.exitcode for process in pair)
    assert codes in ([0, 0], [0, REFUSED])
    assert command.left(out) == command.expected
    assert tree(out) == command.tree
