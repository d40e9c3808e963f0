"""Comparisons as the command ``compare`` makes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecell.console import Table
from edgecell_export.card import figure_text, figures
from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import UsageError
from edgecell_train.comparing import Comparison, compare
from edgecell_train.runs import find_run

METHOD: Final = (
    "Intervals: 95 %, bootstrap over patients, for differences with the same patients drawn for "
    "both runs. p: sign-flip test over patients, two-sided; for means over images only."
)

_NAMES: Final = {
    "auc": "AUC",
    "f1": "F1",
    "macro_f1": "macro F1",
    "average_precision": "average precision",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compares runs with the first of them.

    Args:
        paths: Their folders, or their names in ``runs/``.

    Raises:
        EdgecellError: There are fewer than two, one is given twice, or they cannot be compared.
    """
    runs = [find_run(path) for path in paths]
    folders = [run.folder.resolve() for run in runs]
    for path, folder in zip(paths, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(
                f"{path} is the run {folder}, which is given twice; expected different runs."
            )
    return compare(runs)


def document(comparison: Comparison) -> Json:
    """The result for machines."""
    return {
        "n": comparison.n,
        "patients": comparison.patients,
        "method": METHOD,
        "notes": list(comparison.notes),
        "runs": [
            {
                "run": run.name,
                "preset": run.preset,
                "threshold": run.threshold,
                "tested": run.tested,
                "figures": _without_sample(codec.encode(run.evaluation)),
                "differences": {
                    one.figure: {"value": one.value, "low": one.low, "high": one.high, "p": one.p}
                    for one in run.differences
                },
            }
            for run in comparison.runs
        ],
    }


def tables(comparison: Comparison) -> list[Table]:
    """The result for people: the figures of all runs, then the differences from the first."""
    people = f"{comparison.patients:,} patients" if comparison.patients else "no known patient"
    runs = comparison.runs
    found = [dict(figures(run.evaluation)) for run in runs]
    side_by_side = Table(
        f"{len(runs)} runs on the same {comparison.n:,} test images, {people}",
        ("figure", *(f"{run.name} ({run.preset})" for run in runs)),
        [
            (name, *(figure_text(of[name]) if name in of else "-" for of in found))
            for name in dict.fromkeys(name for of in found for name in of)
        ],
    )
    differences = [
        Table(
            f"{run.name} minus {runs[0].name}",
            ("figure", "difference (95 % interval)", "p"),
            [
                (
                    _NAMES.get(one.figure, one.figure),
                    f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})",
                    "-" if one.p is None else p_text(one.p),
                )
                for one in run.differences
            ],
        )
        for run in runs[1:]
    ]
    return [side_by_side, *differences]


def raw_table(comparison: Comparison) -> Table:
    """Figures and differences with all their digits, one row each, for files."""
    rows = []
    for run in comparison.runs:
        rows += [
            (run.name, "figure", name, str(figure.value), str(figure.low), str(figure.high), "")
            for name, figure in figures(run.evaluation)
        ]
        rows += [
            (
                run.name,
                "difference",
                _NAMES.get(one.figure, one.figure),
                str(one.value),
                str(one.low),
                str(one.high),
                "" if one.p is None else str(one.p),
            )
            for one in run.differences
        ]
    columns = ("run", "kind", "figure", "value", "low", "high", "p")
    return Table(f"Compared with {comparison.runs[0].name}", columns, rows)


def p_text(p: float) -> str:
    """A p-value with as many digits as it deserves."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _without_sample(evaluation: Json) -> Json:
    assert isinstance(evaluation, dict)
    return {key: value for key, value in evaluation.items() if key not in ("n", "patients")}
