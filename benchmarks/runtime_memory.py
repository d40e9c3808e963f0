"""Does memory grow with the calls? Many of them in processes of their own, as many as CPUs."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from scipy.stats import theilslopes

from edgecell import console
from edgecell_runtime.errors import DataError
from edgecell_runtime.manifest import Figure
from edgecell_runtime.threads import allowed_cpus

READINGS: Final = 20
SETTLING: Final = 0.25
"""Share of the readings at the start in which allocators may still take what they will reuse."""

FLAT_BYTES: Final = 1.0
"""A call may leave less than this, a megabyte in a million calls."""


@dataclass(frozen=True)
class Endurance:
    """One way of calling, many times.

    Attributes:
        way: ``predict`` on arrays of the right size, or ``predict_many`` on files.
        subject: The artifact.
        calls: Number of images.
        readings: The calls before each, and the resident bytes then.
        slope: Bytes a call (Theil-Sen over the settled readings), with a 95 % interval.
        growth_bytes: Of the last reading over the first settled one.
        flat: Whether the slope's interval lies below ``FLAT_BYTES``.
    """

    way: str
    subject: str
    calls: int
    readings: tuple[tuple[int, int], ...]
    slope: Figure
    growth_bytes: int
    flat: bool


@dataclass(frozen=True)
class EndurancePlan:
    """What to run.

    Attributes:
        models: Artifacts.
        files: For ``predict_many``, again and again.
        calls: Of ``predict``, and of ``predict_many``.
    """

    models: Sequence[Path]
    files: Sequence[str]
    calls: tuple[int, int]


def endure(plan: EndurancePlan) -> tuple[Endurance, ...]:
    """Runs each model in each way; nothing is timed, so that they share the CPUs.

    Raises:
        DataError: A process failed.
    """
    with (
        tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as names,
        ThreadPoolExecutor(allowed_cpus()) as pool,
    ):
        names.write("\n".join(plan.files))
        names.flush()
        ways = [("predict", plan.calls[0], ()), ("predict_many", plan.calls[1], (names.name,))]
        jobs = [
            pool.submit(_run, way, model, calls, files)
            for way, calls, files in ways
            for model in plan.models
        ]
        return tuple(job.result() for job in jobs)


def _run(way: str, model: Path, calls: int, files: tuple[str, ...]) -> Endurance:
    script = Path(__file__).with_name("runtime_endurance.py")
    command = [sys.executable, str(script), way, str(model), str(calls), str(READINGS), *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [""])[-1]
        raise DataError(f"{way} with {model.name} ended with status {done.returncode}: {said}")
    readings = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    return summarize(way, model.name, [(calls, size) for calls, size in readings])


def summarize(way: str, subject: str, readings: Sequence[tuple[int, int]]) -> Endurance:
    """The slope of resident bytes over calls, without the readings at the start.

    The Theil-Sen slope is the median of those between any two readings (Sen 1968): one reading that
    fell into a moment of more memory does not turn it.
    """
    settled = readings[int(len(readings) * SETTLING) :]
    calls, sizes = np.array(settled, dtype=np.float64).T
    found = theilslopes(sizes, calls)
    slope = Figure(float(found.slope), float(found.low_slope), float(found.high_slope))
    return Endurance(
        way=way,
        subject=subject,
        calls=readings[-1][0],
        readings=tuple(readings),
        slope=slope,
        growth_bytes=settled[-1][1] - settled[0][1],
        flat=slope.high < FLAT_BYTES,
    )


def table(found: Sequence[Endurance]) -> str:
    """The slopes as a Markdown table."""
    columns = (
        *("what", "of", "images", "resident MB, settled", "growth from there, kB"),
        *("slope, bytes an image", "flat"),
    )
    return console.markdown_table(
        console.Table("Memory over many calls", columns, [_cells(one) for one in found])
    )


def _cells(one: Endurance) -> tuple[str, ...]:
    last, slope = one.readings[-1][1], one.slope
    return (
        one.way,
        one.subject,
        f"{one.calls:,}",
        f"{(last - one.growth_bytes) / 1e6:.1f}",
        f"{one.growth_bytes / 1e3:,.0f}",
        f"{slope.value:.3f} ({slope.low:.3f} to {slope.high:.3f})",
        "yes" if one.flat else "no",
    )
