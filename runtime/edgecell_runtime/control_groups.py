"""The control groups that this process is in, version 1 or 2: where limits and counters stand."""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from edgecell_runtime.records import dataclass

_ROOT = Path("/")

Controller = Literal["cpu", "memory"]
"""What a control group limits."""


@dataclass(frozen=True)
class Group:
    """One control group.

    Attributes:
        folder: With its files.
        unified: True for version 2, False for a hierarchy of version 1; their files differ.
    """

    folder: Path
    unified: bool


@dataclass(frozen=True)
class _Mount:
    """A control group hierarchy.

    Attributes:
        unified: See ``Group``.
        source: The group that is seen at the mount point; not ``/`` in some containers.
        point: The mount point.
    """

    unified: bool
    source: PurePosixPath
    point: PurePosixPath


def groups(controller: Controller, root: Path = _ROOT) -> tuple[Group, ...]:
    """The process's control groups and those above them, up to the top of each hierarchy.

    Args:
        controller: Of version 1, the hierarchies with this controller; version 2 has one for all.
        root: The folder under which ``proc`` and ``sys`` are looked for.

    Returns:
        Innermost first, in each hierarchy; a folder need not exist.
    """
    return tuple(
        Group(folder, mount.unified)
        for mount in _mounts(controller, root)
        for folder in _folders(controller, mount, root)
    )


def read_text(path: Path) -> str:
    """The text of a file of the kernel's; empty where it is missing or closed to this user."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _folders(controller: Controller, mount: _Mount, root: Path) -> Iterator[Path]:
    point = root / mount.point.relative_to("/")
    group = _own_group(controller, root, unified=mount.unified)
    if ".." not in group.parts and group.is_relative_to(mount.source):
        below = group.relative_to(mount.source)
    else:  # The group lies outside of what a container sees; the mount point is all it is shown.
        below = PurePosixPath()
    for step in (below, *below.parents):
        yield point / step


def _own_group(controller: Controller, root: Path, *, unified: bool) -> PurePosixPath:
    """The process's control group, from lines such as ``0::/a/b`` and ``4:cpu,cpuacct:/a/b``."""
    for line in read_text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        matches = (
            (number == "0" and not controllers) if unified else controller in controllers.split(",")
        )
        if matches and path.startswith("/"):
            return PurePosixPath(path)
    return PurePosixPath("/")


def _mounts(controller: Controller, root: Path) -> tuple[_Mount, ...]:
    """The hierarchies that can carry the controller, from ``mountinfo`` (see proc(5))."""
    found = []
    for line in read_text(root / "proc/self/mountinfo").splitlines():
        fields, separator, rest = line.partition(" - ")
        words, tail = fields.split(), rest.split()
        if not separator or len(words) < 5 or len(tail) < 3:
            continue
        unified = tail[0] == "cgroup2"
        if unified or (tail[0] == "cgroup" and controller in tail[2].split(",")):
            source, point = (PurePosixPath(_unescape(word)) for word in words[3:5])
            if point.is_absolute():
                found.append(_Mount(unified, source, point))
    return tuple(found) or _usual_mounts(controller)


def _usual_mounts(controller: Controller) -> tuple[_Mount, ...]:
    """Where distributions mount them; used where ``mountinfo`` names none."""
    usual = [(True, ""), (True, "unified"), (False, controller)]
    if controller == "cpu":
        usual.append((False, "cpu,cpuacct"))
    return tuple(
        _Mount(unified, PurePosixPath("/"), PurePosixPath("/sys/fs/cgroup") / folder)
        for unified, folder in usual
    )


def _unescape(word: str) -> str:
    r"""Undoes the octal escapes of ``mountinfo``, such as ``\040`` for a space."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)
