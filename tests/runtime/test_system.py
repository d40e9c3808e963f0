"""The description of a machine, from fake trees of /proc."""

import os
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from edgecell_runtime import codec, system
from edgecell_runtime.system import SystemInfo, describe_system

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
