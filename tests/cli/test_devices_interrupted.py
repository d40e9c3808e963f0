"""Ctrl-C and its like, while devices work: each tidies up before the command ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest
from support.bench_job import write_job

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the signals are POSIX's")

TWO_DEVICES = """
import os, sys, time
from pathlib import Path
from edgecell import interrupts
from edgecell.devices import together
from edgecell.devices.base import StoppedError

class Slow:
    def __init__(self, name):
        self.name = self.place = name

    def check(self, job):
        pass

    def abandon(self):
        os.write(1, b"abandoned\\n")

    def run(self, errand):
        time.sleep(0.5)  # by now the main thread waits
        os.write(1, b"works\\n")  # whole lines, from two threads
        errand.stopped.wait(60)
        os.write(1, b"told\\n")
        if self.name == "a":  # which is waited for first
            time.sleep(float(sys.argv[2]))
        os.write(1, b"tidied\\n")
        raise StoppedError("stopped")

interrupts.raise_when_told()
try:
    devices = [Slow("a"), Slow("b")]
    together.run_together(devices, Path(sys.argv[1]), Path(sys.argv[1]), lambda *_: None)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    interrupts.leave(interrupts.status())
"""


def start(job: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TWO_DEVICES, str(job), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def lines(stream: IO[str] | None, count: int) -> list[str]:
    assert stream is not None
    return [stream.readline().strip() for _ in range(count)]


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
def test_signal_lets_every_device_tidy_up_first(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    child = start(write_job(tmp_path / "job"), 1.0)
    assert lines(child.stdout, 2) == ["works", "works"]
    child.send_signal(number)
    said = child.communicate(timeout=60)[0].split()
    assert sorted(said[:-1]) == ["tidied", "tidied", "told", "told"]
    assert said[-1] == "interrupted"
    assert child.returncode == status


def test_second_signal_waits_for_no_device(tmp_path: Path) -> None:
    child = start(write_job(tmp_path / "job"), 60)
    assert lines(child.stdout, 2) == ["works", "works"]
    child.send_signal(signal.SIGINT)
    assert set(lines(child.stdout, 3)) == {"told", "tidied"}  # the second is done
    child.send_signal(signal.SIGINT)
    assert child.communicate(timeout=30)[0].split() == ["abandoned", "abandoned", "interrupted"]
