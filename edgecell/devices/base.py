"""What every kind of device offers, and what it is told."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from edgecell_runtime.errors import EdgecellError

RESULT_FILE: Final = "benchmark.json"
ANSWERS_FILE: Final = "answers.npz"


class DeviceError(EdgecellError):
    """A device cannot be reached, lacks something, or failed."""


class StoppedError(EdgecellError):
    """The user stopped the command; no sentence of it is shown."""


@dataclass(frozen=True)
class Errand:
    """One benchmark on one device.

    Attributes:
        job: Folder of the job: ``job.json`` (``plan.Job``), its inputs and its artifacts.
        out: Folder that the results are put into; it is made.
        say: Takes what happens, one line for people each.
        stopped: Set by whoever wants the device to stop and to tidy up.
    """

    job: Path
    out: Path
    say: Callable[[str], None]
    stopped: threading.Event = field(default_factory=threading.Event)

    def check_wanted(self) -> None:
        """Ends the errand where the user stopped it.

        Raises:
            StoppedError: It was stopped.
        """
        if self.stopped.is_set():
            raise StoppedError("The benchmark was stopped.")


class Device(Protocol):
    """A machine that can run a benchmark."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def place(self) -> str:
        """Where it is; two of one place are one device."""

    def check(self, job: Path) -> None:
        """Refuses a job that this device cannot run, before anything slow.

        Raises:
            UsageError: The job or the device's settings do not fit.
        """

    def run(self, errand: Errand) -> None:
        """Runs a job there, brings its results back, and leaves nothing there.

        ``errand.out`` holds ``benchmark.json`` afterwards and, where there are answers,
        ``answers.npz``.

        Raises:
            DeviceError: It could not be reached, or failed; the sentence says what to do.
            StoppedError: The user stopped it.
        """

    def abandon(self) -> None:
        """Ends at once what a run left to itself has here; this process ends right after."""


@dataclass(frozen=True)
class DeviceSettings:
    """A device as the user names it.

    Attributes:
        name: What people call it; unique in a table.
        url: ``ssh://user@host[:port]`` or ``adb://serial``.
        python: Interpreter there that makes the virtual environment; empty takes the newest.
        venv: Virtual environment there that is used as it is; empty makes a new one.
        folder: There, for the private folder; empty takes the home folder (adb: its temporary one).
        wheelhouse: Folder here with wheels for a device without a network.
        ssh_config: Read by ``ssh`` in place of the user's.
        benchmark_model: LiteRT's tool for that device (adb).
    """

    name: str
    url: str
    python: str = ""
    venv: str = ""
    folder: str = ""
    wheelhouse: Path | None = None
    ssh_config: Path | None = None
    benchmark_model: Path | None = None


@dataclass(frozen=True)
class Manners:
    """How devices are used.

    Attributes:
        keep: Leave the private folder there.
        send_images: Whether the user said that patients' or their own images may travel.
        connect_seconds: That a host may take to answer.
        alive_seconds: Between two signs of life; three that fail are a lost connection.
        lost_seconds: That a lost connection is tried again for.
        lease_seconds: After which a device that hears nothing more stops and tidies up.
    """

    keep: bool = False
    send_images: bool = False
    connect_seconds: int = 15
    alive_seconds: int = 10
    lost_seconds: float = 300.0
    lease_seconds: float = 900.0
