"""How many CPUs this process may use.

An engine that starts a thread for each CPU of the host is throttled in a container that may use
two of them. What the kernel grants stands in two places: the scheduler affinity (``taskset``,
cpusets) and the quota of a control group (``docker run --cpus``, Kubernetes limits).
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgecell_runtime.records import dataclass

_ROOT = Path("/")


@dataclass(frozen=True)
class _Mount:
    """A control group hierarchy.

    Attributes:
        unified: True for version 2, False for the ``cpu`` controller of version 1.
        source: The group that is seen at the mount point; not ``/`` in some containers.
        point: The mount point.
    """

    unified: bool
    source: PurePosixPath
    point: PurePosixPath


_USUAL_MOUNTS = tuple(
    _Mount(unified, PurePosixPath("/"), PurePosixPath("/sys/fs/cgroup") / folder)
    for unified, folder in ((True, ""), (True, "unified"), (False, "cpu"), (False, "cpu,cpuacct"))
)
"""Where distributions mount them; used where ``mountinfo`` names none."""


def allowed_cpus(root: Path = _ROOT) -> int:
    """The number of CPUs that this process may use.

    It is the smaller of the scheduler affinity and the tightest CPU quota between the process's
    own control group and the top of its hierarchy, version 1 or 2. A quota of 2.5 CPUs gives 2,
    because a third thread would be throttled. Files that are missing or malformed set no limit.

    Args:
        root: The folder under which ``proc`` and ``sys`` are looked for.

    Returns:
        1 or more.
    """
    quotas = [
        quota
        for mount in _mounts(root)
        for folder in _group_folders(root, mount)
        if (quota := _read_quota(folder, unified=mount.unified)) is not None
    ]
    return max(1, min([_affinity(), *quotas]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    # macOS has neither affinity nor control groups: there, all of its CPUs are allowed.
    return os.cpu_count() or 1


def _read_quota(folder: Path, *, unified: bool) -> int | None:
    """Whole CPUs that a control group's own files grant; None where they set no limit."""
    if unified:
        words = _read_text(folder / "cpu.max").split()
    else:
        words = [
            _read_text(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        ]
    try:
        quota_us, period_us = (int(word) for word in words)
    except ValueError:  # "max", a missing file or a malformed one
        return None
    if quota_us <= 0 or period_us <= 0:  # -1 is version 1's word for no limit
        return None
    return quota_us // period_us


def _group_folders(root: Path, mount: _Mount) -> Iterator[Path]:
    """The folder of the process's control group and those above it, up to the mount point."""
    point = root / mount.point.relative_to("/")
    group = _own_group(root, unified=mount.unified)
    if ".." not in group.parts and group.is_relative_to(mount.source):
        below = group.relative_to(mount.source)
    else:  # The group lies outside of what a container sees; the mount point is all it is shown.
        below = PurePosixPath()
    for step in (below, *below.parents):
        yield point / step


def _own_group(root: Path, *, unified: bool) -> PurePosixPath:
    """The process's control group, from lines such as ``0::/a/b`` and ``4:cpu,cpuacct:/a/b``."""
    for line in _read_text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        matches = (
            (number == "0" and not controllers) if unified else "cpu" in controllers.split(",")
        )
        if matches and path.startswith("/"):
            return PurePosixPath(path)
    return PurePosixPath("/")


def _mounts(root: Path) -> tuple[_Mount, ...]:
    """The hierarchies that can carry a CPU quota, from ``mountinfo`` (see proc(5))."""
    found = []
    for line in _read_text(root / "proc/self/mountinfo").splitlines():
        fields, separator, rest = line.partition(" - ")
        words, tail = fields.split(), rest.split()
        if not separator or len(words) < 5 or len(tail) < 3:
            continue
        unified = tail[0] == "cgroup2"
        if unified or (tail[0] == "cgroup" and "cpu" in tail[2].split(",")):
            source, point = (PurePosixPath(_unescape(word)) for word in words[3:5])
            if point.is_absolute():
                found.append(_Mount(unified, source, point))
    return tuple(found) or _USUAL_MOUNTS


def _unescape(word: str) -> str:
    r"""Undoes the octal escapes of ``mountinfo``, such as ``\040`` for a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
