"""What slows a processor down for its own protection: heat, and too low a voltage."""

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from edgecell_runtime.control_groups import read_text
from edgecell_runtime.records import dataclass

_VCGENCMD_SECONDS: Final = 2.0

FIRMWARE_BITS: Final[Mapping[int, str]] = {
    0: "under-voltage",
    1: "a capped frequency",
    2: "throttling",
    3: "the soft temperature limit",
}
"""Of the Raspberry Pi's ``get_throttled``: what is the case now. Bit 16 and those after it tell the
same of any time since the start."""

_COOLING: Final = ("processor", "cpufreq", "thermal-cpufreq")
"""Beginnings of the kernel's names for cooling by slower CPUs; other devices are fans."""


@dataclass(frozen=True)
class Heat:
    """What is known at one moment.

    Attributes:
        events: How often an Intel processor slowed down for heat, since the start.
        firmware: The Raspberry Pi's word, see ``FIRMWARE_BITS``; 0 elsewhere.
        cooling: Steps by which the kernel slows the CPUs, and the most it can, by device.
        limits: The highest frequency allowed, in MHz, by frequency policy.
    """

    events: int
    firmware: int
    cooling: Mapping[str, tuple[int, int]]
    limits: Mapping[str, float]


def read_heat(root: Path) -> Heat:
    """Reads it.

    Args:
        root: The folder under which ``sys`` and ``usr`` are looked for.
    """
    cpus = root / "sys/devices/system/cpu"
    # A package's count stands with each of its CPUs, so that a sum would tell too many.
    counts = (_number(path) for path in cpus.glob("cpu[0-9]*/thermal_throttle/*_throttle_count"))
    return Heat(
        events=max((count for count in counts if count is not None), default=0),
        firmware=_firmware(root),
        cooling=_cooling(root),
        limits={
            folder.name: limit / 1e3
            for folder in policies(root)
            if (limit := _number(folder / "scaling_max_freq")) is not None
        },
    )


def changes(before: Heat, after: Heat) -> Iterator[str]:
    """What slowed the processor down between two moments, or at one of them: a clause each."""
    new = after.firmware & ~before.firmware
    for bit, word in FIRMWARE_BITS.items():
        if (before.firmware | after.firmware) & 1 << bit or new & 1 << (bit + 16):
            yield f"the firmware reports {word}"
    for name, (step, most) in after.cooling.items():
        highest = max(step, before.cooling.get(name, (0, 0))[0])
        if highest > 0:
            yield f"the kernel slowed the CPUs for heat by {highest} of {most} steps ({name})"
    for name, limit in after.limits.items():
        earlier = before.limits.get(name, limit)
        if limit < earlier:
            yield f"the highest frequency fell from {earlier:,.0f} to {limit:,.0f} MHz ({name})"


def policies(root: Path) -> tuple[Path, ...]:
    """The folders of ``cpufreq``, one for each group of CPUs that share a frequency."""
    return tuple(sorted((root / "sys/devices/system/cpu/cpufreq").glob("policy[0-9]*")))


def _cooling(root: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for folder in sorted((root / "sys/class/thermal").glob("cooling_device[0-9]*")):
        kind = read_text(folder / "type")
        step, most = _number(folder / "cur_state"), _number(folder / "max_state")
        if kind.lower().startswith(_COOLING) and step is not None and most is not None:
            found[folder.name] = (step, most)
    return found


def _firmware(root: Path) -> int:
    """The Raspberry Pi's word: from the kernel, else from the firmware's own tool."""
    text = read_text(root / "sys/devices/platform/soc/soc:firmware/get_throttled")
    if not text and read_text(root / "proc/device-tree/model").startswith("Raspberry Pi"):
        try:
            text = subprocess.run(
                [str(root / "usr/bin/vcgencmd"), "get_throttled"],
                capture_output=True,
                text=True,
                timeout=_VCGENCMD_SECONDS,
                check=False,
            ).stdout.partition("=")[2]
        except (OSError, subprocess.TimeoutExpired):
            return 0
    try:
        return int(text.strip() or "0", 16)
    except ValueError:
        return 0


def _number(path: Path) -> int | None:
    text = read_text(path)
    return int(text) if text.isdecimal() else None
