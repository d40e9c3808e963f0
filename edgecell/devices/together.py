"""Several devices at once: each runs on its own, and one that fails ends no other."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell.devices.adb import AdbDevice
from edgecell.devices.address import parse_address
from edgecell.devices.base import (
    RESULT_FILE,
    Device,
    DeviceSettings,
    Errand,
    Manners,
    StoppedError,
)
from edgecell.devices.ssh import SshDevice
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.errors import EdgecellError, UsageError
from edgecell_runtime.printable import printable_name

_KINDS: Final[Mapping[str, Callable[[DeviceSettings, Manners], Device]]] = {
    "ssh": SshDevice,
    "adb": AdbDevice,
}
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True)
class Outcome:
    """What came of one device.

    Attributes:
        name: Of the device.
        out: Folder with its files.
        benchmark: Its result; None where it failed.
        reason: Why it failed; empty where it did not.
    """

    name: str
    out: Path
    benchmark: Benchmark | None
    reason: str = ""


def open_device(settings: DeviceSettings, manners: Manners) -> Device:
    """The device of an address.

    Raises:
        UsageError: The address or the settings make no sense.
    """
    return _KINDS[parse_address(settings.url).scheme](settings, manners)


def run_together(
    devices: Sequence[Device], job: Path, out: Path, say: Callable[[str, str], None]
) -> tuple[Outcome, ...]:
    """Runs a prepared job on every device at the same time.

    Interrupted, every device stops and tidies up before ``KeyboardInterrupt`` goes on; interrupted
    again, this machine does not wait for that, and each device tidies up by itself later.

    Args:
        devices: With different names.
        job: Folder of the job.
        out: Each device's files come into a folder of it, numbered in the devices' order.
        say: Takes a device's name and what happened there, from several threads, one at a time.

    Returns:
        One for each device, in their order.

    Raises:
        UsageError: Two are one device, or of one file name; or the job fits not one device.
    """
    check_distinct(devices)
    stopped, speaking = threading.Event(), threading.Lock()
    visits = [
        _Visit(
            device,
            Errand(job, _folder(out, number), _saying(say, device.name, speaking), stopped),
        )
        for number, device in enumerate(devices)
    ]
    _check(visits)
    try:
        for visit in visits:
            visit.start()
        _wait(visits)
    except BaseException:
        stopped.set()
        try:
            _wait([visit for visit in visits if visit.begun])
        except BaseException:
            for visit in visits:
                visit.device.abandon()
            raise
        raise
    return tuple(visit.outcome() for visit in visits)


def check_distinct(devices: Sequence[Device]) -> None:
    """Refuses devices that would disturb each other, or write over each other's files.

    Raises:
        UsageError: Two are one device, which would be measured twice at the same time, or their
            names make one file name.
    """
    places: dict[str, str] = {}
    files: dict[str, str] = {}
    for device in devices:
        name = device.name
        if device.place in places:
            other = places[device.place]
            named = f"{name} is named twice" if name == other else f"{other} and {name} are one"
            raise UsageError(
                f"{named}; expected different devices, since two benchmarks on one at the same "
                "time disturb each other. Leave one out."
            )
        file = file_name_of(name).casefold()  # some file systems take both cases for one
        if file in files:
            raise UsageError(
                f"{files[file]} and {name} would write one file, because a file name cannot hold "
                "all of a name. Give them other names in a fleet file (--fleet)."
            )
        places[device.place] = files[file] = name


def file_name_of(name: str) -> str:
    """What of a device's name stands in the names of its files."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name.rpartition("//")[2])


class _Visit:
    """One device's run in a thread of its own.

    Attributes:
        device: That runs.
        errand: What it runs.
        begun: Whether its thread runs, or ran; where not, it finds out first that it was stopped.
        ended: Whether there is nothing more to wait for. It is not asked of the thread: where
            Ctrl-C ends a ``join`` with a limit, Python 3.11 and 3.12 take the thread for ended.
    """

    def __init__(self, device: Device, errand: Errand) -> None:
        self.device, self.errand = device, errand
        self.begun = self.ended = False
        self._outcome: Outcome | None = None
        self._mistake: BaseException | None = None

    def refuse(self, reason: str) -> None:
        """Ends it before it begins."""
        self._outcome, self.ended = self._failed(reason), True

    def start(self) -> None:
        """Starts the thread, unless it was refused."""
        if not self.ended:
            threading.Thread(target=self._run, daemon=True).start()

    def outcome(self) -> Outcome:
        """What came of it."""
        if self._mistake is not None:
            raise self._mistake
        assert self._outcome is not None
        return self._outcome

    def _run(self) -> None:
        self.begun = True  # before it looks whether it was stopped
        try:
            self._outcome = self._visited()
        except BaseException as error:  # noqa: BLE001 - it is raised where one waits
            self._mistake = error
        finally:
            self.ended = True

    def _visited(self) -> Outcome:
        errand = self.errand
        try:
            errand.check_wanted()
            self.device.run(errand)
            data = (errand.out / RESULT_FILE).read_bytes()
            found = codec.loads(Benchmark, data, "result")
            return Outcome(self.device.name, errand.out, found)
        except StoppedError:
            return self._failed("It was stopped.")
        except (EdgecellError, OSError) as error:
            return self._failed(str(error))

    def _failed(self, reason: str) -> Outcome:
        # The device, or what reaches it, may have said some of the words.
        return Outcome(self.device.name, self.errand.out, None, printable_name(reason))


def _folder(out: Path, number: int) -> Path:
    return out / f"device-{number}"


def _saying(
    say: Callable[[str, str], None], name: str, one: threading.Lock
) -> Callable[[str], None]:
    """Passes on what happens at a device, whatever was said there, one at a time."""

    def said(words: str) -> None:
        with one:
            say(name, printable_name(words))

    return said


def _check(visits: Sequence[_Visit]) -> None:
    """Refuses before anything slow what no device can run; what some cannot is their outcome."""
    refusals = []
    for visit in visits:
        try:
            visit.device.check(visit.errand.job)
        except UsageError as error:
            refusals.append(error)
            visit.refuse(str(error))
    if refusals and len(refusals) == len(visits):
        raise UsageError(printable_name(str(refusals[0]))) from refusals[0]


def _wait(visits: Sequence[_Visit]) -> None:
    """Waits for the ends by sleeping, which is all that Ctrl-C ends at once on every system."""
    while not all(visit.ended for visit in visits):
        time.sleep(_POLL_SECONDS)
