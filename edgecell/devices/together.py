"""Several devices at once: each runs on its own, and one that fails ends no other."""

import threading
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
        UsageError: The job fits not one device.
    """
    outcomes: dict[int, Outcome] = {}
    stopped, speaking = threading.Event(), threading.Lock()
    _check(devices, job, outcomes, out)

    def visit(number: int, device: Device) -> None:
        def said(words: str) -> None:
            with speaking:
                say(device.name, words)

        outcomes[number] = _visit(device, Errand(job, _folder(out, number), said, stopped))

    threads = [
        threading.Thread(target=visit, args=(number, device), daemon=True)
        for number, device in enumerate(devices)
        if number not in outcomes
    ]
    try:
        for thread in threads:
            thread.start()
        _wait(threads)
    except BaseException:
        stopped.set()
        _wait([thread for thread in threads if thread.ident is not None])
        raise
    return tuple(outcomes[number] for number in range(len(devices)))


def _folder(out: Path, number: int) -> Path:
    return out / f"device-{number}"


def _check(devices: Sequence[Device], job: Path, outcomes: dict[int, Outcome], out: Path) -> None:
    """Refuses before anything slow what no device can run; what some cannot is their outcome."""
    refusals = []
    for number, device in enumerate(devices):
        try:
            device.check(job)
        except UsageError as error:
            refusals.append(error)
            outcomes[number] = Outcome(device.name, _folder(out, number), None, str(error))
    if refusals and len(refusals) == len(devices):
        raise refusals[0]


def _visit(device: Device, errand: Errand) -> Outcome:
    try:
        device.run(errand)
        data = (errand.out / RESULT_FILE).read_bytes()
        return Outcome(device.name, errand.out, codec.loads(Benchmark, data, "result"))
    except StoppedError:
        return Outcome(device.name, errand.out, None, "It was stopped.")
    except (EdgecellError, OSError) as error:
        return Outcome(device.name, errand.out, None, str(error))


def _wait(threads: Sequence[threading.Thread]) -> None:
    for thread in threads:
        while thread.is_alive():  # a join without a limit would not let Ctrl-C through everywhere
            thread.join(_POLL_SECONDS)
