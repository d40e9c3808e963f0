"""``edgecell predict --watch``: a folder that somebody writes to. No test waits: time is made."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support import artifacts
from support.command_line import invoke, write_cell, write_file

from edgecell.tasks import image_inputs, predicting, result_log, watching
from edgecell.tasks.answers import ImageFile
from edgecell.tasks.watching import POLL_SECONDS, Clock, FolderWatch
from edgecell_runtime.errors import DataError

Step = Callable[[], object]


class Script:
    """Time that passes in pauses only; in each, something happens to the folder."""

    def __init__(self, *steps: Step) -> None:
        self.clock = Clock(lambda: self.seconds, self.sleep)
        self.seconds = 0.0
        self._steps = list(steps)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self._steps:
            self._steps.pop(0)()
        else:
            signal.raise_signal(signal.SIGTERM)


def nothing() -> None:
    """A pause in which nobody writes."""


SETTLED = (nothing,) * 3
"""Pauses after which what does not change has been classified."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return artifacts.write_artifact(tmp_path, "onnx")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cells").mkdir()
    return tmp_path / "cells"


class Watching:
    """Runs the command on a script; afterwards tells what it printed."""

    def __init__(
        self,
        model: Path,
        folder: Path,
        capsys: pytest.CaptureFixture[str],
        patch: pytest.MonkeyPatch,
    ) -> None:
        self._arguments = ("predict", "--watch", folder, "--model", model, "--json-lines")
        self._capsys = capsys
        self._patch = patch
        self.status = -1
        self.errors = ""

    def __call__(self, *steps: Step, options: tuple[object, ...] = ()) -> dict[str, str]:
        """Returns the label, or the reason for none, by name."""
        run = predicting.predict_images
        clock = Script(*steps).clock
        with self._patch.context() as patch:
            patch.setattr(predicting, "predict_images", lambda request: run(request, clock))
            outcome = invoke(self._capsys, *self._arguments, *options)
        self.status, self.errors = outcome.status, outcome.err
        rows = [json.loads(line) for line in outcome.out.splitlines()]
        names = [Path(row["image"]).name for row in rows]
        assert len(set(names)) == len(names)
        return {
            name: row.get("label") or row["error"] for name, row in zip(names, rows, strict=True)
        }


@pytest.fixture
def watch(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Watching:
    return Watching(model, folder, capsys, monkeypatch)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    return write_cell(tmp_path / "whole.png", 3).read_bytes()


def test_images_that_are_there_and_that_come_are_classified(folder: Path, watch: Watching) -> None:
    write_cell(folder / "a.png", 0)
    labels = watch(*SETTLED, lambda: write_cell(folder / "new/b.png", 1), *SETTLED)
    assert list(labels) == ["a.png", "b.png"]
    assert set(labels.values()) <= set(artifacts.LABELS)
    assert watch.status == 0
    assert "2 images: " in watch.errors


def test_what_is_hidden_or_no_image_is_passed_over(folder: Path, watch: Watching) -> None:
    write_cell(folder / ".rsync.png", 0)
    write_cell(folder / ".new/b.png", 0)
    write_file(folder / "notes.txt")
    assert watch(*SETTLED) == {}
    assert watch.status == 0


def test_zips_are_passed_over(folder: Path, watch: Watching) -> None:
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.write(write_cell(folder.parent / "a.png", 0), "a.png")
    assert watch(*SETTLED) == {}


def test_file_that_is_overwritten_after_its_turn_is_not_read_again(
    folder: Path, watch: Watching, whole: bytes
) -> None:
    path = write_cell(folder / "a.png", 0)
    assert list(watch(*SETTLED, lambda: path.write_bytes(whole), *SETTLED)) == ["a.png"]


@pytest.mark.skipif(os.name != "posix", reason="names cannot hold control characters")
def test_names_that_would_print_alike_are_two_images(folder: Path, watch: Watching) -> None:
    write_cell(folder / "\x1b.png", 0)
    write_cell(folder / r"\x1b.png", 1)
    assert set(watch(*SETTLED)) == {r"\x1b.png", r"\\x1b.png"}


def test_file_that_is_renamed_into_place_is_classified(folder: Path, watch: Watching) -> None:
    hidden = write_cell(folder / ".a.png", 0)
    labels = watch(*SETTLED, lambda: hidden.rename(folder / "a.png"), *SETTLED)
    assert list(labels) == ["a.png"]
    assert watch.status == 0


def test_file_that_grows_is_waited_for(folder: Path, watch: Watching, whole: bytes) -> None:
    half = [lambda n=n: write_file(folder / "a.png", whole[:n]) for n in range(1, 40)]
    labels = watch(*half, lambda: write_file(folder / "a.png", whole), *SETTLED)
    assert labels["a.png"] in artifacts.LABELS
    assert watch.status == 0
    assert "Skipped" not in watch.errors


def test_copy_that_is_held_up_for_less_than_settle_is_classified_once_whole(
    folder: Path, watch: Watching, whole: bytes
) -> None:
    pauses = (nothing,) * int(4 / POLL_SECONDS)
    write_file(folder / "a.png", whole[:50])
    labels = watch(*pauses, lambda: write_file(folder / "a.png", whole), *SETTLED)
    assert labels["a.png"] in artifacts.LABELS
    assert watch.status == 0


def test_file_that_comes_whole_without_a_new_size_or_time_is_read_once_more(
    folder: Path, watch: Watching, whole: bytes
) -> None:
    path = write_file(folder / "a.png", bytes(len(whole)))
    status = path.stat()

    def fill() -> None:
        path.write_bytes(whole)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    pauses = (nothing,) * int(6 / POLL_SECONDS)
    assert watch(*SETTLED, fill, *pauses)["a.png"] in artifacts.LABELS
    assert watch.status == 0


@pytest.mark.parametrize(("settle", "reported"), [(2, True), (20, False)])
def test_file_that_stays_unreadable_is_skipped_after_settle(
    folder: Path, watch: Watching, settle: float, reported: bool
) -> None:
    write_file(folder / "a.png")
    pauses = (nothing,) * int(5 / POLL_SECONDS)
    outcomes = watch(*pauses, options=("--settle", settle))
    assert (list(outcomes) == ["a.png"]) is reported
    assert watch.status == (3 if reported else 0)
    assert watch.errors.count("is not an image") == reported


def test_file_that_is_deleted_before_its_turn_is_no_error(folder: Path, watch: Watching) -> None:
    path = write_file(folder / "a.png")
    gone = write_cell(folder / "b.png", 0)
    write_cell(folder / "c.png", 1)
    outcomes = watch(gone.unlink, *SETTLED, path.unlink, *SETTLED, *SETTLED)
    assert list(outcomes) == ["c.png"]
    assert watch.status == 0


@pytest.mark.parametrize("turn", [1, 2])
def test_file_that_vanishes_between_listing_and_reading_is_no_error(
    folder: Path, watch: Watching, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    path = write_file(folder / "a.png")
    look = FolderWatch._look
    turns = 0

    def look_and_delete(self: FolderWatch) -> list[str]:
        nonlocal turns
        ready = look(self)
        turns += len(ready)
        if ready and turns == turn:
            path.unlink()
        return ready

    monkeypatch.setattr(FolderWatch, "_look", look_and_delete)
    pauses = (nothing,) * int(7 / POLL_SECONDS)
    assert watch(*pauses) == {}
    assert (watch.status, turns) == (0, turn)


def test_rows_are_on_the_disk_before_it_waits(
    folder: Path, watch: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(result_log.os, "fsync", synced.append)
    seen: list[int] = []
    write_cell(folder / "a.png", 0)
    pauses = (lambda: seen.append(len(synced)),) * 4
    watch(*pauses, options=("--output", folder.parent / "log.csv"))
    assert seen == [0, 1, 1, 1]


def test_folder_that_cannot_be_listed_is_named_once_and_the_others_go_on(
    folder: Path, watch: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cell(folder / "locked/a.png", 0)
    write_cell(folder / "open/b.png", 1)
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(image_inputs.os, "scandir", refuse)
    assert list(watch(*SETTLED, *SETTLED)) == ["b.png"]
    assert watch.status == 0
    assert watch.errors.count("locked cannot be read: Permission denied") == 1


def test_folder_that_is_deleted_ends_the_watch_in_a_sentence(folder: Path, watch: Watching) -> None:
    write_cell(folder / "a.png", 0)
    labels = watch(*SETTLED, lambda: shutil.rmtree(folder))
    assert list(labels) == ["a.png"]
    assert watch.status == 1
    assert f"Error: {folder} cannot be watched any longer: No such file" in watch.errors


def test_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        FolderWatch(tmp_path / "missing", 5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_the_watch_when_what_is_in_flight_is_done(
    folder: Path, watch: Watching, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    names = [write_cell(folder / f"{seed:02}.png", seed).name for seed in range(60)]
    log = folder.parent / "log.jsonl"

    def take_and_signal(name: str, path: str) -> ImageFile:
        if name.endswith("29.png"):
            signal.raise_signal(number)
        return ImageFile(name, path)

    with monkeypatch.context() as patch:
        patch.setattr(watching, "ImageFile", take_and_signal)
        first = watch(*SETTLED, options=("--output", log))
    assert watch.status == 0
    assert list(first) == names[:30]
    assert len(log.read_text().splitlines()) == 30
    assert list(watch(*SETTLED, options=("--output", log))) == names[30:]
    assert len(log.read_text().splitlines()) == 60


def test_handlers_of_signals_are_as_before_when_the_watch_has_ended(
    folder: Path, watch: Watching
) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    invoke_once = watch(*SETTLED)
    before = [signal.getsignal(number) for number in numbers]
    assert invoke_once == watch(*SETTLED) == {}
    assert [signal.getsignal(number) for number in numbers] == before
    assert "_stopped_by" not in str(before)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("resume", [(), ("--resume",)])
def test_log_is_gone_on_with_whether_asked_or_not(
    folder: Path, watch: Watching, suffix: str, resume: tuple[str, ...]
) -> None:
    log = folder.parent / f"log{suffix}"
    write_cell(folder / "a.png", 0)
    write_file(folder / "bad.png")
    pauses = (nothing,) * int(7 / POLL_SECONDS)
    watch(*pauses, options=("--output", log))
    assert watch.status == 3
    first = log.read_bytes()
    log.write_bytes(first + b'{"image":"cut off')
    write_cell(folder / "b.png", 1)
    assert list(watch(*pauses, options=("--output", log, *resume))) == ["b.png"]
    assert watch.status == 3
    assert log.read_bytes().startswith(first)
    assert log.read_bytes().count(b"\n") == first.count(b"\n") + 1
    assert not Path(f"{log}.part").exists()


@pytest.mark.parametrize("options", [("--json",), ("--output", "x.json"), ("--output", "x.md")])
def test_whole_documents_are_refused_as_the_watch_has_no_end(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    outcome = invoke(capsys, "predict", "--watch", folder, "--model", model, *options)
    assert outcome.status == 2
    assert "--watch has no end" in outcome.err


def test_slow_listing_is_followed_by_a_long_pause(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Script(nothing)
    pauses: list[float] = []
    watch = FolderWatch(folder, 5, Clock(lambda: script.seconds, pauses.append))

    def walk(*_: object) -> list[str]:
        script.seconds += 3
        return []

    monkeypatch.setattr(watching, "walk_images", walk)
    files = watch.files()
    assert [next(files), next(files)] == [None, None]
    watch.stop()
    assert list(files) == []
    assert pauses == [12.0]


@pytest.mark.skipif(os.name != "posix", reason="there are no POSIX signals")
def test_process_that_watches_ends_with_status_0_at_sigterm(folder: Path, model: Path) -> None:
    write_cell(folder / "a.png", 0)
    arguments = ("predict", "--watch", folder, "--model", model, "--json-lines")
    with subprocess.Popen(
        [sys.executable, "-m", "edgecell", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert "a.png" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, errors = process.communicate()
    assert (process.returncode, out) == (0, "")
    assert "1 images: " in errors
