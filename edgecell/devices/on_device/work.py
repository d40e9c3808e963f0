"""Makes the virtual environment on a device where one is wanted, then measures.

``agent.py`` starts it. It writes an event a line to the file ``log``: ``stage`` (words),
``progress`` (a line of the measuring's own), ``lacking`` (an engine that has no wheel), and at last
``end``: ``done``, or the kind of failure, with words of the program that failed.
"""

import errno
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

UNREACHABLE = r"NewConnectionError|ConnectTimeout|ReadTimeout|name resolution|unreachable"
MOST_WORDS = 500
FULL_BYTES = 1 << 20  # with less, even an error message may find no room

Say = Callable[..., None]


class FailedError(Exception):
    """The work cannot go on, by a kind that the workstation has a sentence for."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind, self.words = kind, words


def main(folder: Path) -> None:
    """Does the work and writes how it ended."""
    with (folder / "log").open("a", encoding="utf-8") as log:

        def say(**event: str) -> None:
            log.write(json.dumps(event) + "\n")
            log.flush()

        try:
            task = json.loads((folder / "work.json").read_text(encoding="utf-8"))
            surround(folder)
            python = task["venv"] or make_environment(folder, task, say)
            measure(folder, python, say)
            say(end="done")
        except FailedError as error:
            say(end=error.kind, words=error.words)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            say(end="disk_full" if full else "failed", words=str(error))


def surround(folder: Path) -> None:
    """What is written while working lands in the folder, and what is read is what was sent."""
    os.environ.update(
        PYTHONPATH=str(folder / "runtime"),
        TMPDIR=str(folder / "tmp"),
        XDG_CACHE_HOME=str(folder / "cache"),
        PIP_NO_CACHE_DIR="1",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
        LC_ALL="C.UTF-8",
    )
    os.chdir(folder / "tmp")


def make_environment(folder: Path, task: dict[str, list[str]], say: Say) -> str:
    """Makes a virtual environment with the base and the engines; gives its interpreter."""
    say(stage=f"making a virtual environment with Python {platform.python_version()}")
    status, text = run([sys.executable, "-m", "venv", str(folder / "venv")])
    if status != 0:
        raise FailedError(space_or("no_venv", text), last_line(text))
    python = str(folder / "venv" / "bin" / "python")
    say(stage="installing " + " and ".join(task["base"]))
    install(folder, task, python, task["base"])
    lacking = 0
    for engine in task["engines"]:
        say(stage=f"installing {engine}")
        try:
            install(folder, task, python, [engine])
        except FailedError as error:
            lacking += 1
            if error.kind != "no_wheel" or lacking == len(task["engines"]):
                raise
            say(lacking=engine)
    return python


def install(folder: Path, task: dict[str, list[str]], python: str, names: list[str]) -> None:
    """Installs wheels only: a device would build for hours, where it can at all."""
    command = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    command += ["--retries", "1", "--timeout", "20"]
    if task["wheelhouse"]:
        command += ["--no-index", "--find-links", str(folder / "wheels")]
    status, text = run([*command, *names])
    if status == 0:
        return
    if not task["wheelhouse"] and re.search(UNREACHABLE, text):
        raise FailedError(space_or("no_network", text), " ".join(names))
    missing = re.findall(r"No matching distribution found for ([^\s(]+)", text)
    if missing:
        raise FailedError(space_or("no_wheel", text), missing[-1])
    raise FailedError(space_or("pip_failed", text), last_line(text))


def measure(folder: Path, python: str, say: Say) -> None:
    """Runs the benchmark; what it prints becomes events."""
    status, text = run([python, "-c", "import numpy, PIL"])
    if status != 0:
        raise FailedError("incomplete", last_line(text))
    say(stage="measuring")
    errors = folder / "errors"
    with errors.open("wb") as stderr:
        child = subprocess.Popen(
            [python, "-m", "edgecell_runtime.bench", str(folder / "job"), str(folder / "out")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
    assert child.stdout is not None
    for line in child.stdout:
        say(progress=line.decode("utf-8", "replace").rstrip("\n"))
    status = child.wait()
    text = errors.read_bytes().decode("utf-8", "replace")
    if status != 0 and shutil.disk_usage(folder).free < FULL_BYTES:
        raise FailedError("disk_full", last_line(text) or "0 MB free")
    if status < 0:
        raise FailedError("killed", signal.Signals(-status).name)
    if status != 0:
        words = last_line(text) or f"exit status {status}"
        raise FailedError(space_or("bench_failed", text), words)


def run(command: list[str]) -> tuple[int, str]:
    """Runs a program to its end; gives its status and all that it printed."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return done.returncode, done.stdout.decode("utf-8", "replace")


def last_line(text: str) -> str:
    """What a program said last; pip's errors before its notices."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or [""])[-1][:MOST_WORDS]


def space_or(kind: str, text: str) -> str:
    """The kind, unless the disk was full."""
    return "disk_full" if "No space left" in text or "Disk quota exceeded" in text else kind


if __name__ == "__main__":
    main(Path(sys.argv[1]))
