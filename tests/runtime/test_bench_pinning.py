"""Pinning, and the threads that worked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgecell_runtime.bench.pinning import pin, thread_times, threads_seen
from edgecell_runtime.errors import UsageError


def _threads(root: Path, pid: str = "self", **files: str) -> None:
    """Lays out threads; a name such as ``t7_schedstat`` is a file of thread 7."""
    for name, text in files.items():
        thread, _, kind = name.removeprefix("t").partition("_")
        path = root / "proc" / pid / "task" / thread / kind
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def _stat(user: int, system: int) -> str:
    return f"7 (a) name) S 1 1 1 0 -1 4 9 0 0 0 {user} {system} 0 0 20 0 1 0 5\n"


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, tuple[int, ...]]]:
    calls: list[tuple[int, tuple[int, ...]]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {0, 1, 3}, raising=False)
    monkeypatch.setattr(
        os,
        "sched_setaffinity",
        lambda thread, cpus: calls.append((thread, tuple(cpus))),
        raising=False,
    )
    return calls


def test_pin_moves_every_thread(tmp_path: Path, pinned: list[tuple[int, tuple[int, ...]]]) -> None:
    _threads(tmp_path, t7_schedstat="1 1 1", t9_schedstat="1 1 1")
    pin((1, 3), tmp_path)
    assert sorted(pinned) == [(0, (1, 3)), (7, (1, 3)), (9, (1, 3))]


def test_pin_leaves_the_process_alone_when_no_cpu_is_named(
    tmp_path: Path, pinned: list[tuple[int, tuple[int, ...]]]
) -> None:
    pin((), tmp_path)
    assert pinned == []


def test_pin_refuses_a_cpu_that_is_not_allowed(
    tmp_path: Path, pinned: list[tuple[int, tuple[int, ...]]]
) -> None:
    with pytest.raises(UsageError, match=r"to the CPUs 2, 9: it may use 0, 1, 3\. Name CPUs"):
        pin((9, 1, 2), tmp_path)
    assert pinned == []


def test_pin_says_so_when_the_system_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(UsageError, match="This system cannot pin a process to CPUs"):
        pin((0,), tmp_path)
    pin((), tmp_path)


@pytest.mark.parametrize(
    ("error", "refused"), [(ProcessLookupError(3, "gone"), False), (OSError(22, "Invalid"), True)]
)
def test_pin_goes_on_only_when_a_thread_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError, refused: bool
) -> None:
    def fail(thread: int, cpus: object) -> None:
        if thread == 7:
            raise error

    _threads(tmp_path, t7_schedstat="1 1 1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: {0}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", fail, raising=False)
    if refused:
        with pytest.raises(UsageError, match="could not be pinned to the CPUs 0: Invalid"):
            pin((0,), tmp_path)
    else:
        pin((0,), tmp_path)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system cannot pin")
def test_pin_holds_for_threads_that_already_run_and_for_later_ones() -> None:
    program = """
import os, threading
from edgecell_runtime.bench.pinning import pin
ready, pinned = threading.Event(), threading.Event()
seen = []
def look():
    ready.set(); pinned.wait(); seen.append(os.sched_getaffinity(0))
early = threading.Thread(target=look); early.start(); ready.wait()
cpu = min(os.sched_getaffinity(0))
pin((cpu,)); pinned.set(); early.join()
late = threading.Thread(target=look); late.start(); late.join()
assert seen == [{cpu}, {cpu}], seen
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_thread_times_are_nanoseconds_of_schedstat(tmp_path: Path) -> None:
    _threads(tmp_path, "55", t7_schedstat="2500000000 1 1", t9_schedstat="1000000 1 1")
    assert thread_times(55, tmp_path) == {7: 2.5, 9: 0.001}


def test_thread_times_are_ticks_without_schedstat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: 100, raising=False)
    _threads(tmp_path, t7_stat=_stat(120, 30), t9_stat=_stat(5, 0), t9_schedstat="0 0 0\n")
    assert thread_times(root=tmp_path) == {7: 1.5, 9: 0.05}


def test_threads_whose_files_are_gone_or_malformed_are_left_out(tmp_path: Path) -> None:
    _threads(tmp_path, t7_stat="7 (a) S", t8_other="", t9_schedstat="1000000000 1 1")
    assert thread_times(root=tmp_path) == {9: 1.0}


def test_no_thread_is_seen_when_the_system_does_not_say(tmp_path: Path) -> None:
    assert threads_seen(thread_times(root=tmp_path), thread_times(root=tmp_path)) == 0


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({1: 5.0, 2: 0.0}, {1: 5.0, 2: 3.0}, 1),  # the engine's thread alone
        ({1: 5.0}, {1: 8.0, 2: 2.9, 3: 3.0}, 3),  # threads that were started meanwhile
        ({1: 0.0, 2: 0.0}, {1: 3.0, 2: 0.29}, 1),  # one that did a little
        ({1: 0.0, 2: 0.0}, {1: 3.0, 2: 0.31}, 2),
        ({1: 5.0, 2: 9.0}, {1: 8.0}, 1),  # one that ended
        ({1: 5.0, 2: 9.0}, {1: 5.0, 2: 9.0}, 0),
        ({}, {}, 0),
    ],
)
def test_threads_seen_are_those_that_share_the_work(
    before: dict[int, float], after: dict[int, float], expected: int
) -> None:
    assert threads_seen(before, after) == expected
