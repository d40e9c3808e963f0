"""When the rows of a log are on the disk."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import artifacts

from edgecell.tasks import result_log
from edgecell.tasks.answers import Skipped
from edgecell.tasks.result_log import ResultLog
from edgecell.tasks.result_rows import Columns, row_format


class FakeClock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr(result_log.os, "fsync", calls.append)
    return calls


def open_fake_log(folder: Path, clock: Callable[[], float]) -> ResultLog:
    columns = Columns("0" * 12, artifacts.LABELS, True)
    return ResultLog(folder / "log.csv", row_format(".csv", columns), clock)


def test_rows_are_on_the_disk_after_64_of_them(tmp_path: Path, synced: list[int]) -> None:
    log = open_fake_log(tmp_path, FakeClock())
    for number in range(130):
        log.add(Skipped(f"{number}.png", "why"))
    log.close()
    assert len(synced) == 2
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 131


def test_rows_are_on_the_disk_after_a_second(tmp_path: Path, synced: list[int]) -> None:
    clock = FakeClock()
    log = open_fake_log(tmp_path, clock)
    log.add(Skipped("a.png", "why"))
    assert synced == []
    clock.seconds = 1.0
    log.add(Skipped("b.png", "why"))
    assert len(synced) == 1
    log.close()
