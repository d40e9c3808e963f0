"""The description of a machine, from fake trees of /proc."""

import os
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from edgecell_runtime import codec, system
from edgecell_runtime.system import SystemInfo, checkout_commit, describe_system

X86 = """\
processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu avx avx2 avx512f avx_vnni avx512_vnni amx_int8 avx512vl
bogomips\t: 4000

processor\t: 1
model name\t: Another Processor
flags\t\t: fpu
"""
ARM = """\
processor\t: 0
Features\t: fp asimd evtstrm crc32 asimddp
CPU implementer\t: 0x41

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""


def _machine(root: Path, cpuinfo: str, meminfo: str = "") -> SystemInfo:
    (root / "proc").mkdir()
    (root / "proc/cpuinfo").write_text(cpuinfo)
    (root / "proc/meminfo").write_text(meminfo)
    return describe_system(root)


def test_describe_system_reads_an_x86_processor(tmp_path: Path) -> None:
    info = _machine(tmp_path, X86, "MemTotal:       16000 kB\nMemFree:        1 kB\n")
    assert info.processor == "Intel(R) Xeon(R) Processor"
    assert info.cpu_flags == ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8")
    assert info.memory_bytes == 16000 * 1024


def test_describe_system_reads_an_arm_board(tmp_path: Path) -> None:
    info = _machine(tmp_path, ARM)
    assert info.processor == "Raspberry Pi 5 Model B Rev 1.0"
    assert info.cpu_flags == ("asimd", "asimddp")


def test_describe_system_says_what_it_can_when_the_kernel_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    info = describe_system(tmp_path)
    assert (info.processor, info.cpu_flags, info.memory_bytes) == ("riscv64", (), None)


@pytest.mark.parametrize("meminfo", ["MemTotal: lots kB\n", "MemTotal: 5\n", "MemTotal\n"])
def test_memory_is_none_when_the_file_is_malformed(tmp_path: Path, meminfo: str) -> None:
    assert _machine(tmp_path, X86, meminfo).memory_bytes is None


def test_describe_system_tells_the_hosts_cpus_from_the_allowed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text("300000 100000\n")
    info = describe_system(tmp_path)
    assert (info.host_cpus, info.allowed_cpus) == (64, 3)


def _lay_out(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


CPUFREQ = "sys/devices/system/cpu/cpufreq"
UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
CPU_V1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
MEMORY_V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


def test_limits_of_a_container_are_the_tightest_of_version_2(tmp_path: Path) -> None:
    _lay_out(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "proc/self/mountinfo": UNIFIED,
            "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
            "sys/fs/cgroup/a/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/a/b/memory.max": "2000000000\n",
            "sys/fs/cgroup/a/memory.max": "max\n",
        },
    )
    info = describe_system(tmp_path)
    assert (info.cpu_limit, info.memory_limit_bytes) == (2.5, 2_000_000_000)


def test_limits_of_a_container_are_read_in_each_hierarchy_of_version_1(tmp_path: Path) -> None:
    _lay_out(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/m\n1:cpu:/c\n0::/\n",
            "proc/self/mountinfo": CPU_V1 + MEMORY_V1,
            "sys/fs/cgroup/cpu/c/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/c/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/m/memory.limit_in_bytes": "536870912\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    info = describe_system(tmp_path)
    assert (info.cpu_limit, info.memory_limit_bytes) == (0.5, 536870912)


@pytest.mark.parametrize(
    ("limit", "memory"), [("max 100000", "max"), ("5", "much"), ("1 0", ""), ("-1 100000", "-1")]
)
def test_limits_are_none_where_the_kernel_sets_none(
    tmp_path: Path, limit: str, memory: str
) -> None:
    _lay_out(
        tmp_path,
        {
            "proc/self/mountinfo": UNIFIED,
            "sys/fs/cgroup/cpu.max": limit,
            "sys/fs/cgroup/memory.max": memory,
        },
    )
    info = describe_system(tmp_path)
    assert (info.cpu_limit, info.memory_limit_bytes) == (None, None)


def test_governors_are_named_once_each(tmp_path: Path) -> None:
    names = {0: "schedutil", 1: "schedutil", 2: "performance"}
    _lay_out(
        tmp_path,
        {f"{CPUFREQ}/policy{number}/scaling_governor": f"{n}\n" for number, n in names.items()},
    )
    assert describe_system(tmp_path).governors == ("performance", "schedutil")


@pytest.mark.parametrize("path", ["etc/os-release", "usr/lib/os-release"])
def test_distribution_is_named_as_it_names_itself(tmp_path: Path, path: str) -> None:
    _lay_out(tmp_path, {path: 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n'})
    assert describe_system(tmp_path).distribution == "Debian GNU/Linux 12"


def test_what_the_system_does_not_say_stays_empty(tmp_path: Path) -> None:
    info = describe_system(tmp_path, tmp_path)
    assert (info.distribution, info.governors, info.commit) == ("", (), "")


COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER = "f" * 40


@pytest.mark.parametrize(
    "files",
    [
        {".git/HEAD": f"{COMMIT}\n"},
        {".git/HEAD": "ref: refs/heads/main\n", ".git/refs/heads/main": f"{COMMIT}\n"},
        {
            ".git/HEAD": "ref: refs/heads/main\n",
            ".git/packed-refs": f"# pack-refs with: peeled\n{OTHER} refs/heads/maine\n"
            f"{COMMIT} refs/heads/main\n^{OTHER}\n",
        },
        {
            ".git": "gitdir: ../main/.git/worktrees/w\n",
            "../main/.git/worktrees/w/HEAD": "ref: refs/heads/topic\n",
            "../main/.git/worktrees/w/commondir": "../..\n",
            "../main/.git/refs/heads/topic": f"{COMMIT}\n",
        },
    ],
    ids=["detached", "branch", "packed", "worktree"],
)
def test_commit_of_a_checkout_is_read_from_its_files(tmp_path: Path, files: dict[str, str]) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    _lay_out(checkout, files)
    assert checkout_commit(checkout) == COMMIT


@pytest.mark.parametrize(
    "files",
    [
        {"../.git/HEAD": f"{COMMIT}\n"},  # the project in whose environment we are installed
        {".git/HEAD": "ref: refs/heads/none-yet\n"},
        {".git/HEAD": "ref: refs/heads/.invalid\n"},  # git's reftable, which we do not read
        {".git/HEAD": "nonsense\n"},
        {".git": "nonsense\n"},
        {},
    ],
)
def test_commit_is_empty_where_there_is_none(tmp_path: Path, files: dict[str, str]) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    _lay_out(checkout, files)
    assert checkout_commit(checkout) == ""


def test_description_from_before_its_later_fields_is_read() -> None:
    text = (
        '{"processor":"p","cpu_flags":[],"host_cpus":2,"allowed_cpus":2,"memory_bytes":null,'
        '"os":"o","python":"y","versions":{}}'
    )
    assert codec.loads(SystemInfo, text, "system").commit == ""


def test_versions_name_installed_packages_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "PACKAGES", ("numpy", "no-such-package-anywhere"))
    assert describe_system().versions == {"numpy": np.__version__}


def test_pillow_is_found_by_its_distributions_name() -> None:
    assert describe_system().versions["pillow"] == metadata.version("Pillow")


def test_describe_system_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr("platform._uname_cache", None)  # what an earlier call may have left
    monkeypatch.setattr("platform._platform_cache", {})
    assert describe_system().os


def test_system_info_has_a_json_form() -> None:
    info = describe_system()
    assert codec.loads(SystemInfo, codec.dumps(info), "system") == info
