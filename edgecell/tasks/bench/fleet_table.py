"""Several devices' benchmarks in one table."""

from collections.abc import Mapping
from typing import Final

from edgecell.console import Table
from edgecell.tasks.bench.words import digits, engine_words, figure_words, measured
from edgecell_runtime.bench.plan import Scenario
from edgecell_runtime.bench.results import Benchmark

_SHOWN: Final[tuple[Scenario, ...]] = ("single_stream", "offline", "cold")


def fleet_table(found: Mapping[str, Benchmark]) -> Table:
    """One line a device and target, the devices in their order.

    Args:
        found: By the device's name.
    """
    rows = []
    for name, benchmark in found.items():
        for line in measured(benchmark):
            single, offline, cold = (line.of(scenario) for scenario in _SHOWN)
            latency = single.latency if single else None
            rate = offline.images_per_second if offline else None
            total = cold.cold.total_ms if cold and cold.cold else None
            evaluation = next((row.evaluation for row in line.rows if row.evaluation), None)
            rows.append(
                (
                    name,
                    line.first.artifact,
                    engine_words(line.first),
                    "-" if latency is None else figure_words(latency.median_ms),
                    digits(latency.p99_ms if latency else None),
                    digits(rate.value if rate else None),
                    digits(total.value if total else None),
                    "-" if evaluation is None else f"{evaluation.accuracy.value:.3f}",
                )
            )
    columns = (
        "device",
        "artifact",
        "engine, threads",
        "median ms",
        "p99",
        "images/s",
        "cold ms",
        "accuracy",
    )
    return Table("All devices", columns, rows)
