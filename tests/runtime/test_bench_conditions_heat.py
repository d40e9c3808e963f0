"""Processors that slow down for heat or voltage, on machines laid out as files."""

from pathlib import Path

import pytest
from support.laid_out_machine import Machine
from support.laid_out_machine import words as words_of

CPU = "sys/devices/system/cpu"
FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_intel_heat_is_flagged_once_for_all_cpus(machine: Machine) -> None:
    for cpu in range(2):
        folder = f"{CPU}/cpu{cpu}/thermal_throttle"
        machine.write(f"{folder}/package_throttle_count", "40\n")
        machine.write(f"{folder}/core_throttle_count", "3\n")
    before = machine.snapshot()
    for cpu in range(2):
        machine.write(f"{CPU}/cpu{cpu}/thermal_throttle/package_throttle_count", "47\n")
    words = "the processor slowed down for heat 7 times"
    assert words_of(before, machine.snapshot()) == [("throttled", words)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("0", "0", []),
        ("50000", "50000", []),  # long ago
        ("0", "40004", ["the firmware reports throttling"]),
        ("0", "40000", ["the firmware reports throttling"]),  # meanwhile, and over
        (
            "50005",
            "50000",
            ["the firmware reports under-voltage", "the firmware reports throttling"],
        ),
        ("0", "80008", ["the firmware reports the soft temperature limit"]),
        ("x", "y", []),
    ],
)
def test_raspberry_pis_firmware_is_asked(
    machine: Machine, before: str, after: str, expected: list[str]
) -> None:
    machine.write(FIRMWARE, f"{before}\n")
    first = machine.snapshot()
    machine.write(FIRMWARE, f"{after}\n")
    assert [words for _, words in words_of(first, machine.snapshot())] == expected


@pytest.mark.parametrize(
    ("program", "flagged"),
    [
        ("echo throttled=0x20002", True),
        ("echo throttled=0x0", False),
        ("echo nonsense", False),
        ("exit 1", False),
    ],
)
def test_raspberry_pis_tool_is_asked_when_the_kernel_does_not_say(
    machine: Machine, program: str, flagged: bool
) -> None:
    machine.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    machine.write("usr/bin/vcgencmd", f"#!/bin/sh\n[ $1 = get_throttled ] && {program}\n")
    (machine.root / "usr/bin/vcgencmd").chmod(0o755)
    moment = machine.snapshot()
    expected = [("throttled", "the firmware reports a capped frequency")] if flagged else []
    assert words_of(moment, moment) == expected


def test_raspberry_pi_without_its_tool_is_not_flagged(machine: Machine) -> None:
    machine.write("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0")
    assert words_of(machine.snapshot(), machine.snapshot()) == []


def test_kernels_cooling_is_flagged_and_a_fan_is_not(machine: Machine) -> None:
    for number, (kind, step) in enumerate((("pwm-fan", 2), ("thermal-cpufreq-0", 3))):
        folder = f"sys/class/thermal/cooling_device{number}"
        machine.write(f"{folder}/type", f"{kind}\n")
        machine.write(f"{folder}/cur_state", f"{step}\n")
        machine.write(f"{folder}/max_state", "9\n")
    moment = machine.snapshot()
    words = "the kernel slowed the CPUs for heat by 3 of 9 steps (cooling_device1)"
    assert words_of(moment, moment) == [("throttled", words)]


def test_lowered_highest_frequency_is_flagged(machine: Machine) -> None:
    machine.write(f"{CPU}/cpufreq/policy0/scaling_max_freq", "2400000\n")
    before = machine.snapshot()
    machine.write(f"{CPU}/cpufreq/policy0/scaling_max_freq", "1500000\n")
    words = "the highest frequency fell from 2,400 to 1,500 MHz (policy0)"
    assert words_of(before, machine.snapshot()) == [("throttled", words)]
    assert words_of(machine.snapshot(), before) == []
