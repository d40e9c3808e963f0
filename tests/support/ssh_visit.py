"""A device behind the loopback's ``sshd``, and what a benchmark there did."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgecell.devices.base import DeviceSettings, Errand, Manners
from edgecell.devices.ssh import SshDevice
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark
from support.ssh_server import SshServer

QUICK = Manners(connect_seconds=5, alive_seconds=1, lost_seconds=30, lease_seconds=60)


class Visit:
    """A device, a job for it, and what was said."""

    def __init__(self, server: SshServer, folder: Path) -> None:
        self.server, self.folder = server, folder
        self.said: list[str] = []
        self.heard = threading.Event()
        self.stopped = threading.Event()
        self.remote = folder / "remote"
        self.remote.mkdir()
        self.venv = folder / "venv"
        (self.venv / "bin").mkdir(parents=True)
        (self.venv / "bin" / "python").symlink_to(sys.executable)
        self.settings: dict[str, object] = {"venv": str(self.venv)}

    def device(self, manners: Manners = QUICK) -> SshDevice:
        settings: dict[str, object] = {
            "name": "pi",
            "url": self.server.url,
            "folder": str(self.remote),
            "ssh_config": self.server.config,
            **self.settings,
        }
        return SshDevice(DeviceSettings(**settings), manners)  # type: ignore[arg-type]

    def run(self, job: Path, manners: Manners = QUICK) -> None:
        self.device(manners).run(Errand(job, self.folder / "out", self.say, self.stopped))

    def say(self, words: str) -> None:
        self.said.append(words)
        if words.endswith("query 3"):
            self.heard.set()

    def result(self) -> Benchmark:
        return codec.loads(Benchmark, (self.folder / "out/benchmark.json").read_bytes(), "result")

    def in_background(self, job: Path, manners: Manners = QUICK) -> Callable[[], Exception | None]:
        """Starts a run, waits until it measures, and gives what waits for its end."""
        failures: list[Exception] = []

        def body() -> None:
            try:
                self.run(job, manners)
            except Exception as error:  # noqa: BLE001 - it is looked at by the test
                failures.append(error)
                self.heard.set()

        thread = threading.Thread(target=body)
        thread.start()
        assert self.heard.wait(30), self.said

        def join() -> Exception | None:
            thread.join(60)
            assert not thread.is_alive()
            return failures[0] if failures else None

        return join

    def left(self) -> list[str]:
        return sorted(path.name for path in self.remote.iterdir())

    def processes(self) -> dict[int, str]:
        """Command lines of all processes that belong to the device's private folder, by number."""
        return processes_with(str(self.remote))


def processes_with(text: str) -> dict[int, str]:
    """Command lines of all processes that have a text in it, by number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if text in line:
                found[int(entry.name)] = line
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it did not happen")
