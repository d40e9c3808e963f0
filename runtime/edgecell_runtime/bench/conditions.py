"""What disturbed a measurement: other load, a CPU quota, heat, a changed frequency.

Snapshots of the kernel's counters are taken before and after; from their differences come flags,
each with its numbers. What a system does not tell is not flagged.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecell_runtime.bench import heat
from edgecell_runtime.bench.results import Flag
from edgecell_runtime.control_groups import groups, read_text
from edgecell_runtime.records import dataclass
from edgecell_runtime.system import governors
from edgecell_runtime.wording import counted

_ROOT = Path("/")

LOAD_SHARE: Final = 0.05
"""Flagged is more than this share of the CPUs' time in other processes: what a resting system runs
on the side stays below 2 %, and from 5 % on another process holds a CPU when one in twenty queries
wants it, which moves p90 and p99."""

LOAD_CPUS: Final = 0.5
"""And on many CPUs, more than this many of them: half a spinning process may find a CPU of its own,
but shares memory, cache and the processor's power budget."""

LOAD_TICKS: Final = 3
"""And more than so many ticks, the kernel's unit of CPU time: each count can be off by one."""

STOLEN_SHARE: Final = 0.01
"""Flagged is more than this share of the time taken by the hypervisor: then one query in a hundred
can be a stopped one, and p99 is the neighbours' figure."""

FREQUENCY_CHANGE: Final = 0.1
"""Flagged is a frequency that changed by more than this. Turbo steps of 100 MHz are 2 to 5 %, so
that a step or two is everyday; 10 % is as much as a comparison wants to find."""


@dataclass(frozen=True)
class Snapshot:
    """The kernel's counters at one moment; times in its ticks, since some beginning.

    Attributes:
        cpus: Number of CPUs that the next three are summed over.
        ticks: Of all CPUs, busy, idle or stolen.
        busy_ticks: In any process or interrupt.
        stolen_ticks: Given to others by the hypervisor.
        own_ticks: In our own processes, children that ended included.
        quotas: By control group, how often its CPU quota stopped it, and for how many seconds,
            summed over CPUs.
        heat: What the processor and the firmware say about heat.
        megahertz: Of the fastest CPU; None where unknown.
        governors: That choose the frequency, each once; empty where there are none.
    """

    cpus: int
    ticks: int
    busy_ticks: int
    stolen_ticks: int
    own_ticks: int
    quotas: Mapping[str, tuple[int, float]]
    heat: heat.Heat
    megahertz: float | None
    governors: tuple[str, ...]


Pair = tuple[Snapshot, Snapshot]
"""Before and after."""


def snapshot(
    pids: Collection[int] = (), cpus: Collection[int] = (), root: Path = _ROOT
) -> Snapshot:
    """Reads the counters; takes a millisecond or less, mostly for ``/proc/stat``.

    Args:
        pids: Our other processes, which are no disturbance; this one needs no mention.
        cpus: That ours are pinned to: load elsewhere is not looked at. None: all CPUs.
        root: The folder under which ``proc``, ``sys`` and ``usr`` are looked for.
    """
    number, (ticks, busy, stolen) = _cpu_ticks(root, cpus)
    return Snapshot(
        cpus=number,
        ticks=ticks,
        busy_ticks=busy,
        stolen_ticks=stolen,
        own_ticks=_own_ticks(root, pids),
        quotas=_quotas(root),
        heat=heat.read_heat(root),
        megahertz=_megahertz(root),
        governors=governors(root),
    )


def flags(before: Snapshot, after: Snapshot) -> tuple[Flag, ...]:
    """What disturbed a stretch of time. See ``flags_over``."""
    return flags_over(((before, after),))


def flags_over(pairs: Sequence[Pair]) -> tuple[Flag, ...]:
    """What disturbed the stretches of time together, such as the blocks of one row.

    The first snapshot belongs after the warm-up: a processor that rests is at another frequency.

    Args:
        pairs: Snapshots with the same ``pids`` and ``cpus``, in the order they were taken.
    """
    if not pairs:
        return ()
    return (
        *_load(pairs),
        *_quota(pairs),
        *_throttled(pairs),
        *_frequency(pairs),
        *_governor(pairs),
    )


def _load(pairs: Sequence[Pair]) -> Iterator[Flag]:
    total, busy, stolen, own = (
        sum(getattr(after, name) - getattr(before, name) for before, after in pairs)
        for name in ("ticks", "busy_ticks", "stolen_ticks", "own_ticks")
    )
    if total <= 0:
        return
    cpus = pairs[0][0].cpus
    others = max(0, busy - own)
    share = others / total
    if others > LOAD_TICKS and (share > LOAD_SHARE or share * cpus > LOAD_CPUS):
        words = f"other processes took {share:.0%} of the CPUs ({share * cpus:.1f} of {cpus})"
        yield Flag("load", words)
    if stolen > LOAD_TICKS and stolen / total > STOLEN_SHARE:
        yield Flag("load", f"the hypervisor took {stolen / total:.1%} of the CPU time")


def _quota(pairs: Sequence[Pair]) -> Iterator[Flag]:
    """One flag, for the control group that was stopped longest; those above count it again."""
    times: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for before, after in pairs:
        for group, (count, stopped) in after.quotas.items():
            count_before, stopped_before = before.quotas.get(group, (0, 0.0))
            times[group] = times.get(group, 0) + count - count_before
            seconds[group] = seconds.get(group, 0.0) + stopped - stopped_before
    worst = max(times, key=lambda group: (times[group], seconds[group]), default="")
    if worst and times[worst] > 0:
        yield Flag(
            "quota",
            f"the CPU quota stopped the processes {counted(times[worst], 'time')}, "
            f"for {seconds[worst]:.2f} s summed over the CPUs",
        )


def _throttled(pairs: Sequence[Pair]) -> Iterator[Flag]:
    words: dict[str, None] = {}  # each once, in order
    events = 0
    for before, after in pairs:
        events += max(0, after.heat.events - before.heat.events)
        words |= dict.fromkeys(heat.changes(before.heat, after.heat))
    if events:
        yield Flag("throttled", f"the processor slowed down for heat {counted(events, 'time')}")
    yield from (Flag("throttled", word) for word in words)


def _frequency(pairs: Sequence[Pair]) -> Iterator[Flag]:
    """Of several stretches only the ends are compared: there the processor has been at work."""
    moments = [after for _, after in pairs] if len(pairs) > 1 else list(pairs[0])
    found = [moment.megahertz for moment in moments if moment.megahertz]
    if found and max(found) > min(found) * (1 + FREQUENCY_CHANGE):
        yield Flag(
            "frequency",
            f"the CPUs' frequency was between {min(found):,.0f} and {max(found):,.0f} MHz",
        )


def _governor(pairs: Sequence[Pair]) -> Iterator[Flag]:
    found = {name for pair in pairs for moment in pair for name in moment.governors}
    others = sorted(found - {"performance"})
    if others:
        yield Flag("governor", f"the CPU governor is {' and '.join(others)}, not performance")


def _cpu_ticks(root: Path, cpus: Collection[int]) -> tuple[int, tuple[int, int, int]]:
    """The number of CPUs, and their total, busy and stolen ticks, from ``/proc/stat``."""
    wanted = {f"cpu{number}" for number in cpus}
    number, total, busy, stolen = 0, 0, 0, 0
    for line in read_text(root / "proc/stat").splitlines():
        name, *words = line.split()
        if not name.startswith("cpu"):
            break  # they stand first; the line of the interrupts below is long
        if name == "cpu" or (wanted and name not in wanted):
            continue
        # user nice system idle iowait irq softirq steal; guest time is part of user and nice.
        ticks = [int(word) for word in words[:8] if word.isdecimal()]
        ticks += [0] * (8 - len(ticks))
        number += 1
        total += sum(ticks)
        busy += sum(ticks) - ticks[3] - ticks[4] - ticks[7]
        stolen += ticks[7]
    return number, (total, busy, stolen)


def _own_ticks(root: Path, pids: Collection[int]) -> int:
    """CPU time of our processes and of their children that were waited for."""
    ticks: dict[str, int] = {}  # by number: this process may be among ``pids`` too
    for folder in ("self", *(str(pid) for pid in pids)):
        text = read_text(root / "proc" / folder / "stat")
        # The name, in parentheses, may hold spaces and parentheses; after it comes field 3.
        head, _, rest = text.rpartition(")")
        words = rest.split()[11:15]  # utime stime cutime cstime
        if len(words) == 4 and all(word.isdecimal() for word in words):
            ticks[head.partition(" ")[0]] = sum(int(word) for word in words)
    return sum(ticks.values())


def _quotas(root: Path) -> dict[str, tuple[int, float]]:
    found = {}
    for group in groups("cpu", root):
        values = dict(
            words
            for line in read_text(group.folder / "cpu.stat").splitlines()
            if len(words := line.split()) == 2 and words[1].isdecimal()
        )
        if "nr_throttled" in values:
            unit = 1e6 if group.unified else 1e9
            stopped = values.get("throttled_usec" if group.unified else "throttled_time", "0")
            found[str(group.folder)] = (int(values["nr_throttled"]), int(stopped) / unit)
    return found


def _megahertz(root: Path) -> float | None:
    """The fastest CPU's frequency: the one that works, where the others rest."""
    kilohertz = [read_text(folder / "scaling_cur_freq") for folder in heat.policies(root)]
    found = [int(word) / 1e3 for word in kilohertz if word.isdecimal()]
    if not found:
        for line in read_text(root / "proc/cpuinfo").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "cpu MHz" and value.strip().replace(".", "", 1).isdecimal():
                found.append(float(value))
    return max(found, default=None)
