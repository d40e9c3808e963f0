"""Results of cross-validations, for machines and for people."""

import dataclasses
from pathlib import Path

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.training import people_of
from edgecell_export.card import figure_text, figures
from edgecell_runtime import codec
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_runtime.wording import counted
from edgecell_train.cross_validation import CrossValidation
from edgecell_train.pooling import Spread


def document(folder: Path, result: CrossValidation) -> codec.Json:
    """The result for machines."""
    encoded = codec.encode(result)
    assert isinstance(encoded, dict)
    return {"folder": str(folder), **encoded}


def tables(result: CrossValidation) -> list[Table]:
    """The result for people: all folds together, then each of them."""
    pooled = result.pooled
    people = people_of(pooled, result.split == "patient")
    drawn = ", drawn cells" if result.drawn else ""
    decided = (
        ""
        if result.positive_label is None
        else "; accuracy of the likeliest label, the rest at each fold's threshold"
    )
    without = _undisputed(result)
    together = Table(
        f"{result.preset}, {counted(result.folds, 'fold')}: {counted(pooled.n, 'test image')}, "
        f"{people}{drawn}{decided}",
        ("figure", "pooled (95 % interval)", *without, "mean of folds", "standard deviation"),
        [
            (
                name,
                figure_text(one),
                *(texts.get(name, "-") for texts in without.values()),
                *_spread_texts(result, one),
            )
            for name, one in figures(pooled)
        ],
    )
    names = [name for name, _ in figures(pooled)]
    each = Table(
        "Each fold",
        ("fold", "images", "patients", "epoch", "threshold", *names),
        [
            (
                str(fold.fold),
                f"{fold.evaluation.n:,}",
                f"{fold.evaluation.patients:,}" if fold.evaluation.patients else "-",
                str(fold.kept_epoch),
                f"{fold.threshold:.3f}",
                *_values(fold.evaluation, names),
            )
            for fold in result.runs
        ],
    )
    return [together, each]


def summary(result: CrossValidation) -> str:
    """The result in Markdown."""
    shown = "\n".join(console.markdown_table(table) for table in tables(result))
    return "\n\n".join([shown.rstrip("\n"), result.method, *result.notes]) + "\n"


def _undisputed(result: CrossValidation) -> dict[str, dict[str, str]]:
    """Columns without the disputed images, by title: each figure's text. None without such."""
    if result.undisputed is None:
        return {}
    disputed = counted(result.pooled.n - result.undisputed.n, "disputed image")
    found = {name: figure_text(one) for name, one in figures(result.undisputed)}
    return {f"without {disputed}": found}


def _spread_texts(result: CrossValidation, one: Figure) -> tuple[str, str]:
    (name,) = [
        field.name
        for field in dataclasses.fields(Evaluation)
        if getattr(result.pooled, field.name) is one
    ]
    spread: Spread | None = result.spread.get(name)
    if spread is None:
        return "-", "-"
    deviation = spread.standard_deviation
    return f"{spread.mean:.3f}", "-" if deviation is None else f"{deviation:.3f}"


def _values(evaluation: Evaluation, names: list[str]) -> list[str]:
    found = dict(figures(evaluation))
    return [f"{found[name].value:.3f}" if name in found else "-" for name in names]
