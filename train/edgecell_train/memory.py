"""How much memory is free for decoded images."""

from pathlib import Path
from typing import Final

_ROOT: Final = Path("/")
_UNKNOWN_BYTES: Final = 2 << 30
"""Where the system does not say."""

_LIMITS: Final = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Of control groups, version 2 and 1, as a container sees its own."""


def free_memory_bytes(root: Path = _ROOT) -> int:
    """What can be taken without swapping: the kernel's estimate, or less where a container may not.

    Args:
        root: The folder under which ``proc`` and ``sys`` are looked for.
    """
    free = [_UNKNOWN_BYTES]
    for line in _text(root / "proc/meminfo").splitlines():
        match line.split():
            case ["MemAvailable:", size, "kB"] if size.isdecimal():
                free = [int(size) * 1024]
    for limit, used in _LIMITS:
        most, taken = (_text(root / path).strip() for path in (limit, used))
        if most.isdecimal() and taken.isdecimal():
            free.append(max(0, int(most) - int(taken)))
    return min(free)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
