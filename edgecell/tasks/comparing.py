"""Comparisons as the command ``compare`` makes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgecell.console import Table
from edgecell_export.card import figure_text, figures
from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import UsageError
from edgecell_runtime.wording import counted
from edgecell_train.comparing import ComparedRun, Comparison
from edgecell_train.runs import Run, find_run

METHOD: Final = (
    "The accuracy is of the likeliest label; sensitivity, specificity, precision and F1 are of "
    "decisions at each run's own threshold. Intervals: 95 %, bootstrap over patients, for "
    "differences with the same patients drawn for both runs. p: sign-flip test over patients, "
    "two-sided; for means over images only."
)

_NAMES: Final = {
    "auc": "AUC",
    "f1": "F1",
    "macro_f1": "macro F1",
    "average_precision": "average precision",
    "brier": "Brier score",
    "calibration_error": "calibration error",
}


def find_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs that are to be compared.

    Args:
        paths: Their folders, or their names in ``runs/``.

    Raises:
        EdgecellError: One is none, damaged, or given twice.
    """
    runs = [find_run(path) for path in paths]
    folders = [run.folder.resolve() for run in runs]
    for path, folder in zip(paths, folders, strict=True):
        if folders.count(folder) > 1:
            raise UsageError(
                f"{path} is the run {folder}, which is given twice; expected different runs."
            )
    return runs


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
    patients, runs = comparison.patients, comparison.runs
    people = counted(patients, "patient") if patients else "no known patient"
    decided = (
        "; accuracy of the likeliest label, the rest at each run's threshold"
        if _decides(runs)
        else ""
    )
    found = [dict(figures(run.evaluation)) for run in runs]
    rows = [
        (name, *(figure_text(of[name]) if name in of else "-" for of in found))
        for name in dict.fromkeys(name for of in found for name in of)
    ]
    if decided:
        rows.insert(0, ("threshold", *(f"{run.threshold:.3g}" for run in runs)))
    side_by_side = Table(
        f"{counted(len(runs), 'run')} on the same {counted(comparison.n, 'test image')}, {people}"
        f"{decided}",
        ("figure", *(f"{run.name} ({run.preset})" for run in runs)),
        rows,
    )
    differences = [
        Table(
            f"{run.name} minus {runs[0].name}",
            ("figure", "difference (95 % interval)", "p"),
            [
                (
                    figure_name(one.figure),
                    f"{one.value:+.3f} ({one.low:+.3f} to {one.high:+.3f})",
                    "-" if one.p is None else p_text(one.p),
                )
                for one in run.differences
            ],
        )
        for run in runs[1:]
    ]
    return [side_by_side, *differences]


def figure_name(name: str) -> str:
    """What people call a figure of ``Evaluation``."""
    return _NAMES.get(name, name)


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
                figure_name(one.figure),
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


def _decides(runs: Sequence[ComparedRun]) -> bool:
    return any(run.evaluation.sensitivity is not None for run in runs)


def _without_sample(evaluation: Json) -> Json:
    assert isinstance(evaluation, dict)
    return {key: value for key, value in evaluation.items() if key not in ("n", "patients")}
