"""Exports of a run as the commands ``export`` and ``demo`` make them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgecell import console
from edgecell.console import Table
from edgecell_export.exporting import Exported, Exporter, converters_for
from edgecell_export.recipes import find_recipe
from edgecell_runtime import codec
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import check_folder
from edgecell_train.runs import find_run


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        run: A run's folder; None takes the latest.
        form: Name of a format, or ``all``.
        quantize: Short name of a recipe.
        data: Where the run's images are now.
        out: Where artifacts go; None takes the run's ``exports/``.
    """

    run: Path | None
    form: str = "all"
    quantize: str = "none"
    data: Path | None = None
    out: Path | None = None


def export_run(request: Request) -> list[Exported]:
    """Exports to every format asked for that has the recipe; the others are named.

    Raises:
        EdgecellError: An export was refused; what was exported before it stays.
    """
    recipe, converters = find_recipe(request.quantize), converters_for(request.form)
    lacking = [converter for converter in converters if recipe.name not in converter.recipes]
    for converter in lacking:
        reason = f"{converter.format} has no {recipe.name}: {converter.lacking[recipe.name]}."
        if request.form != "all":
            raise UsageError(reason)
        console.warn(f"Left out: {reason}")
    run = find_run(request.run)
    folder = request.out or run.exports
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder} is a file; expected a folder to put artifacts into.")
    check_folder(folder)
    with run.open_images(request.data) as images:
        evidence = run.evidence(images)
        console.say(f"Exporting {console.shown(run.folder)} ...")
        exporter = Exporter(run.source_model(), evidence)
        exported = []
        for converter in converters:
            if converter not in lacking:
                console.say(f"  {converter.format}, {recipe.name} ...")
                exported.append(exporter.export(converter, recipe, folder))
    return exported


def result_table(exported: Sequence[Exported]) -> Table:
    """What was written and how it compares with its source."""
    rows = []
    for item in exported:
        parity = item.manifest.parity
        assert parity is not None
        rows.append(
            (
                console.shown(item.path),
                item.manifest.recipe,
                f"{item.size_bytes:,}",
                f"{parity.largest_difference:.1e}",
                f"{parity.changed_labels:.2%}",
                f"{parity.accuracy_change * 100:+.2f}",
            )
        )
    return Table(
        "Same answers as the source model",
        ("artifact", "recipe", "bytes", "largest difference", "labels changed", "accuracy, points"),
        rows,
    )


def document(exported: Sequence[Exported]) -> codec.Json:
    """The same for machines, with the whole manifests."""
    return {
        "artifacts": [
            {
                "path": str(item.path),
                "card": str(item.card),
                "size_bytes": item.size_bytes,
                "manifest": codec.encode(item.manifest),
            }
            for item in exported
        ]
    }
