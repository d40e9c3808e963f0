"""Energy of the targets: each works for some seconds alone, between two readings of the meter."""

from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

from edgecell_runtime.bench import energy
from edgecell_runtime.bench.findings import REFERENCE, Record
from edgecell_runtime.bench.messages import Command
from edgecell_runtime.bench.rounds import Rounds
from edgecell_runtime.errors import EngineError

_SECONDS: Final = 2.0


class Metering:
    """This machine's meter while a job runs; a context manager.

    Args:
        command: See ``Job.power_command``.

    Attributes:
        note: How energy is measured, or why not.

    Raises:
        UsageError: The command cannot be started, or does not print watts.
    """

    def __init__(self, command: str) -> None:
        found = energy.find_meter(command)
        self.note = found.note
        self._meter = found.meter

    def measure(self, rounds: Rounds, records: Mapping[int, Record]) -> None:
        """Measures the energy of a query of each target, idle subtracted."""
        for contestant in tuple(rounds.contestants):
            if contestant.target == REFERENCE or self._meter is None:
                continue
            record = records[contestant.target]
            command = Command("work", record.scenario, record.batch, seconds=_SECONDS)
            try:
                idle = energy.idle_watts(self._meter)
                before = self._meter.read()
                reply = rounds.ask(contestant, record, command)
                after = self._meter.read()
            except EngineError as error:
                self.note = f"not measured: {error}"
                return
            if reply is None or reply.warmed is None:
                continue
            images = reply.warmed.queries * record.batch
            found = energy.energy_of(self._meter, idle, (before, after), images)
            record.energy, self.note = found.energy, found.note

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._meter is not None:
            self._meter.close()
