"""Energy from where the machine tells it; never an estimate in its place.

A meter's energy only grows; what lies between two readings was used between them. It counts the
whole domain, a processor or a board, so idle is measured before and subtracted.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from edgecell_runtime.bench.power_command import PowerCommand
from edgecell_runtime.bench.power_samples import Reading, SampledMeter
from edgecell_runtime.bench.results import Energy
from edgecell_runtime.control_groups import read_text
from edgecell_runtime.errors import EngineError
from edgecell_runtime.records import dataclass

_ROOT = Path("/")

MIN_SECONDS: Final = 0.5
"""A stretch that is shorter is not said: RAPL's counters move every millisecond, but a processor's
power settles only within tens of them."""

MIN_SAMPLES: Final = 10
"""Of a meter that tells power: fewer do not show a mean."""

SENSOR_SECONDS: Final = 0.05
"""Between two looks at a sensor: each is a transfer on a slow bus, which takes CPU time itself."""


class Meter(Protocol):
    """Something that measures energy."""

    @property
    def method(self) -> str:
        """Its name, such as ``RAPL package-0``."""

    def read(self) -> Reading:
        """The energy since some beginning.

        Raises:
            EngineError: The meter failed.
        """

    def close(self) -> None:
        """Ends its thread and its process."""


@dataclass(frozen=True)
class Found:
    """The meter of this machine.

    Attributes:
        meter: None where there is none that can be read.
        note: Its method, or ``not measured: ...`` with the reason.
    """

    meter: Meter | None
    note: str


@dataclass(frozen=True)
class Measured:
    """The energy of some queries.

    Attributes:
        energy: None where it was not measured.
        note: As of ``Found``.
    """

    energy: Energy | None
    note: str


def find_meter(
    command: str = "", root: Path = _ROOT, clock: Callable[[], float] = time.monotonic
) -> Found:
    """Looks for a meter: the user's command if there is one, else RAPL, else a sensor.

    Args:
        command: Prints watts, a number a line, and goes on or is started again.
        root: The folder under which ``sys`` is looked for.
        clock: Seconds that never run backwards.

    Raises:
        UsageError: The command cannot be started, or does not print watts.
    """
    if command:
        return _found(PowerCommand(command, clock))
    zones = _rapl_zones(root)
    if zones:
        try:
            return _found(RaplMeter(zones, clock))
        except EngineError as error:
            return Found(None, f"not measured: {error}")
    sensors = _power_sensors(root)
    if len(sensors) == 1:
        [(name, path)] = sensors.items()
        meter = SampledMeter(f"{name} through hwmon", lambda: _watts(path), clock)
        meter.start(SENSOR_SECONDS)
        return _found(meter)
    if sensors:
        names = ", ".join(str(path) for path in sensors.values())
        return Found(
            None,
            f"not measured: which of the sensors {names} feeds the processor is not known; "
            "name a command that prints the watts of the right one",
        )
    return Found(None, "not measured: this machine has neither RAPL nor an INA2xx sensor")


def idle_watts(
    meter: Meter, seconds: float = 2.0, sleep: Callable[[float], None] = time.sleep
) -> float:
    """The mean power while this process rests.

    Raises:
        EngineError: The meter failed, or told too little in this time.
    """
    before = meter.read()
    sleep(seconds)
    return _mean_watts(before, meter.read())


def energy_of(
    meter: Meter, idle: float, stretch: tuple[Reading, Reading], queries: int
) -> Measured:
    """The energy of queries that ran one after another, without a pause and nothing else beside.

    Args:
        meter: Where the readings come from.
        idle: ``idle_watts``, from right before.
        stretch: Readings right before the first query and right after the last.
        queries: How many they were.
    """
    try:
        watts = _mean_watts(*stretch) - idle
    except EngineError as error:
        return Measured(None, f"not measured: {error}")
    if watts <= 0 or queries < 1:
        return Measured(
            None,
            f"not measured: at work the power was {watts + idle:.2f} W, which is not above "
            f"the {idle:.2f} W at rest ({meter.method})",
        )
    seconds = stretch[1].seconds - stretch[0].seconds
    return Measured(
        Energy(meter.method, idle, watts, watts * seconds / queries * 1e3), meter.method
    )


class RaplMeter:
    """The counters of Intel's and AMD's processors, through Linux's ``powercap``.

    A counter starts again at its range, after minutes at full power; each reading notices one such
    turn, so that readings belong a minute apart at most.
    """

    def __init__(self, zones: dict[str, Path], clock: Callable[[], float]) -> None:
        """Reads the counters once.

        Args:
            zones: Folders of ``powercap``, by name; none contains another.
            clock: Seconds that never run backwards.

        Raises:
            EngineError: They cannot be read.
        """
        self.method = f"RAPL {', '.join(zones)}"
        self._zones = tuple(zones.values())
        self._clock = clock
        self._ranges = [_microjoules(zone / "max_energy_range_uj") for zone in self._zones]
        self._last = self._counters()
        self._total = 0

    def read(self) -> Reading:
        """See ``Meter``."""
        counters = self._counters()
        for now, last, turn in zip(counters, self._last, self._ranges, strict=True):
            # The counter holds 0 to its range, both included.
            self._total += now - last if now >= last else now - last + turn + 1
        self._last = counters
        return Reading(self._clock(), self._total / 1e6, None)

    def close(self) -> None:
        """Nothing to end."""

    def _counters(self) -> list[int]:
        return [_microjoules(zone / "energy_uj") for zone in self._zones]


def _found(meter: Meter) -> Found:
    return Found(meter, meter.method)


def _mean_watts(before: Reading, after: Reading) -> float:
    seconds = after.seconds - before.seconds
    if seconds < MIN_SECONDS:
        raise EngineError(f"a stretch of {seconds:.2f} s is too short; {MIN_SECONDS} s are needed")
    if before.samples is not None and after.samples is not None:
        samples = after.samples - before.samples
        if samples < MIN_SAMPLES:
            raise EngineError(
                f"the meter told the power {samples} times in {seconds:.1f} s; "
                f"{MIN_SAMPLES} times are needed"
            )
    return (after.joules - before.joules) / seconds


def _rapl_zones(root: Path) -> dict[str, Path]:
    """Packages, and the memory where it has a counter of its own, which no package includes.

    ``psys`` (the whole board) includes packages, ``core`` and ``uncore`` are parts of one, and
    ``intel-rapl-mmio`` counts the same package again.
    """
    found = {}
    folder = root / "sys/class/powercap"
    for zone in sorted(folder.glob("intel-rapl:[0-9]*")):
        name = read_text(zone / "name")
        if name.startswith("package"):
            found[name] = zone
        elif name == "dram":
            found[f"dram of {read_text(folder / zone.name.rpartition(':')[0] / 'name')}"] = zone
    return found


def _power_sensors(root: Path) -> dict[str, Path]:
    """INA2xx chips that tell power, by name and number."""
    return {
        f"{name} ({path.parent.name})": path
        for path in sorted((root / "sys/class/hwmon").glob("hwmon[0-9]*/power1_input"))
        if (name := read_text(path.parent / "name")).startswith("ina2")
    }


def _watts(path: Path) -> float:
    return int(path.read_text()) / 1e6


def _microjoules(path: Path) -> int:
    try:
        return int(path.read_text())
    except PermissionError as error:
        raise EngineError(
            f"{path} may be read by root only; run as root, or: sudo chmod a+r {path}"
        ) from error
    except (OSError, ValueError) as error:
        raise EngineError(f"{path} cannot be read: {error}") from error
