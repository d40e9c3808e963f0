"""What a measurement ran on: a latency without its machine says nothing."""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Final, TypeVar

from edgecell_runtime.control_groups import Group, groups, read_text
from edgecell_runtime.records import dataclass
from edgecell_runtime.threads import allowed_cpus

_ROOT = Path("/")
_CHECKOUT = Path(__file__).parents[2]
_NO_MEMORY_LIMIT = 1 << 62

Limit = TypeVar("Limit", int, float)

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
        distribution: Of Linux, by its own name; empty elsewhere.
        governors: That choose the CPUs' frequency, each once; empty where the kernel does not say.
        cpu_limit: CPUs that a container's quota grants, such as 2.5; None without a quota.
        memory_limit_bytes: That a container may hold; None without a limit.
        commit: Of edgecell's checkout; empty where it is installed otherwise. Changes that are not
            committed do not show.
    """

    processor: str
    cpu_flags: tuple[str, ...]
    host_cpus: int
    allowed_cpus: int
    memory_bytes: int | None
    os: str
    python: str
    versions: Mapping[str, str]
    distribution: str = ""
    governors: tuple[str, ...] = ()
    cpu_limit: float | None = None
    memory_limit_bytes: int | None = None
    commit: str = ""


def describe_system(root: Path = _ROOT, checkout: Path = _CHECKOUT) -> SystemInfo:
    """Describes this machine; starts no process and imports none of the packages.

    Args:
        root: The folder under which ``proc``, ``sys``, ``etc`` and ``usr`` are looked for.
        checkout: The folder that is edgecell's checkout, if this is one.
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
        distribution=_distribution(root),
        governors=governors(root),
        cpu_limit=_tightest(_cpu_limit(group) for group in groups("cpu", root)),
        memory_limit_bytes=_tightest(_memory_limit(group) for group in groups("memory", root)),
        commit=checkout_commit(checkout),
    )


def governors(root: Path = _ROOT) -> tuple[str, ...]:
    """The names of the CPUs' frequency governors, each once and sorted; empty without any.

    Args:
        root: The folder under which ``sys`` is looked for.
    """
    policies = (root / "sys/devices/system/cpu/cpufreq").glob("policy[0-9]*/scaling_governor")
    return tuple(sorted({read_text(path) for path in policies} - {""}))


def checkout_commit(folder: Path) -> str:
    """The commit that a folder has checked out, without starting git.

    Only ``.git`` right in this folder counts: one further up belongs to another project, in whose
    virtual environment edgecell may be installed.

    Returns:
        40 or 64 hexadecimal digits; empty where the folder is no checkout or has no commit.
    """
    git = folder / ".git"
    if git.is_file():  # a worktree or a submodule: the file names the folder
        git = folder / read_text(git).removeprefix("gitdir:").strip()
    head = read_text(git / "HEAD")
    if head.startswith("ref:"):
        name = head.removeprefix("ref:").strip()
        shared = git / (read_text(git / "commondir") or ".")
        head = read_text(git / name) or read_text(shared / name) or _packed(shared, name)
    return head if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", head) else ""


def _packed(git: Path, name: str) -> str:
    for line in read_text(git / "packed-refs").splitlines():
        commit, _, reference = line.partition(" ")
        if reference == name:
            return commit
    return ""


def _distribution(root: Path) -> str:
    """From os-release(5), whose values may stand in quotes."""
    text = read_text(root / "etc/os-release") or read_text(root / "usr/lib/os-release")
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")
    return ""


def _tightest(limits: Iterable[Limit | None]) -> Limit | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _cpu_limit(group: Group) -> float | None:
    if group.unified:
        words = read_text(group.folder / "cpu.max").split()
    else:
        words = [read_text(group.folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    match words:
        case [quota, period] if quota.isdecimal() and period.isdecimal() and int(period):
            return int(quota) / int(period)
    return None  # "max" and -1 are the words for no limit


def _memory_limit(group: Group) -> int | None:
    text = read_text(group.folder / ("memory.max" if group.unified else "memory.limit_in_bytes"))
    # Version 1 says no limit with the largest number of whole pages.
    return int(text) if text.isdecimal() and int(text) < _NO_MEMORY_LIMIT else None


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
