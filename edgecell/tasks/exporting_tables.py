"""What came out of exports, as tables and for machines."""

from collections.abc import Sequence

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.exporting import Done
from edgecell_export.choosing import Candidate
from edgecell_export.speed import SpeedRatio
from edgecell_runtime import codec


def tables(done: Sequence[Done]) -> list[Table]:
    """The artifacts, and before them what ``auto`` tried."""
    tried = [
        _candidate_table(one.exported.manifest.format, one.candidates)
        for one in done
        if one.candidates
    ]
    return [*tried, result_table(done)]


def result_table(done: Sequence[Done]) -> Table:
    """What was written, and how it compares with its source."""
    rows = []
    for one in done:
        item, parity = one.exported, one.exported.manifest.parity
        assert parity is not None
        rows.append(
            (
                console.shown(item.path),
                item.manifest.recipe + (", LOOSENED" if parity.loosened else ""),
                f"{item.size_bytes:,}",
                f"{parity.largest_difference:.1e}",
                f"{parity.changed_labels:.2%}",
                f"{parity.accuracy_change * 100:+.2f}",
                _ratio(one.speed),
            )
        )
    columns = (
        "artifact",
        "recipe",
        "bytes",
        "largest difference",
        "labels changed",
        "accuracy, points",
        "speed of float32 here",
    )
    return Table("Same answers as the source model", columns, rows)


def _candidate_table(name: str, candidates: Sequence[Candidate]) -> Table:
    """The frontier of size, latency and accuracy, the choice marked."""
    rows = [
        (
            one.recipe,
            "-" if one.size_bytes is None else f"{one.size_bytes:,}",
            "-" if one.latency_ms is None else f"{one.latency_ms:.3f}",
            _ratio(one.against_fastest),
            "-" if one.loss is None else f"{one.loss.accuracy:.4f}",
            "-" if one.loss is None else f"{one.loss.points:+.2f}",
            "chosen" if one.chosen else _short(one.refused),
        )
        for one in candidates
    ]
    columns = (
        "recipe",
        "bytes",
        "median ms, 1 thread",
        "speed of the fastest",
        "accuracy",
        "points lost",
        "",
    )
    return Table(f"{name}: recipes on validation images", columns, rows)


def _ratio(ratio: SpeedRatio | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio.value:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _short(reason: str) -> str:
    return f"refused: {reason.partition('.')[0][:100]}" if reason else ""


def document(done: Sequence[Done]) -> codec.Json:
    """The same for machines, with the whole manifests."""
    return {
        "artifacts": [
            {
                "path": str(one.exported.path),
                "card": str(one.exported.card),
                "size_bytes": one.exported.size_bytes,
                "speed_of_float32": codec.encode(one.speed),
                "candidates": codec.encode(one.candidates),
                "manifest": codec.encode(one.exported.manifest),
            }
            for one in done
        ]
    }
