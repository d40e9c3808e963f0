"""What the programs on a device answer, and how their failures read."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

from edgecell.devices.base import DeviceError, DeviceSettings
from edgecell.devices.payload import BASE_REQUIREMENTS, download_command
from edgecell_runtime import codec
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.printable import printable_name

OLDEST_PYTHON: Final = (3, 11)
MARK: Final = b"edgecell-answers\n"
"""Stands before an answer; a login shell may have printed before it."""

_NEWER: Final = range(20, OLDEST_PYTHON[1] - 1, -1)
_NO_PYTHON: Final = "edgecell-no-python"
_START: Final = "import sys; SOURCE = sys.stdin.read(); exec(SOURCE)"


@dataclass(frozen=True)
class There:
    """A private folder on a device, and what is around it.

    Attributes:
        folder: Its absolute path.
        python: The interpreter that runs the programs there.
        version: Of that interpreter.
        machine: As wheels name it, such as ``aarch64``.
        libc: ``glibc`` or ``musl``.
    """

    folder: str
    python: str
    version: str
    machine: str
    libc: str

    def finish_command(self, keep: str) -> str:
        """Ends all there; the program comes on standard input, since the folder may be gone."""
        return shlex.join([self.python, "-c", _START, "finish", keep, self.folder])

    def command(self, name: str, *arguments: str) -> str:
        """A call of the program there, for the login shell."""
        return shlex.join([self.python, f"{self.folder}/agent.py", name, *arguments, self.folder])


def program(name: str) -> bytes:
    """One of the programs that are copied to a device."""
    return resources.files("edgecell.devices.on_device").joinpath(name).read_bytes()


def begin_command(settings: DeviceSettings, name: str, lease_seconds: float, keep: str) -> str:
    """Finds a Python that is new enough and starts the program that comes on standard input."""
    named = f"{settings.venv}/bin/python" if settings.venv else settings.python
    names = [named] if named else ["python3", *(f"python3.{minor}" for minor in _NEWER)]
    new_enough = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    begin = ["begin", settings.folder or "~", name, str(lease_seconds), keep]
    start = shlex.join(["-c", _START, *begin])
    script = "\n".join(
        [
            f"for p in {shlex.join(names)}; do",
            f'"$p" -c "{new_enough}" >/dev/null 2>&1 && exec "$p" {start}',
            "done",
            f"echo {_NO_PYTHON}; {shlex.quote(names[0])} --version 2>&1",
        ]
    )
    return f"exec sh -c {shlex.quote(script)}"


def check_python(printed: bytes, settings: DeviceSettings) -> None:
    """Refuses a device whose Python is missing or too old.

    Raises:
        DeviceError: It is; the sentence says what to do.
    """
    text = printed.decode("utf-8", "replace")
    if _NO_PYTHON not in text:
        return
    said = text.partition(_NO_PYTHON)[2].strip()
    wanted = ".".join(map(str, OLDEST_PYTHON))
    named = settings.venv or settings.python or "python3"
    lacks = f"{settings.name} has no Python {wanted} or newer at {named}; it is needed there."
    cure = (
        "Install one there, such as: sudo apt-get install python3 python3-venv, or name one with "
        "--python (a fleet file: python)."
    )
    if settings.venv:
        lacks = f"{settings.name} has no virtual environment with Python {wanted} at {named}."
        cure = "Name one that is there, or leave --venv out (a fleet file: venv): one is made then."
    if said.startswith("Python "):
        lacks = f"{named} on {settings.name} is {said}, expected {wanted} or newer."
    raise DeviceError(f"{lacks} {cure}")


def after_mark(chunks: Iterator[bytes], before: bytearray) -> Iterator[bytes]:
    """What follows the mark; what stands before it is put into ``before``."""
    found = False
    for chunk in chunks:
        if found:
            yield chunk
            continue
        before += chunk
        start = before.find(MARK)
        if start >= 0:
            found = True
            rest = bytes(before[start + len(MARK) :])
            del before[start:]
            yield rest


def lines_of(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines, without their ends, as they come."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines


def parse(line: bytes, where: str) -> Mapping[str, codec.Json]:
    """One JSON object of a device's answer.

    Raises:
        ManifestError: It is none.
    """
    try:
        document = json.loads(line)
    except ValueError as error:
        raise ManifestError(f"{where} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise ManifestError(f"{where} is {type(document).__name__}, expected an object.")
    return document


def read_result(data: bytes, name: str) -> Benchmark:
    """A device's result, whose texts move no cursor where they are shown.

    Raises:
        DeviceError: It is none.
    """
    try:
        found = codec.loads(Benchmark, data, "result")
        return codec.decode(Benchmark, _printable(codec.encode(found)), "result")
    except ManifestError as error:
        raise DeviceError(f"{name} gave no usable result: {error}") from error


def _printable(document: codec.Json) -> codec.Json:
    if isinstance(document, str):
        return printable_name(document)
    if isinstance(document, list):
        return [_printable(item) for item in document]
    if isinstance(document, dict):
        return {printable_name(key): _printable(item) for key, item in document.items()}
    return document


def progress_words(line: str) -> str:
    """A line of the measuring's progress, for people."""
    try:
        event = parse(line.encode(), "progress")
        return printable_name(f"{float(str(event['done'])):.0%} {event['words']}")
    except (ManifestError, KeyError, ValueError):
        return printable_name(line)  # an engine may print


_SENTENCES: Final[Mapping[str, str]] = {
    "no_folder": "There is no folder {words} on {name}. Make it there, or name another one with "
    "--remote-folder (a fleet file: folder).",
    "no_permission": "{name} does not let its user write in {words}. Change that there, or name "
    "another folder with --remote-folder (a fleet file: folder).",
    "disk_full": "{name} has no space left in {folder} ({words}). Free some there, or name a "
    "folder on another disk with --remote-folder (a fleet file: folder).",
    "no_venv": "{name} cannot make a virtual environment with {python}: {words}. Install its venv "
    "module, such as: sudo apt-get install python3-venv, or name an environment that has what is "
    "needed with --venv.",
    "no_network": "{name} reaches no package index, so {words} cannot be installed there. Collect "
    "the wheels here and name the folder with --wheelhouse: {download}",
    "no_wheel": "There is no wheel of {words} for Python {version} on {machine} ({libc}), which is "
    "what {name} has. Use another Python there (--python), an environment that has it "
    "(--venv), or artifacts of another format.",
    "no_wheel_here": "The wheelhouse {wheelhouse} lacks {words} for Python {version} on {machine}, "
    "which is what {name} has. Fill it where there is a network: {download}",
    "pip_failed": "pip failed on {name}: {words}. Mend that, or name an environment that has what "
    "is needed with --venv.",
    "incomplete": "The environment {python} on {name} lacks what the measuring needs: {words}. "
    "Install numpy, pillow and the engine there, or leave --venv out.",
    "killed": "The measuring on {name} was ended by {words} from outside; SIGKILL mostly means "
    "that memory ran out. Measure fewer or smaller artifacts, or look into its system log.",
    "vanished": "The measuring on {name} ended without a word ({words} on its disk): it was "
    "killed, or the device started anew. Run the command again; look into its system log.",
    "gone": "The private folder on {name} was removed while it was in use ({words}): a connection "
    "was lost for longer than it waits. Run the command again.",
    "bench_failed": "The measuring on {name} failed: {words}.",
}


def failure(
    kind: str,
    words: str,
    settings: DeviceSettings,
    there: There | None = None,
    engines: Sequence[str] = (),
) -> DeviceError:
    """The sentence for a failure on a device.

    Args:
        kind: As the programs there name it.
        words: Of what failed there.
        settings: Of the device.
        there: What is known of it; None where it failed before it said so.
        engines: What pip is to install beside the base.
    """
    wheelhouse = settings.wheelhouse
    if kind == "no_wheel" and wheelhouse is not None:
        kind = "no_wheel_here"
    version, machine, libc = (
        (there.version, there.machine, there.libc) if there else ("3.11", "aarch64", "glibc")
    )
    wanted = (*BASE_REQUIREMENTS, *engines)
    text = _SENTENCES.get(kind, "{name} failed: {words}.").format(
        name=settings.name,
        folder=there.folder if there else settings.folder or "its home folder",
        words=words.strip().removeprefix("Error: ").rstrip("."),
        python=settings.venv or (there.python if there else "python3"),
        version=version,
        machine=machine,
        libc=libc,
        wheelhouse=wheelhouse,
        download=download_command(machine, version, libc, wanted, str(wheelhouse or "wheels")),
    )
    return DeviceError(printable_name(text))
