"""What a measurement ran on: a latency without its machine says nothing."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from edgecell_runtime.threads import allowed_cpus

_ROOT = Path("/")

CPU_FLAGS: Final = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
)
"""Instruction sets that decide how fast, and on some engines how exact, int8 arithmetic is."""

PACKAGES: Final = (
    "edgecell",
    "numpy",
    "pillow",
    "onnxruntime",
    "openvino",
    "ai-edge-litert",
    "tensorflow",
    "keras",
)
"""Distributions whose versions can change a figure."""


@dataclass(frozen=True)
class SystemInfo:
    """A machine and the software on it.

    Attributes:
        processor: Its name as the kernel gives it, else its architecture.
        cpu_flags: Those of ``CPU_FLAGS`` that it has; empty where the kernel does not say.
        host_cpus: Logical CPUs of the host, allowed or not.
        allowed_cpus: CPUs that this process may use.
        memory_bytes: Physical memory of the host; None where the kernel does not say.
        os: Kernel, its release, architecture.
        python: Implementation and version.
        versions: Of those of ``PACKAGES`` that are installed, by name.
    """

    processor: str
    cpu_flags: tuple[str, ...]
    host_cpus: int
    allowed_cpus: int
    memory_bytes: int | None
    os: str
    python: str
    versions: Mapping[str, str]


def describe_system(root: Path = _ROOT) -> SystemInfo:
    """Describes this machine; starts no process and imports none of the packages.

    Args:
        root: The folder under which ``proc`` and ``sys`` are looked for.
    """
    cpu = _first_values(root / "proc/cpuinfo")
    # "Features" is ARM's word. Its kernels mostly name no model, but some name the board.
    flags = set(cpu.get("flags", cpu.get("Features", "")).split())
    names = (cpu.get("model name"), cpu.get("Model"), cpu.get("Hardware"), platform.machine())
    return SystemInfo(
        processor=next((name for name in names if name), "unknown"),
        cpu_flags=tuple(flag for flag in CPU_FLAGS if flag in flags),
        host_cpus=os.cpu_count() or 1,
        allowed_cpus=allowed_cpus(root),
        memory_bytes=_memory_bytes(root),
        # Not platform.platform(): it asks for the processor by starting ``uname``.
        os=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        versions=_installed_versions(),
    )


def _memory_bytes(root: Path) -> int | None:
    match _first_values(root / "proc/meminfo").get("MemTotal", "").split():
        case [size, "kB"] if size.isdecimal():
            return int(size) * 1024
    return None


def _installed_versions() -> dict[str, str]:
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _first_values(path: Path) -> dict[str, str]:
    """Reads lines of ``key : value``; of a key that comes again, as for each CPU, the first."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(":")
        if separator:
            values.setdefault(key.strip(), value.strip())
    return values
