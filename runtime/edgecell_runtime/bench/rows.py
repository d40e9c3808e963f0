"""Findings to the rows of a result."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.bench import conditions, latency
from edgecell_runtime.bench.findings import (
    REFERENCE,
    Findings,
    Record,
    asked_images,
    largest,
    median_of,
)
from edgecell_runtime.bench.plan import Job, Plan
from edgecell_runtime.bench.results import (
    Benchmark,
    ColdStart,
    Estimate,
    Flag,
    Ratio,
    Row,
    Skipped,
)
from edgecell_runtime.bench.steadiness import WINDOWS, drift
from edgecell_runtime.system import describe_system

_DRIFT: Final = 0.05
"""Flagged is a median that rose or fell by more than this share while it was measured."""


def benchmark_of(job: Job, findings: Findings) -> tuple[Benchmark, tuple[NDArray[np.float64], ...]]:
    """Puts the result together.

    Returns:
        It, and the answers of each row; see ``running.Measurement``.
    """
    measured = [
        record
        for scenario in job.plan.scenarios
        for number, record in sorted(findings.records.get(scenario, {}).items())
        if number != REFERENCE and (record.turns or record.cold)
    ]
    rows = tuple(_row(job, findings, record) for record in measured)
    reference = [turn for records in findings.records.values() for turn in records[REFERENCE].turns]
    benchmark = Benchmark(
        system=describe_system(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        plan=job.plan,
        images=job.kind,
        rows=rows,
        ratios=_ratios(measured, job.plan.seed),
        skipped=tuple(
            Skipped(job.targets[number], reason)
            for number, reason in sorted(findings.lost.items())
            if number != REFERENCE
        ),
        reference_ms=latency.summarise(reference, job.plan.seed).median_ms if reference else None,
        energy_note=findings.energy_note,
        reference_note=findings.lost.get(REFERENCE, ""),
    )
    return benchmark, tuple(_answers(job, findings, record) for record in measured)


def _answers(job: Job, findings: Findings, record: Record) -> NDArray[np.float64]:
    if record.answers is not None:
        return record.answers
    return np.full((len(job.queries), findings.described[record.target].labels), np.nan)


def _row(job: Job, findings: Findings, record: Record) -> Row:
    described = findings.described[record.target]
    target, seed = job.targets[record.target], job.plan.seed
    reference = findings.records[record.scenario][REFERENCE]
    known = (described.opened or described.cold)[0]
    loads = [time.load_ms for time in (record.cold or described.opened)]
    offline = record.scenario == "offline"
    return Row(
        target=target,
        artifact=Path(target.artifact).name,
        sha256=described.sha256,
        format=described.format,
        recipe=described.recipe,
        engine=known.engine,
        threads=known.threads,
        threads_seen=record.threads_seen,
        scenario=record.scenario,
        stage=job.plan.stage,
        size_bytes=described.size_bytes,
        load_ms=median_of(loads),
        peak_memory_bytes=_peak(findings, record.target),
        macs=None,
        operators={},
        warmup_queries=record.warmup_queries,
        latency=latency.summarise(record.turns, seed) if record.turns else None,
        images_per_second=latency.images_per_second(record.turns, seed) if offline else None,
        batches=record.batches,
        cold=_cold(record, seed),
        energy=record.energy,
        evaluation=None,
        images=asked_images(record.answers),
        changed_labels=None,
        relative=_ratio(record, reference, seed),
        flags=(*conditions.flags_over(record.disturbances), *_flags(record, job.plan)),
        loosened=described.loosened,
    )


def _peak(findings: Findings, target: int) -> int | None:
    peak = None
    for records in findings.records.values():
        peak = largest(peak, records[target].peak_memory_bytes)
    return peak


def _cold(record: Record, seed: int) -> ColdStart | None:
    if not record.cold:
        return None
    return ColdStart(
        processes=len(record.cold),
        import_ms=median_of([time.import_ms for time in record.cold]),
        load_ms=median_of([time.load_ms for time in record.cold]),
        first_ms=median_of([time.first_ms for time in record.cold]),
        total_ms=latency.median_of_values([time.total_ms for time in record.cold], seed),
    )


def _ratios(records: Sequence[Record], seed: int) -> tuple[Ratio, ...]:
    """Each row's to the first one of its scenario."""
    first: dict[str, int] = {}
    ratios = []
    for row, record in enumerate(records):
        base = first.setdefault(record.scenario, row)
        figure = None if base == row else _ratio(record, records[base], seed)
        if figure is not None:
            ratios.append(Ratio(row, base, figure))
    return tuple(ratios)


def _ratio(record: Record, base: Record, seed: int) -> Estimate | None:
    """One's time over the other's, in what a scenario is about; None without shared rounds."""
    if record.scenario != "cold":
        return latency.ratio_of_times(record.turns, base.turns, seed)
    theirs = {time.round: time.total_ms for time in base.cold} or {
        turn.round: median_of((turn.durations / 1e6).tolist()) for turn in base.turns
    }
    pairs = [(time.total_ms, theirs[time.round]) for time in record.cold if time.round in theirs]
    if not pairs:
        return None
    return latency.ratio_of_values([a for a, _ in pairs], [b for _, b in pairs], seed)


def _flags(record: Record, plan: Plan) -> list[Flag]:
    """What the measuring itself noticed."""
    flags = []
    if record.unsteady:
        words = "the times were still drifting when the warm-up had to end"
        flags.append(Flag("unsteady", words))
    change = max((_drift(record, process) for process in record.seconds), key=abs, default=0.0)
    if abs(change) > _DRIFT:
        words = f"the times {'rose' if change > 0 else 'fell'} by {abs(change):.0%} in a process"
        flags.append(Flag("unsteady", words))
    images = sum(turn.images * turn.durations.size for turn in record.turns)
    seconds = sum(record.seconds.values())
    if record.turns and (images < plan.min_queries or seconds < plan.min_seconds):
        words = (
            f"{images:,} of {plan.min_queries:,} queries in {seconds:.1f} s, where "
            f"{plan.min_seconds:g} s were asked for"
        )
        flags.append(Flag("short", words))
    if record.missed_ticks:
        ticks = record.missed_ticks + images
        words = f"{record.missed_ticks:,} of {ticks:,} ticks came while a query was running"
        flags.append(Flag("missed_ticks", words))
    return flags


def _drift(record: Record, process: int) -> float:
    medians = [float(np.median(turn.durations)) for turn in record.turns if turn.process == process]
    return drift(medians) if len(medians) >= WINDOWS else 0.0
