"""What an Android device says of itself."""

import re
from collections.abc import Mapping
from typing import Final

from edgecell_runtime.printable import printable_name
from edgecell_runtime.system import SystemInfo

DESCRIBE: Final = """
echo "maker=$(getprop ro.product.manufacturer)"; echo "model=$(getprop ro.product.model)"
echo "soc=$(getprop ro.soc.model)"; echo "android=$(getprop ro.build.version.release)"
echo "kernel=$(uname -sr)"; echo "machine=$(uname -m)"; echo "cpus=$(nproc)"
echo "memory=$(grep MemTotal /proc/meminfo)"
echo "governors=$(cat /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor 2>/dev/null | sort -u)"
"""
"""For the shell there."""


def facts_of(text: str) -> dict[str, str]:
    """What ``DESCRIBE`` printed, by key."""
    return {
        key: printable_name(value)
        for key, found, value in (line.partition("=") for line in text.splitlines())
        if found
    }


def cpus_of(facts: Mapping[str, str]) -> int:
    """How many CPUs it has; 1 where it does not say."""
    return int(facts["cpus"]) if facts.get("cpus", "").isdecimal() else 1


def system_of(facts: Mapping[str, str]) -> SystemInfo:
    """The facts as a benchmark holds them."""
    cpus = cpus_of(facts)
    memory = re.search(r"(\d+) kB", facts.get("memory", ""))
    phone = " ".join(filter(None, (facts.get("maker"), facts.get("model"))))
    soc = facts.get("soc", "")
    return SystemInfo(
        processor=(f"{phone}, {soc}" if soc else phone) or "Android device",
        cpu_flags=(),
        host_cpus=cpus,
        allowed_cpus=cpus,
        memory_bytes=int(memory[1]) * 1024 if memory else None,
        os=f"{facts.get('kernel', '')} {facts.get('machine', '')}".strip(),
        python="",
        versions={},
        distribution=f"Android {facts.get('android', '')}".strip(),
        governors=tuple(facts.get("governors", "").split()),
    )
