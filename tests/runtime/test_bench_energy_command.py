"""A meter that a user's command reads: commands that work, and commands that misbehave."""

import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.laid_out_machine import Clock

from edgecell_runtime.bench.energy import Meter, find_meter
from edgecell_runtime.bench.power_command import PowerCommand
from edgecell_runtime.errors import EngineError, UsageError


def _python(program: str) -> str:
    return shlex.join([sys.executable, "-c", program])


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def going_on(clock: Clock) -> Iterator[Meter]:
    program = "import time\nwhile True: print('2.5 W', flush=True); time.sleep(0.005)"
    found = find_meter(_python(program), clock=clock)
    assert found.meter is not None
    yield found.meter
    found.meter.close()


def test_command_that_goes_on_is_integrated(going_on: Meter, clock: Clock) -> None:
    before = going_on.read()
    clock.now += 4
    assert going_on.read().joules - before.joules == pytest.approx(10.0)
    assert going_on.method.startswith("the command `")


def test_command_that_ends_is_started_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = f"open({str(log)!r}, 'a').write('x'); print(1.5)"
    meter = PowerCommand(_python(program), time.monotonic, again=0.0)
    try:
        deadline = time.monotonic() + 30
        while (meter.read().samples or 0) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        meter.close()
    assert len(log.read_text()) >= 3


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-command-anywhere", "`no-such-command-anywhere` failed: .*No such file"),
        (_python("raise SystemExit(3)"), "ended with status 3 after 0 numbers"),
        (_python("pass"), "ended with status 0 after 0 numbers"),
        (_python("print('a lot')"), "it printed 'a lot'"),
        (_python("print('2.5 mW')"), "it printed '2.5 mW'"),
        (_python("print('nan')"), "nan is no power of a computer"),
        (_python("print('9' * 100_000)"), "it printed '999|inf is no power|e\\+\\d+ is no power"),
        ("'", "No closing quotation"),
        ("  ", "is empty"),
    ],
)
def test_command_that_tells_no_watts_is_refused(command: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find_meter(command)


def test_command_that_hangs_is_ended_with_what_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    inner = _python("import time; time.sleep(600)")
    command = shlex.join(["sh", "-c", f"{inner} & echo $! > {note}; wait"])
    with pytest.raises(UsageError, match="printed no watts within 1 s"):
        PowerCommand(command, time.monotonic, silence=1.0)
    pid = int(note.read_text())
    deadline = time.monotonic() + 30
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def test_command_that_fails_on_the_way_makes_readings_fail(tmp_path: Path) -> None:
    once = tmp_path / "once"
    program = (
        f"import pathlib; path = pathlib.Path({str(once)!r})\n"
        "if path.exists(): raise SystemExit(4)\n"
        "path.touch(); print(1)"
    )
    meter = PowerCommand(_python(program), Clock(), again=0.0)
    try:
        with pytest.raises(EngineError, match="ended with status 4"):
            _read_for_long(meter)
    finally:
        meter.close()


def _read_for_long(meter: Meter) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        meter.read()
        time.sleep(0.01)


def test_command_that_falls_silent_is_named() -> None:
    clock = Clock()
    command = _python("import time; print(1, flush=True); time.sleep(600)")
    meter = PowerCommand(command, clock)
    try:
        clock.now += 10.1
        with pytest.raises(EngineError, match=r"the command `.*` told no power for 10 s"):
            meter.read()
    finally:
        meter.close()


def test_closing_ends_the_command(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    program = (
        f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid()))\n"
        "print(1, flush=True); time.sleep(600)"
    )
    meter = PowerCommand(_python(program), time.monotonic)
    pid = int(note.read_text())
    assert _lives(pid)
    meter.close()
    assert not _lives(pid)
