"""The CPUs that a process may use, in fake trees of /proc and /sys."""

import os
from pathlib import Path

import pytest

from edgecell_runtime.threads import allowed_cpus

UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
CPU_V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler allows 8 CPUs; the host has 64."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


def _tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def _unified(root: Path, group: str, limits: dict[str, str]) -> Path:
    return _tree(
        root,
        {
            "proc/self/cgroup": f"0::{group}\n",
            "proc/self/mountinfo": UNIFIED,
            **{f"sys/fs/cgroup{folder}/cpu.max": text for folder, text in limits.items()},
        },
    )


def test_allowed_cpus_is_the_affinity_when_no_quota_is_found(tmp_path: Path) -> None:
    assert allowed_cpus(tmp_path) == 8


def test_allowed_cpus_is_the_affinity_when_the_quota_is_wider(tmp_path: Path) -> None:
    assert allowed_cpus(_unified(tmp_path, "/a", {"/a": "3200000 100000\n"})) == 8


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("299999 100000\n", 2),
        ("150000 50000\n", 3),
        ("50000 100000\n", 1),
        ("1000 100000\n", 1),
        ("max 100000\n", 8),
    ],
)
def test_quota_is_rounded_down_but_never_below_one(
    tmp_path: Path, limit: str, expected: int
) -> None:
    assert allowed_cpus(_unified(tmp_path, "/a", {"/a": limit})) == expected


def test_tightest_quota_up_the_hierarchy_wins(tmp_path: Path) -> None:
    limits = {"/a/b/c": "max 100000", "/a/b": "600000 100000", "/a": "300000 100000"}
    assert allowed_cpus(_unified(tmp_path, "/a/b/c", limits)) == 3


def test_other_groups_quotas_do_not_count(tmp_path: Path) -> None:
    limits = {"/a": "400000 100000", "/a/child": "100000 100000", "/other": "100000 100000"}
    assert allowed_cpus(_unified(tmp_path, "/a", limits)) == 4


def test_quota_at_the_mount_point_counts_in_a_container(tmp_path: Path) -> None:
    assert allowed_cpus(_unified(tmp_path, "/", {"": "200000 100000"})) == 2


def test_mount_point_counts_when_the_group_lies_outside_of_the_container(tmp_path: Path) -> None:
    root = _unified(tmp_path, "/../../b", {"": "200000 100000"})
    _tree(root, {"sys/b/cpu.max": "100000 100000"})  # no control group, but where ".." would lead
    assert allowed_cpus(root) == 2


def test_usual_mount_points_are_read_when_mountinfo_is_missing(tmp_path: Path) -> None:
    assert allowed_cpus(_tree(tmp_path, {"sys/fs/cgroup/cpu.max": "300000 100000"})) == 3


def _version_1(root: Path, folder: str, quota: str, period: str = "100000\n") -> Path:
    return _tree(
        root,
        {
            "proc/self/cgroup": "12:memory:/elsewhere\n4:cpu,cpuacct:/a/b\n0::/\n",
            "proc/self/mountinfo": CPU_V1,
            f"sys/fs/cgroup/cpu,cpuacct{folder}/cpu.cfs_quota_us": quota,
            f"sys/fs/cgroup/cpu,cpuacct{folder}/cpu.cfs_period_us": period,
        },
    )


@pytest.mark.parametrize("folder", ["/a/b", "/a", ""])
def test_version_1_quota_counts_at_every_level(tmp_path: Path, folder: str) -> None:
    assert allowed_cpus(_version_1(tmp_path, folder, "350000\n")) == 3


def test_version_1_quota_of_minus_one_is_no_limit(tmp_path: Path) -> None:
    assert allowed_cpus(_version_1(tmp_path, "/a/b", "-1\n")) == 8


def test_version_1_group_is_found_below_the_group_that_a_container_mounts(tmp_path: Path) -> None:
    root = _version_1(tmp_path, "/b", "200000\n")
    mounted = CPU_V1.replace("0:29 / ", "0:29 /a ")
    _tree(root, {"proc/self/mountinfo": mounted})
    assert allowed_cpus(root) == 2


def test_mount_point_with_a_space_is_read(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": UNIFIED.replace("/sys/fs/cgroup", r"/mnt/control\040groups"),
        "mnt/control groups/cpu.max": "200000 100000\n",
    }
    assert allowed_cpus(_tree(tmp_path, files)) == 2


@pytest.mark.parametrize(
    "text", ["", "nonsense", "100000", "100000 0", "-5 100000", "0 100000", "1 2 3", "1.5 1", "\0"]
)
def test_malformed_quota_is_ignored(tmp_path: Path, text: str) -> None:
    assert allowed_cpus(_unified(tmp_path, "/a", {"/a": text})) == 8
    assert allowed_cpus(_version_1(tmp_path / "v1", "/a/b", text, period="none")) == 8


@pytest.mark.parametrize("text", ["\xff", "0", "0:", "0::relative", ":::\n::", "1 2 3 - cgroup2"])
def test_malformed_proc_files_are_ignored(tmp_path: Path, text: str) -> None:
    files = {"proc/self/cgroup": text, "proc/self/mountinfo": text + "\n" + text}
    assert allowed_cpus(_tree(tmp_path, files)) == 8


def test_folder_in_the_place_of_a_file_is_ignored(tmp_path: Path) -> None:
    root = _unified(tmp_path, "/a", {"/a/cpu.max": "100000 100000"})
    assert allowed_cpus(root) == 8


def test_host_count_is_the_answer_only_when_the_system_has_no_affinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    assert allowed_cpus(tmp_path) == 64
