"""Ctrl-C and SIGTERM at any time: a status as shells have it, one sentence, no traceback."""

import os
import subprocess
import sys

import pytest
from support.command_line import invoke

from edgecell import console

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the signals are POSIX's")

SAID = "Error: Interrupted; no file was left half written.\n"

SIGNALLED = """
import builtins, os, signal, sys

number, module = signal.Signals[sys.argv.pop(1)], sys.argv.pop(1)
find = builtins.__import__

def importing(name, *rest):
    if name == module:
        os.kill(os.getpid(), number)
    return find(name, *rest)

builtins.__import__ = importing
from edgecell.__main__ import main
main()
"""

IN_A_LIBRARY = """
import signal
from edgecell.__main__ import main
from edgecell.tasks import listing_presets

def document():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ImportError("the library could not be imported") from error

listing_presets.document = document
main()
"""

IN_A_DESTRUCTOR = """
import signal, sys, time
from edgecell.__main__ import main
from edgecell.tasks import listing_presets

number = signal.Signals[sys.argv.pop(1)]

class Dying:
    def __del__(self):
        signal.raise_signal(number)

def document():
    Dying()
    time.sleep(30)

listing_presets.document = document
main()
"""


def _ended(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("module", ["edgecell.cli", "numpy", "typer", "edgecell_train.presets"])
@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interrupted_import_ends_with_the_signals_status_and_no_traceback(
    module: str, number: str, status: int
) -> None:
    done = _ended(SIGNALLED, number, module, "presets")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", SAID)


def test_interrupt_that_a_library_turns_into_its_own_error_stays_one() -> None:
    done = _ended(IN_A_LIBRARY, "presets")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", SAID)


def test_second_signal_while_the_command_ends_gives_no_traceback() -> None:
    program = SIGNALLED.replace(
        "from edgecell.__main__ import main",
        "from edgecell import console, interrupts\n"
        "from edgecell.__main__ import main\n"
        "console.error = lambda text: os.kill(os.getpid(), number)",
    )
    done = _ended(program, "SIGTERM", "edgecell_train.presets", "presets")
    assert (done.returncode, done.stderr) == (143, "")


@pytest.mark.parametrize("where", ["before", "after"])
@pytest.mark.parametrize("option", ["--quiet", "-q"])
def test_quiet_is_taken_before_and_after_the_command(
    where: str, option: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet: list[bool] = []
    monkeypatch.setattr(console, "set_quiet", quiet.append)
    words = (option, "presets") if where == "before" else ("presets", option)
    assert invoke(capsys, *words).status == 0
    assert quiet[-1] is True
    assert invoke(capsys, "presets").status == 0
    assert quiet[-1] is False


def test_every_command_takes_quiet_the_nested_ones_too(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (("train",), ("predict",), ("data", "download")):
        assert "--quiet" in invoke(capsys, *command, "--help").out


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_interrupt_that_a_destructor_swallows_comes_again(number: str, status: int) -> None:
    done = _ended(IN_A_DESTRUCTOR, number, "presets", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", SAID)
