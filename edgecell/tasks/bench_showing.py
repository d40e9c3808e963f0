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
from edgecell.devices.together import Outcome, open_device, run_together
from edgecell.tasks import bench_comparing_tables, bench_formats, bench_tables, benching
from edgecell.tasks.bench_asking import Old
from edgecell.tasks.bench_comparing import Comparison
from edgecell.tasks.bench_fleet_table import fleet_table
from edgecell.tasks.benching import Prepared, Request
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.bench.running import Measurement
from edgecell_runtime.errors import EngineError, UsageError

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


def here(request: Request, old: Old, fail_above: float, output: Output) -> int:
    """Measures on this machine; returns the exit status.

    Raises:
        EdgecellError: As ``benching.benchmark``, or nothing can be compared.
    """
    found = benching.benchmark(old.beside(request))
    comparison = old.comparison(found, fail_above)
    if output.file is not None:
        bench_formats.write(found, output.file)
        console.say(f"Written to {output.file}")
    if output.as_json:
        _print(found, comparison)
    else:
        _show(found)
        if comparison is not None:
            console.present(
                None, [bench_comparing_tables.table(comparison)], as_json=False, output=None
            )
            _say(bench_comparing_tables.notes(comparison))
    if comparison is not None and comparison.exit_status:
        return comparison.exit_status
    return console.SKIPPED_STATUS if found.skipped else 0


def on_devices(
    settings: Sequence[DeviceSettings], request: Request, manners: Manners, output: Output
) -> int:
    """Measures on devices at the same time; returns the exit status.

    Raises:
        EdgecellError: The request makes no sense, or every device failed.
    """
    if output.file is not None and len(settings) > 1:
        for one in settings:
            bench_formats.check_output(_of_device(output.file, one.name))
    # What patients showed leaves this machine only where the user named it.
    allowed = request if request.data is not None else replace(request, patterns=True)
    devices = [open_device(one, manners) for one in settings]
    with tempfile.TemporaryDirectory(prefix="edgecell-devices-") as name:
        prepared = benching.prepare(allowed, Path(name) / "job")
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


def refuse_with_devices(request: Request, old: Old) -> None:
    """Refuses what cannot be done on a device.

    Raises:
        UsageError: Something is.
    """
    if old != Old():
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
        return benching.completed(prepared, Measurement(outcome.benchmark, answers))
    except FileNotFoundError:  # of Android
        nothing = (np.empty((0, 0)),) * count
        return benching.completed(prepared, Measurement(outcome.benchmark, nothing))
    except (OSError, EOFError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
        raise EngineError(
            f"What {outcome.name} sent back does not fit what it was asked: {error!r}. Measure "
            "there again."
        ) from error


def _write_and_show(found: dict[str, Benchmark], output: Output, *, alone: bool) -> None:
    for name, benchmark in found.items():
        if output.file is not None:
            path = output.file if alone else _of_device(output.file, name)
            bench_formats.write(benchmark, path)
            console.say(f"Written to {path}")
        if not output.as_json:
            if not alone:
                console.say(f"\n{name}")
            _show(benchmark)
    if output.as_json:
        documents = {name: codec.encode(one) for name, one in found.items()}
        document = next(iter(documents.values())) if alone else documents
        console.present(document, [], as_json=True, output=None)
    elif not alone:
        console.present(None, [fleet_table(found)], as_json=False, output=None)


def _of_device(path: Path, name: str) -> Path:
    """``result.json`` of a device is ``result-pi5.json``."""
    stem, _, suffixes = path.name.partition(".")
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name.rpartition("//")[2])
    return path.with_name(f"{stem}-{safe}.{suffixes}")


def _print(found: Benchmark, comparison: Comparison | None) -> None:
    document = codec.encode(found)
    if comparison is not None:
        assert isinstance(document, dict)
        document = {**document, "comparison": bench_comparing_tables.document(comparison)}
    console.present(document, [], as_json=True, output=None)


def _show(found: Benchmark) -> None:
    console.present(None, bench_tables.tables(found), as_json=False, output=None)
    _say(bench_tables.notes(found))


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        console.say(line)
