"""How many CPUs this process may use.

An engine that starts a thread for each CPU of the host is throttled in a container that may use
two of them. What the kernel grants stands in two places: the scheduler affinity (``taskset``,
cpusets) and the quota of a control group (``docker run --cpus``, Kubernetes limits).
"""

import os
from pathlib import Path

from edgecell_runtime.control_groups import Group, groups, read_text

_ROOT = Path("/")


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
    quotas = [quota for group in groups("cpu", root) if (quota := _read_quota(group)) is not None]
    return max(1, min([_affinity(), *quotas]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    # macOS has neither affinity nor control groups: there, all of its CPUs are allowed.
    return os.cpu_count() or 1


def _read_quota(group: Group) -> int | None:
    """Whole CPUs that a control group's own files grant; None where they set no limit."""
    if group.unified:
        words = read_text(group.folder / "cpu.max").split()
    else:
        words = [read_text(group.folder / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    try:
        quota_us, period_us = (int(word) for word in words)
    except ValueError:  # "max", a missing file or a malformed one
        return None
    if quota_us <= 0 or period_us <= 0:  # -1 is version 1's word for no limit
        return None
    return quota_us // period_us
