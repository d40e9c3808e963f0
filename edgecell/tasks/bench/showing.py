"""A benchmark to its end: measured here or on devices, compared, shown."""

import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from edgecell import console
from edgecell.devices.base import ANSWERS_FILE, DeviceSettings, Manners
from edgecell.devices.together import (
    Outcome,
    check_distinct,
    file_name_of,
    open_device,
    run_together,
)
from edgecell.tasks.bench import comparing_tables, formats, running, tables
from edgecell.tasks.bench.asking import Old
from edgecell.tasks.bench.comparing import exit_status
from edgecell.tasks.bench.fleet_table import fleet_table
from edgecell.tasks.bench.running import Prepared, Request
from edgecell.tasks.bench.words import paced_words
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.bench.running import Measurement
from edgecell_runtime.errors import EdgecellError, EngineError, UsageError

_FAILED: Final = 1


@dataclass(frozen=True)
class Output:
    """Where a result goes.

    Attributes:
        file: Written too, by its suffix; None writes none.
        as_json: Whether one document is printed, and no tables.
    """

    file: Path | None
    as_json: bool


def here(request: Request, old: Old, output: Output) -> int:
    """Measures on this machine; returns the exit status.

    What was measured is shown and written before it is said that something after it failed.

    Raises:
        EdgecellError: As ``running.benchmark``, nothing can be compared, or the file cannot be
            written.
    """
    wanted = old.beside(request)
    _say_how_long(wanted)
    found = running.benchmark(wanted, old.check)
    failures: list[EdgecellError] = []
    try:
        found = replace(found, comparison=old.comparison(found))
    except EdgecellError as error:
        failures.append(error)
    if output.as_json:
        console.present(codec.encode(found), [], as_json=True, output=None)
    else:
        _show(found)
    if output.file is not None:
        failures += _written(found, output.file)
    _raise(failures)
    if found.comparison is not None and exit_status(found.comparison):
        return _FAILED
    return console.SKIPPED_STATUS if found.skipped or found.reference_note else 0


def on_devices(
    settings: Sequence[DeviceSettings], request: Request, manners: Manners, output: Output
) -> int:
    """Measures on devices at the same time; returns the exit status.

    Raises:
        EdgecellError: The request makes no sense, or every device failed.
    """
    if output.file is not None and len(settings) > 1:
        for one in settings:
            formats.check_output(_of_device(output.file, one.name))
    _say_how_long(request)
    # What patients showed leaves this machine only where the user named it.
    allowed = request if request.data is not None else replace(request, patterns=True)
    devices = [open_device(one, manners) for one in settings]
    check_distinct(devices)
    with tempfile.TemporaryDirectory(prefix="edgecell-devices-") as name:
        prepared = running.prepare(allowed, Path(name) / "job")
        outcomes = run_together(
            devices,
            prepared.folder,
            Path(name) / "out",
            lambda device, words: console.say(f"{device}: {words}"),
        )
        found = {}
        for outcome in outcomes:
            try:
                found[outcome.name] = _completed(prepared, outcome)
            except EngineError as error:
                console.error(f"{outcome.name}: {error}")
    if not found:
        raise EngineError("Not one device measured anything; the reasons are above.")
    _write_and_show(found, output, alone=len(settings) == 1)
    if len(found) < len(settings):
        return _FAILED
    return console.SKIPPED_STATUS if any(one.skipped for one in found.values()) else 0


def refuse_with_devices(request: Request, *, compared: bool) -> None:
    """Refuses what cannot be done on a device.

    Raises:
        UsageError: Something is.
    """
    if compared:
        raise UsageError(
            "--compare measures here; on a device name old and new artifacts together, and read "
            "the ratios of the table."
        )
    if request.power_command:
        raise UsageError("--power is a command of this machine; leave it out with --device.")


def _completed(prepared: Prepared, outcome: Outcome) -> Benchmark:
    """A device's result with what this side knows.

    Raises:
        EngineError: The device failed, or sent back what does not fit the job.
    """
    if outcome.benchmark is None:
        raise EngineError(outcome.reason)
    count = len(outcome.benchmark.rows)
    try:
        with np.load(outcome.out / ANSWERS_FILE, allow_pickle=False) as stored:
            answers = tuple(stored[f"row-{number}"] for number in range(count))
        return running.completed(prepared, Measurement(outcome.benchmark, answers))
    except FileNotFoundError:  # of Android
        nothing = (np.empty((0, 0)),) * count
        return running.completed(prepared, Measurement(outcome.benchmark, nothing))
    except (OSError, EOFError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise EngineError(
            f"What {outcome.name} sent back does not fit what it was asked: {error!r}. Measure "
            "there again."
        ) from error


def _write_and_show(found: dict[str, Benchmark], output: Output, *, alone: bool) -> None:
    failures: list[EdgecellError] = []
    for name, benchmark in found.items():
        if not output.as_json:
            if not alone:
                console.say(f"\n{name}")
            _show(benchmark)
        if output.file is not None:
            failures += _written(benchmark, output.file if alone else _of_device(output.file, name))
    if output.as_json:
        documents = {name: codec.encode(one) for name, one in found.items()}
        document = next(iter(documents.values())) if alone else documents
        console.present(document, [], as_json=True, output=None)
    elif not alone:
        console.present(None, [fleet_table(found)], as_json=False, output=None)
    _raise(failures)


def _written(found: Benchmark, path: Path) -> list[EdgecellError]:
    """Writes a result; gives what went wrong."""
    try:
        formats.write(found, path)
    except EdgecellError as error:
        return [error]
    console.say(f"Written to {path}")
    return []


def _raise(failures: Sequence[EdgecellError]) -> None:
    """Says what went wrong after the measuring, the last by raising it."""
    for error in failures[:-1]:
        console.error(str(error))
    if failures:
        raise failures[-1]


def _say_how_long(request: Request) -> None:
    if words := paced_words(request.plan):
        console.warn(words)


def _of_device(path: Path, name: str) -> Path:
    """``result.json`` of a device is ``result-pi5.json``."""
    stem, _, suffixes = path.name.partition(".")
    return path.with_name(f"{stem}-{file_name_of(name)}.{suffixes}")


def _show(found: Benchmark) -> None:
    console.present(None, tables.tables(found), as_json=False, output=None)
    _say(tables.notes(found))
    if found.comparison is not None:
        compared = comparing_tables.table(found.comparison)
        console.present(None, [compared], as_json=False, output=None)
        _say(comparing_tables.notes(found.comparison))


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        console.say(line)
