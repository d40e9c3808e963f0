"""What ``edgecell doctor`` looks at: the parts of edgecell, the engines, the machine."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from edgecell_runtime.engines import ENGINES
from edgecell_runtime.printable import printable_name
from edgecell_runtime.system import SystemInfo, describe_system

PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "cli": ("typer", "rich", "httpx"),
    "tflite": ("ai-edge-litert",),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "train": (
        *("tensorflow", "keras", "scikit-learn", "scipy", "matplotlib", "jinja2"),
        *("h5py", "tomli-w", "platformdirs"),
    ),
    "export": ("ai-edge-litert", "onnxruntime", "tensorflow", "keras", "tf2onnx", "onnx"),
}
"""The distributions that each extra installs, as ``pyproject.toml`` has them."""

_PATIENCE_SECONDS: Final = 120
_DEFAULT_BACKEND: Final = "tensorflow"
_GPU_PROGRAM: Final = (
    "import tensorflow\n"
    "for gpu in tensorflow.config.list_physical_devices('GPU'):\n"
    "    details = tensorflow.config.experimental.get_device_details(gpu)\n"
    "    print('GPU', details.get('device_name', gpu.name))\n"
)


@dataclass(frozen=True)
class Part:
    """An optional part of edgecell.

    Attributes:
        name: Of the extra.
        installed: Whether all its distributions are there.
        versions: Of those that are, by name.
        missing: Those that are not.
        install: The command that installs it.
    """

    name: str
    installed: bool
    versions: Mapping[str, str]
    missing: tuple[str, ...]
    install: str


@dataclass(frozen=True)
class EngineCheck:
    """An inference library, tried out.

    Attributes:
        name: Of the engine.
        formats: What it runs.
        installed: Whether its library is there.
        works: Whether its library could be imported.
        detail: The reason where it does not work.
    """

    name: str
    formats: tuple[str, ...]
    installed: bool
    works: bool
    detail: str


@dataclass(frozen=True)
class GpuCheck:
    """GPUs as TensorFlow sees them.

    Attributes:
        names: Of the GPUs.
        detail: Why TensorFlow could not be asked; empty where it could.
    """

    names: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class Diagnosis:
    """All that was found.

    Attributes:
        edgecell: Its version.
        system: The machine and the software on it.
        parts: The optional parts.
        engines: The engines.
        keras_backend: Which library Keras would compute with, and what says so.
        gpu: None where TensorFlow was not asked.
    """

    edgecell: str
    system: SystemInfo
    parts: tuple[Part, ...]
    engines: tuple[EngineCheck, ...]
    keras_backend: str
    gpu: GpuCheck | None

    @property
    def broken(self) -> tuple[EngineCheck, ...]:
        """Engines that are installed and do not work."""
        return tuple(check for check in self.engines if check.installed and not check.works)


def diagnose(*, ask_gpu: bool) -> Diagnosis:
    """Looks at everything.

    Args:
        ask_gpu: Import TensorFlow, which takes seconds, to see its GPUs.
    """
    return Diagnosis(
        edgecell=_version("edgecell") or "not installed",
        system=describe_system(),
        parts=tuple(check_part(name, PARTS[name]) for name in PARTS),
        engines=check_engines(),
        keras_backend=keras_backend(os.environ),
        gpu=check_gpu() if ask_gpu else None,
    )


def check_part(name: str, distributions: tuple[str, ...]) -> Part:
    """Looks for the distributions of an extra; imports none."""
    found = {item: _version(item) for item in distributions}
    missing = tuple(item for item, version in found.items() if version is None)
    versions = {item: version for item, version in found.items() if version is not None}
    return Part(name, not missing, versions, missing, f"pip install 'edgecell[{name}]'")


def check_engines() -> tuple[EngineCheck, ...]:
    """Imports each engine's library, in a process of its own: a library may end its process."""
    checks = []
    for engine in ENGINES.values():
        installed = all(_version(item) is not None for item in PARTS[engine.extra])
        detail = f"not installed: pip install 'edgecell[{engine.extra}]'"
        if installed:
            _, detail = _run_python(f"import {engine.module}")
        checks.append(
            EngineCheck(engine.name, engine.formats, installed, installed and not detail, detail)
        )
    return tuple(checks)


def check_gpu() -> GpuCheck:
    """Asks TensorFlow, in a process of its own."""
    if _version("tensorflow") is None:
        return GpuCheck((), "TensorFlow is not installed: pip install 'edgecell[train]'")
    printed, detail = _run_python(_GPU_PROGRAM)
    lines = [line for line in printed.splitlines() if line.startswith("GPU ")]
    return GpuCheck(tuple(line.removeprefix("GPU ") for line in lines), detail)


def keras_backend(environment: Mapping[str, str]) -> str:
    """The backend that Keras would take, and what says so; Keras is not imported.

    Args:
        environment: Environment variables.
    """
    if environment.get("KERAS_BACKEND"):
        return f"{environment['KERAS_BACKEND']} (KERAS_BACKEND)"
    home = environment.get("KERAS_HOME")
    file = (Path(home) if home else Path("~/.keras").expanduser()) / "keras.json"
    try:
        settings = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return f"{_DEFAULT_BACKEND} (Keras's default)"
    named = settings.get("backend") if isinstance(settings, dict) else None
    return f"{named} ({file})" if named else f"{_DEFAULT_BACKEND} (Keras's default)"


def _run_python(program: str) -> tuple[str, str]:
    """Runs a program in this interpreter's kind.

    Returns:
        What it printed, and why it failed; the latter is empty where it did not.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_SECONDS,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer after {_PATIENCE_SECONDS} seconds"
    except OSError as error:
        return "", f"no process could be started: {error}"
    if done.returncode < 0:
        return done.stdout, f"ended its process with {_signal_name(-done.returncode)}"
    if done.returncode > 0:
        last = done.stderr.strip().rpartition("\n")[2]
        return done.stdout, printable_name(last) or f"exit status {done.returncode}"
    return done.stdout, ""


def _signal_name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    hint = "; it may be built for a newer processor" if name == "SIGILL" else ""
    return f"{name}{hint}"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
