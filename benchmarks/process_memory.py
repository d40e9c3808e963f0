"""How much memory a process and those that it started hold, from Linux's ``/proc``."""

from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


def tree_memory_bytes(pid: int, proc: Path = _PROC) -> int:
    """What a process and all below it hold now; pages that several share count once (``Pss``).

    Args:
        pid: Of the process at the top.
        proc: Where the kernel tells.

    Returns:
        Bytes; 0 where the kernel does not say.
    """
    parents = {
        int(folder.name): int(_value(folder / "status", "PPid:") or 0)
        for folder in proc.iterdir()
        if folder.name.isdecimal()
    }
    tree = {pid}
    while found := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= found
    return sum(int(_value(proc / str(one) / "smaps_rollup", "Pss:") or 0) * 1024 for one in tree)


def _value(path: Path, key: str) -> str:
    """The word behind a key; empty where a process has ended, or the kernel does not say."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        if line.startswith(key):
            return line.split()[1]
    return ""
