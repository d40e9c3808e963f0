"""What disturbed a measurement, on machines laid out as files."""

from pathlib import Path

import pytest
from support.laid_out_machine import Machine
from support.laid_out_machine import words as words_of

from edgecell_runtime.bench.conditions import flags, flags_over, snapshot

CPU = "sys/devices/system/cpu"
UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
CPU_V1 = "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_nothing_is_flagged_when_only_our_processes_ran(machine: Machine) -> None:
    machine.process(77, 50)
    before = machine.snapshot(77)
    machine.own(300)
    machine.process(77, 250)
    machine.spend(0, user=390, system=10)
    machine.spend(1, idle=390, user=5, wait=5)
    assert words_of(before, machine.snapshot(77)) == []


def test_other_processes_are_flagged_with_their_share(machine: Machine) -> None:
    before = machine.snapshot()
    machine.own(500)
    machine.spend(0, user=400)
    machine.spend(1, user=172, system=28, idle=200)
    words = "other processes took 25% of the CPUs (0.5 of 2)"
    assert words_of(before, machine.snapshot()) == [("load", words)]


def test_our_worker_counts_as_another_process_when_it_is_not_named(machine: Machine) -> None:
    machine.process(77, 50)
    before = machine.snapshot()
    machine.process(77, 250)
    machine.spend(0, user=200, idle=200)
    machine.spend(1, idle=400)
    [(condition, words)] = words_of(before, machine.snapshot())
    assert condition == "load"
    assert "took 25% of" in words


def test_child_that_ended_counts_as_ours(machine: Machine) -> None:
    machine.process(77, 50)
    before = machine.snapshot(77)
    (machine.root / "proc/77/stat").unlink()
    machine.own(100, children=250)
    machine.spend(0, user=200, idle=200)
    machine.spend(1, idle=400)
    assert words_of(before, machine.snapshot(77)) == []


def test_own_process_is_counted_once_when_it_is_named_too(machine: Machine) -> None:
    machine.process(10, 100)
    before = machine.snapshot(10)
    machine.own(300)
    machine.process(10, 300)
    machine.spend(0, user=400)
    machine.spend(1, idle=400)
    [(_, words)] = words_of(before, machine.snapshot(10))
    assert "took 25% of" in words


def test_load_is_looked_for_on_the_cpus_that_ours_are_pinned_to(machine: Machine) -> None:
    before, all_before = machine.snapshot(cpus=(1,)), machine.snapshot()
    machine.spend(0, user=400)
    machine.own(490)
    machine.spend(1, user=390, idle=10)
    assert words_of(before, machine.snapshot(cpus=(1,))) == []
    assert words_of(all_before, machine.snapshot())


def test_half_a_cpu_of_many_is_flagged(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.times = {cpu: [0] * 8 for cpu in range(64)}
    machine.spend(0, idle=1000)
    before = machine.snapshot()
    for cpu in range(64):
        machine.spend(cpu, idle=1000)
    machine.spend(5, user=1000, idle=-1000)
    assert words_of(before, machine.snapshot()) == [
        ("load", "other processes took 2% of the CPUs (1.0 of 64)")
    ]


def test_load_within_the_counters_resolution_is_not_flagged(machine: Machine) -> None:
    before = machine.snapshot()
    machine.spend(0, idle=7, user=3)
    machine.spend(1, idle=10)
    assert words_of(before, machine.snapshot()) == []


def test_load_is_summed_over_blocks(machine: Machine) -> None:
    pairs = []
    for _ in range(5):
        before = machine.snapshot()
        machine.spend(0, idle=7, user=3)
        machine.spend(1, idle=10)
        pairs.append((before, machine.snapshot()))
        machine.spend(0, user=1000)  # between two blocks, where others are measured
    assert [flag.words for flag in flags_over(pairs)] == [
        "other processes took 15% of the CPUs (0.3 of 2)"
    ]


def test_stolen_time_is_flagged(machine: Machine) -> None:
    before = machine.snapshot()
    machine.spend(0, idle=380, steal=20)
    machine.spend(1, idle=400)
    words = "the hypervisor took 2.5% of the CPU time"
    assert words_of(before, machine.snapshot()) == [("load", words)]


def test_nothing_is_flagged_when_the_system_says_nothing(tmp_path: Path) -> None:
    before = snapshot(root=tmp_path)
    assert flags(before, snapshot(root=tmp_path)) == ()
    assert flags_over(()) == ()


def test_quota_of_version_2_is_flagged_for_the_group_that_was_stopped(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "0::/a/b\n")
    machine.write("proc/self/mountinfo", UNIFIED)
    machine.write("sys/fs/cgroup/a/cpu.stat", "nr_throttled 5\nthrottled_usec 900000\n")
    machine.write("sys/fs/cgroup/a/b/cpu.stat", "usage_usec 3\nnr_periods 9\n")
    before = machine.snapshot()
    machine.write("sys/fs/cgroup/a/cpu.stat", "nr_throttled 19\nthrottled_usec 1520000\n")
    words = "the CPU quota stopped the processes 14 times, for 0.62 s summed over the CPUs"
    assert words_of(before, machine.snapshot()) == [("quota", words)]
    assert words_of(before, before) == []


def test_quota_of_version_1_is_read_in_nanoseconds(machine: Machine) -> None:
    machine.write("proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n")
    machine.write("proc/self/mountinfo", CPU_V1)
    name = "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.stat"
    machine.write(name, "nr_periods 1\nnr_throttled 0\nthrottled_time 0\n")
    before = machine.snapshot()
    machine.write(name, "nr_periods 9\nnr_throttled 1\nthrottled_time 50000000\n")
    [(condition, words)] = words_of(before, machine.snapshot())
    assert condition == "quota"
    assert "1 time, for 0.05 s" in words


def _policy(machine: Machine, name: str, value: object, number: int = 0) -> None:
    machine.write(f"{CPU}/cpufreq/policy{number}/{name}", f"{value}\n")


@pytest.mark.parametrize(("after", "flagged"), [(2190000, False), (2210000, True), (1800000, True)])
def test_changed_frequency_is_flagged_beyond_a_tenth(
    machine: Machine, after: int, flagged: bool
) -> None:
    _policy(machine, "scaling_cur_freq", 2000000)
    _policy(machine, "scaling_cur_freq", 600000, number=4)  # a CPU that rests
    before = machine.snapshot()
    _policy(machine, "scaling_cur_freq", after)
    assert [condition for condition, _ in words_of(before, machine.snapshot())] == (
        ["frequency"] if flagged else []
    )


def test_frequency_comes_from_cpuinfo_without_cpufreq(machine: Machine) -> None:
    machine.write("proc/cpuinfo", "processor: 0\ncpu MHz\t\t: 3000.500\ncpu MHz\t: 800.0\n")
    before = machine.snapshot()
    machine.write("proc/cpuinfo", "processor: 0\ncpu MHz\t\t: 1500.0\ncpu MHz\t: 900.0\n")
    words = "the CPUs' frequency was between 1,500 and 3,000 MHz"
    assert words_of(before, machine.snapshot()) == [("frequency", words)]


def test_frequency_of_blocks_is_compared_at_their_ends(machine: Machine) -> None:
    pairs = []
    for resting, working in ((600, 2000), (600, 2050)):
        _policy(machine, "scaling_cur_freq", resting * 1000)
        before = machine.snapshot()
        _policy(machine, "scaling_cur_freq", working * 1000)
        pairs.append((before, machine.snapshot()))
    assert flags_over(pairs) == ()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("performance", "performance"), None),
        (("schedutil", "performance"), "the CPU governor is schedutil, not performance"),
        (("powersave", "ondemand"), "the CPU governor is ondemand and powersave, not performance"),
    ],
)
def test_other_governor_than_performance_is_flagged(
    machine: Machine, names: tuple[str, str], words: str | None
) -> None:
    for number, name in enumerate(names):
        _policy(machine, "scaling_governor", name, number)
    moment = machine.snapshot()
    assert words_of(moment, moment) == ([("governor", words)] if words else [])
