"""What the comparisons on real cells share: paired differences, the line on the machine."""

import argparse
import datetime
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from edgecell_runtime import codec
from edgecell_runtime.files import write_text
from edgecell_runtime.manifest import Figure
from edgecell_runtime.system import SystemInfo, describe_system

_TOOLS: Final = ("tf2onnx", "onnx", "scikit-learn", "scipy")
_RESAMPLES = 2000


def data_file(name: str) -> Path | None:
    """A file of the folder that ``EDGECELL_DATA`` names; None where it names none."""
    folder = os.environ.get("EDGECELL_DATA")
    return Path(folder) / name if folder else None


def output_path(text: str) -> Path:
    """Where a result goes, as an option's value; its suffix says in which form."""
    path = Path(text)
    if path.suffix not in (".json", ".md"):
        raise argparse.ArgumentTypeError(f"{text} ends in neither .json nor .md")
    return path


def add_output(parser: argparse.ArgumentParser) -> None:
    """The option ``--output`` that every benchmark has; see ``write``."""
    parser.add_argument(
        "--output", type=output_path, action="append", default=[], help=".json or .md; repeatable"
    )


def write(result: object, text: str, paths: Sequence[Path]) -> None:
    """Writes a result to each file: as JSON, or where it ends in ``.md``, the text for people.

    Raises:
        StorageError: One could not be written.
    """
    for path in paths:
        document = codec.dumps(result, indent=2) + "\n"
        write_text(path, document if path.suffix == ".json" else text)


def run_parser(description: str | None, archive: str) -> argparse.ArgumentParser:
    """The options that every comparison of a run's model has: run, --output, --data."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("run", type=Path, help="a run's folder")
    add_output(parser)
    parser.add_argument(
        "--data",
        type=Path,
        default=data_file(archive),
        help=f"the run's images; {archive} in EDGECELL_DATA, or else where the run found them",
    )
    return parser


def accuracy_change(
    before: NDArray[np.bool_], after: NDArray[np.bool_], patients: Sequence[str | None]
) -> Figure:
    """Accuracy after minus before, on the same images, as a fraction.

    The 95 % interval is a percentile bootstrap that draws whole patients, an image without one on
    its own (Field & Welsh 2007): cells of one patient are right or wrong together.

    Args:
        before: bool (n,), whether each answer was right.
        after: bool (n,), likewise.
        patients: (n,), each image's patient.
    """
    keys = [f"image {i}" if one is None else f"patient {one}" for i, one in enumerate(patients)]
    _, group = np.unique(keys, return_inverse=True)
    changes = np.bincount(group, after.astype(np.float64) - before)
    counts = np.bincount(group).astype(np.float64)

    def change(
        some: NDArray[np.float64], of: NDArray[np.float64], axis: int = -1
    ) -> NDArray[np.float64]:
        return np.asarray(some.sum(axis=axis) / of.sum(axis=axis))

    value = float(changes.sum() / counts.sum())
    if len(counts) < 2:
        return Figure(value, -1.0, 1.0)
    interval = bootstrap(
        (changes, counts),
        change,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Figure(value, float(interval.low), float(interval.high))


@dataclass(frozen=True)
class Circumstances:
    """Where, when and how something was measured.

    Attributes:
        system: The machine.
        tools: Versions of the libraries that ``system`` does not name.
        date: Day, UTC, ISO 8601.
        load: Processes that ran or waited over the last minute, before the measuring.
        threads: That each engine was given; several where each was measured.
        command: As typed, with absolute paths cut to their last name.
    """

    system: SystemInfo
    tools: dict[str, str]
    date: str
    load: float
    threads: tuple[int, ...]
    command: str

    @property
    def versions(self) -> dict[str, str]:
        """Of all libraries that can change a figure, by name."""
        return {**self.system.versions, **self.tools}

    def sentence(self) -> str:
        """All of it in one line."""
        system = self.system
        return (
            f"{system.processor} ({', '.join(system.cpu_flags)}), {system.allowed_cpus} CPUs, "
            f"load {self.load:.2f} before, {system.os}, {system.python}; {self.date}; "
            f"threads: {' and '.join(map(str, self.threads))}; "
            f"{', '.join(f'{name} {version}' for name, version in self.versions.items())}; "
            f"`{self.command}`"
        )


def circumstances(*threads: int, tools: Sequence[str] = ()) -> Circumstances:
    """Those of this process, now; ``tools`` are further distributions, where installed."""
    arguments = [Path(item).name if Path(item).is_absolute() else item for item in sys.argv[1:]]
    return Circumstances(
        system=describe_system(),
        tools={name: found for name in (*_TOOLS, *tools) if (found := installed(name))},
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        load=os.getloadavg()[0],
        threads=threads,
        command=shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments]),
    )


def installed(distribution: str) -> str:
    """The version of a distribution; empty where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def points(figure: Figure) -> str:
    """A difference of fractions in percentage points, with its interval."""
    return f"{figure.value * 100:+.2f} ({figure.low * 100:+.2f} to {figure.high * 100:+.2f})"


def percent(figure: Figure | None, *, interval: bool = False) -> str:
    """A fraction in per cent."""
    if figure is None:
        return "-"
    text = f"{figure.value * 100:.2f}"
    return f"{text} ({figure.low * 100:.1f} to {figure.high * 100:.1f})" if interval else text
