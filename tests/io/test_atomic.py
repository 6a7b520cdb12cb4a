"""The one writer: whole or not at all, whatever fails, and no mixture of two runs."""

import errno
import multiprocessing
import os
import signal
import stat
import threading
import time

import pytest

from precise_lib.errors import InputError
from precise_lib.io import atomic

NAMES = ("conc_Glc.nii.gz", "conc_Lac.nii.gz", "report.html", "summary.json")


def write(folder, content, names=NAMES):
    with atomic.staged(folder) as work:
        for name in names:
            (work / name).write_text(content)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_files_are_readable_by_others_and_nothing_else_is_left(tmp_path):
    with atomic.staged(tmp_path / "a" / "b") as work:
        (work / "x").write_text("1")
        (work / "x").chmod(0o600)
    atomic.write_text(tmp_path / "c" / "text", "gr\u00fc\u00df")
    atomic.write_bytes(tmp_path / "c" / "bytes", b"\0")
    assert (tmp_path / "c" / "text").read_text(encoding="utf-8") == "gr\u00fc\u00df"
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("failing", range(len(NAMES)))
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [NAMES, NAMES[:1], ()])
def test_a_rename_that_fails_leaves_everything_as_it_was(tmp_path, monkeypatch, failing, error, before):
    write(tmp_path, "old", before)
    (tmp_path / "another").write_text("mine")
    real, calls = os.replace, iter(range(100))

    def replace(source, target):
        if next(calls) == failing:
            raise error
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises((InputError, KeyboardInterrupt)):
        write(tmp_path, "new")
    assert contents(tmp_path) == dict.fromkeys(before, "old") | {"another": "mine"}
    assert not list(tmp_path.glob(".*"))


def killed_at(number, folder):
    """In a process of its own: SIGKILL at the rename of this number."""
    real, calls = os.replace, iter(range(100))

    def replace(source, target):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)

    os.replace = replace
    write(folder, "new")


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_a_killed_run_is_known_by_its_missing_summary_and_the_next_one_cleans_up(tmp_path, number):
    write(tmp_path, "old")
    process = multiprocessing.get_context("fork").Process(target=killed_at, args=(number, tmp_path))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert "summary.json" not in contents(tmp_path)
    assert list(tmp_path.glob(".precise-*"))
    write(tmp_path, "again")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "again")
    assert not list(tmp_path.glob(".*"))


def test_one_file_is_replaced_and_never_missing(tmp_path):
    path, seen, ended = tmp_path / "summary.json", set(), threading.Event()

    def watch():
        while not ended.is_set():
            seen.add(path.read_text() if path.exists() else None)

    atomic.write_text(path, "0" * 10_000)
    watcher = threading.Thread(target=watch)
    watcher.start()
    for digit in "123456789":
        atomic.write_text(path, digit * 10_000)
    ended.set()
    watcher.join()
    assert seen <= {digit * 10_000 for digit in "0123456789"}


def test_work_of_a_living_process_is_not_taken_for_a_leftover(tmp_path):
    (tmp_path / ".precise-unfinished-left").mkdir()
    (tmp_path / ".precise-unfinished-left" / "file").write_text("half")
    with atomic.staged(tmp_path) as one:
        (one / "a").write_text("one")
        with atomic.staged(tmp_path) as two:
            (two / "b").write_text("two")
        assert one.is_dir()
        assert sorted(path.name for path in tmp_path.iterdir()) == [one.name, "b"]
    assert contents(tmp_path) == {"a": "one", "b": "two"}


def slowly(folder, content):
    real = os.replace

    def replace(source, target):
        time.sleep(0.02)
        real(source, target)

    os.replace = replace
    write(folder, content)


def test_two_at_once_are_one_after_the_other(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=slowly, args=(tmp_path, name)) for name in ("one", "two", "three")]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(set(contents(tmp_path).values())) == 1
    assert sorted(contents(tmp_path)) == sorted(NAMES)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG])
def test_a_full_disk_is_one_sentence(tmp_path, number):
    with pytest.raises(InputError, match=str(tmp_path)) as problem, atomic.staged(tmp_path):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number).lower() in str(problem.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError), atomic.staged(tmp_path):
        raise FileNotFoundError("somebody else's")


def test_names_that_no_disk_takes(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nowhere").symlink_to(tmp_path / "not" / "there")
    (tmp_path / "file").touch()
    bad = [tmp_path / ("x" * 300), tmp_path / "loop", tmp_path / "loop" / "x", tmp_path / "nowhere", tmp_path / "file"]
    before = sorted(os.listdir(tmp_path))
    for folder in [*bad, tmp_path / "a" / ("x" * 300) / "b"]:
        with pytest.raises(InputError) as problem:
            write(folder, "x")
        assert str(problem.value).count("\n") == 0
    with pytest.raises(InputError, match="name too long"):
        atomic.write_text(tmp_path / ("x" * 300), "x")
    assert sorted(os.listdir(tmp_path)) == before


def holding(path, entered, left):
    with atomic.alone(path, "Another process is at it: wait."):
        entered.set()
        left.wait()


def test_one_at_a_time_and_a_killed_one_holds_nobody_up(tmp_path):
    context, path = multiprocessing.get_context("fork"), tmp_path / ".lock"
    for kill in (False, True):
        entered, left = context.Event(), context.Event()
        process = context.Process(target=holding, args=(path, entered, left))
        process.start()
        entered.wait()
        with (
            pytest.raises(InputError, match="Another process is at it"),
            atomic.alone(path, "Another process is at it."),
        ):
            pass
        process.kill() if kill else left.set()
        process.join()
        with atomic.alone(path, "x"):
            assert path.exists()
        assert not list(tmp_path.iterdir())
    with atomic.alone(tmp_path / "a" / "b" / "lock", "x"):
        pass
    assert not list(tmp_path.iterdir()), "a folder that stayed empty is not left"
    (tmp_path / "file").touch()
    for bad in (tmp_path / "file" / "lock", tmp_path / ("x" * 300) / "lock"):
        with pytest.raises(InputError, match=r"cannot be written|is a file"), atomic.alone(bad, "x"):
            pass
    with atomic.alone(tmp_path / "kept" / "lock", "x"):
        (tmp_path / "kept" / "result").touch()
    assert sorted(os.listdir(tmp_path)) == ["file", "kept"]


def test_what_a_run_without_its_folder_left_is_removed_and_what_looks_like_it_is_not(tmp_path):
    (tmp_path / f"{atomic.PREFIX}left").mkdir()
    (tmp_path / ".precise-settings").mkdir()
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", "new")
    assert sorted(os.listdir(tmp_path)) == [".precise-settings", "out"]
