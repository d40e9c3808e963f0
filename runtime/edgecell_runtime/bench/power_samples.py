"""Energy from power that is told now and then."""

import threading
from collections.abc import Callable
from typing import Final

from edgecell_runtime.errors import EngineError
from edgecell_runtime.records import dataclass

JOIN_SECONDS: Final = 5.0
MAX_WATTS: Final = 10_000.0
"""More is no computer's, but a number in another unit."""


@dataclass(frozen=True)
class Reading:
    """A meter's state at one moment.

    Attributes:
        seconds: The moment.
        joules: Since some beginning.
        samples: How often the power was told until then; None of a meter that counts energy.
    """

    seconds: float
    joules: float
    samples: int | None


class PowerIntegral:
    """The integral of power over time, by the trapezoidal rule; safe between threads."""

    def __init__(self, method: str, clock: Callable[[], float]) -> None:
        """Starts with no power known.

        Args:
            method: Who tells the power, for messages.
            clock: Seconds that never run backwards.
        """
        self._method = method
        self._clock = clock
        self._lock = threading.Lock()
        self._joules = 0.0
        self._samples = 0
        self._last = (0.0, 0.0)
        self._failure = ""

    def add(self, watts: float) -> None:
        """Takes the power of this moment.

        Raises:
            ValueError: It is no power of a computer.
        """
        if not 0 <= watts <= MAX_WATTS:  # nor a NaN
            raise ValueError(f"{watts} is no power of a computer in watts")
        with self._lock:
            now = self._clock()
            if self._samples:
                then, earlier = self._last
                self._joules += (now - then) * (watts + earlier) / 2
            self._last = (now, watts)
            self._samples += 1

    def fail(self, reason: str) -> None:
        """From now on every reading fails for this reason; the first reason stays."""
        with self._lock:
            self._failure = self._failure or reason

    @property
    def failure(self) -> str:
        """The reason; empty as long as there is none."""
        with self._lock:
            return self._failure

    def read(self, silence: float) -> Reading:
        """The energy until now; since the last sample, at its power.

        Args:
            silence: With no sample for so many seconds the meter has failed.

        Raises:
            EngineError: The meter failed.
        """
        with self._lock:
            now = self._clock()
            then, watts = self._last
            if self._failure:
                raise EngineError(self._failure)
            if not self._samples or now - then > silence:
                raise EngineError(f"{self._method} told no power for {silence:g} s")
            return Reading(now, self._joules + (now - then) * watts, self._samples)


class SampledMeter:
    """A sensor that tells power, looked at by a thread."""

    SILENCE_SECONDS: Final = 5.0

    def __init__(self, method: str, watts: Callable[[], float], clock: Callable[[], float]) -> None:
        """Starts no thread yet.

        Args:
            method: Its name.
            watts: Reads the sensor.
            clock: Seconds that never run backwards.
        """
        self.method = method
        self._watts = watts
        self._integral = PowerIntegral(method, clock)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, interval: float) -> None:
        """Looks at the sensor now, and every so many seconds until it fails or is closed."""
        self.sample()
        self._thread = threading.Thread(target=self._run, args=(interval,), daemon=True)
        self._thread.start()

    def sample(self) -> bool:
        """Looks once; False where the sensor failed."""
        try:
            self._integral.add(self._watts())
        except (OSError, ValueError) as error:
            self._integral.fail(f"{self.method} cannot be read: {error}")
            return False
        return True

    def read(self) -> Reading:
        """The energy since the first look.

        Raises:
            EngineError: The sensor failed.
        """
        return self._integral.read(self.SILENCE_SECONDS)

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self, interval: float) -> None:
        while not self._ended.wait(interval) and self.sample():
            pass
