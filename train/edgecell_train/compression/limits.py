"""What a compressed net may cost, and what it may lose."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from edgecell_runtime.errors import UsageError
from edgecell_train.compression.costs import CostKind
from edgecell_train.compression.frontier import Point

DEFAULT_DROP: Final = 0.5
"""Points of validation accuracy: what one cell in two hundred is."""

_SPARE_BYTES: Final = 512
"""The figures of the test and the temperature, which a manifest holds, come last."""

_SPARE_LATENCY: Final = 1.05
"""A step is not chosen that would only just do: medians differ from one minute to the next."""

_TOO_MUCH: Final = 2.0
"""How many times its limit a net takes where none was set."""

_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)")
_UNITS: Final[dict[str, dict[str, float]]] = {
    "--max-size": {"": 1, "B": 1, "kB": 1e3, "KB": 1e3, "MB": 1e6},
    "--max-latency": {"ms": 1, "us": 1e-3, "s": 1e3},
    "--max-macs": {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9},
}
_EXAMPLES: Final = {"--max-size": "30kB", "--max-latency": "0.1ms", "--max-macs": "2M"}


@dataclass(frozen=True)
class Limits:
    """What was asked for; None where a cost has no limit.

    Attributes:
        size_bytes: Of the int8 TFLite file, manifest included.
        latency_ms: Median of that file in LiteRT with one thread, on this machine.
        macs: Multiply-accumulates of one query.
        drop: Points of validation accuracy that may be lost against the source.
    """

    size_bytes: int | None = None
    latency_ms: float | None = None
    macs: int | None = None
    drop: float = DEFAULT_DROP

    @property
    def has_costs(self) -> bool:
        """Whether a cost is limited; else a net as small as its accuracy allows is looked for."""
        return (self.size_bytes, self.latency_ms, self.macs) != (None, None, None)

    def excesses(self, point: Point) -> dict[str, float]:
        """How many times its limit a point takes, by the limited cost."""
        limits = (self.size_bytes, self.latency_ms, self.macs)
        slow = point.latency_ms * (1 if point.kind == "final" else _SPARE_LATENCY)
        found = (point.size_bytes + _SPARE_BYTES, slow, point.macs)
        names = ("size", "latency", "macs")
        return {
            name: value / limit
            for name, value, limit in zip(names, found, limits, strict=True)
            if limit is not None
        }

    def meets_costs(self, point: Point) -> bool:
        """Whether a point keeps all limits but the accuracy's."""
        return all(excess <= 1 for excess in self.excesses(point).values())

    def keeps_accuracy(self, point: Point) -> bool:
        """Whether a point loses no more than it may."""
        return point.drop <= self.drop + 1e-9

    def keeps(self, point: Point) -> bool:
        """Whether a point is of use and keeps all limits."""
        return not point.problem and self.meets_costs(point) and self.keeps_accuracy(point)

    def binding(self, point: Point) -> tuple[CostKind, float]:
        """What to cut next, and how many times its limit it takes; a latency is cut through MACs.

        Without a limited cost it is the size, of which there is always too much.
        """
        excesses = self.excesses(point)
        if not excesses:
            return "bytes", _TOO_MUCH
        name = max(excesses, key=lambda name: excesses[name])
        return ("bytes" if name == "size" else "macs"), excesses[name]

    def binds_latency(self, point: Point) -> bool:
        """Whether it is the latency that takes most of its limit."""
        excesses = self.excesses(point)
        return bool(excesses) and excesses.get("latency") == max(excesses.values())

    def words(self) -> str:
        """For people."""
        parts = []
        if self.size_bytes is not None:
            parts.append(f"{self.size_bytes:,} bytes")
        if self.latency_ms is not None:
            parts.append(f"{self.latency_ms:g} ms")
        if self.macs is not None:
            parts.append(f"{self.macs:,} MACs")
        return ", ".join([*parts, f"{self.drop:g} points of validation accuracy lost"])


def asked_limits(
    size: str | None, latency: str | None, macs: str | None, drop: float | None
) -> Limits | None:
    """The limits of a command line; None where it gives none.

    Raises:
        UsageError: One cannot be read.
    """
    if (size, latency, macs, drop) == (None, None, None, None):
        return None
    if drop is not None and not 0 <= drop <= 100:
        raise UsageError(
            f"--max-drop {drop:g} is out of range; expected points from 0 to 100, such as 0.3."
        )
    return Limits(
        None if size is None else int(parse_quantity("--max-size", size)),
        None if latency is None else parse_quantity("--max-latency", latency),
        None if macs is None else int(parse_quantity("--max-macs", macs)),
        DEFAULT_DROP if drop is None else drop,
    )


def parse_quantity(option: str, text: str) -> float:
    """Reads such as ``30kB``, ``0.1ms`` or ``2M``: bytes, milliseconds, multiply-accumulates.

    Args:
        option: ``--max-size``, ``--max-latency`` or ``--max-macs``, which says the units.
        text: What the user wrote.

    Raises:
        UsageError: It is no positive number with such a unit.
    """
    units = _UNITS[option]
    match = _NUMBER.fullmatch(text.strip())
    value = float(match[1]) * units.get(match[2], 0) if match else 0
    if not value > 0 or (option != "--max-latency" and value < 1):
        known = ", ".join(unit for unit in units if unit)
        raise UsageError(
            f"{option} {text} cannot be read; expected a number above 0 with one of the units "
            f"{known}, such as {option} {_EXAMPLES[option]}."
        )
    return value


def _excess(limits: Limits) -> Callable[[Point], tuple[float, int]]:
    """How far a point is from its limits; of two that are equally far, how large it is."""
    return lambda point: (max(limits.excesses(point).values(), default=0.0), point.size_bytes)


def nearest(points: Sequence[Point], limits: Limits) -> str:
    """Says which points come nearest to limits that none meets.

    Args:
        points: Of narrowed nets; the last is the smallest.
        limits: What was asked for.
    """
    points = [point for point in points if not point.problem] or points
    accurate = [point for point in points if limits.keeps_accuracy(point)]
    small = [point for point in points if limits.has_costs and limits.meets_costs(point)]
    found = []
    if accurate:
        found.append(f"with the accuracy, {min(accurate, key=_excess(limits)).words()}")
    if small:
        best = max(small, key=lambda point: point.accuracy)
        found.append(f"with the costs, {best.words()}")
    if not found:
        found.append(f"{points[-1].words()}")
    return "; ".join(found)
