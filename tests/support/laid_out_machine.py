"""Machines that we do not have, laid out as the kernel's files, and a clock."""

from pathlib import Path

from edgecell_runtime.bench.conditions import Snapshot, flags, snapshot


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Machine:
    """A machine of two CPUs, whose counters stand in files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.times = {
            0: [1000, 0, 1000, 9000, 500, 0, 0, 0],
            1: [1000, 0, 1000, 9000, 500, 0, 0, 0],
        }
        self.write("proc/self/stat", self._process(10, 100))
        self._write_times()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def spend(self, cpu: int, **ticks: int) -> None:
        places = {"user": 0, "system": 2, "idle": 3, "wait": 4, "steal": 7}
        for kind, count in ticks.items():
            self.times[cpu][places[kind]] += count
        self._write_times()

    def process(self, number: int, ticks: int, children: int = 0) -> None:
        self.write(f"proc/{number}/stat", self._process(number, ticks, children))

    def own(self, ticks: int, children: int = 0) -> None:
        self.write("proc/self/stat", self._process(10, ticks, children))

    def snapshot(self, *pids: int, cpus: tuple[int, ...] = ()) -> Snapshot:
        return snapshot(pids, cpus, self.root)

    @staticmethod
    def _process(number: int, ticks: int, children: int = 0) -> str:
        before = "R 1 1 1 0 -1 4194304 99 0 0 0"
        return f"{number} (a (b) c) {before} {ticks - 5} 5 {children} 0 20 0 1 0 7 8\n"

    def _write_times(self) -> None:
        rows = [sum(column) for column in zip(*self.times.values(), strict=True)]
        lines = [f"cpu  {' '.join(map(str, rows))} 0 0"]
        lines += [f"cpu{cpu} {' '.join(map(str, row))} 0 0" for cpu, row in self.times.items()]
        self.write("proc/stat", "\n".join([*lines, "intr 5 0 0", "ctxt 9", ""]))


def words(before: Snapshot, after: Snapshot) -> list[tuple[str, str]]:
    """The flags, as pairs of condition and words."""
    return [(flag.condition, flag.words) for flag in flags(before, after)]
