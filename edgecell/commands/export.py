"""``edgecell export``: from a run to artifacts."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import JsonOption, OutputOption
from edgecell_export.kinds import GraphEnd, Masking, RangeRule, Target


def export(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder; the latest where none is named.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="savedmodel, tflite, onnx or all.")] = "all",
    quantize: Annotated[
        str | None, typer.Option(help="Short for a recipe: none, float16, dynamic or int8.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="float32 (if not given), float16, weight_only_int8, weight_only_int4, "
            "dynamic_int8, static_int8, static_int8_int16, or auto: tries them and keeps one."
        ),
    ] = None,
    target: Annotated[
        Target, typer.Option(help="Processor that an ONNX of integers is for; any if not given.")
    ] = "any",
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Points of sensitivity, or of AUC times 100, that integers may lose on "
            "validation patients; layers stay in float for it."
        ),
    ] = None,
    head: Annotated[GraphEnd, typer.Option(help="What the graph ends in.")] = "logits",
    masking: Annotated[
        Masking | None,
        typer.Option(
            help="slide: the artifact paints the slide around a cell black before it looks; for "
            "models of cells that stand on black."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Images a batch, 0 for open; TFLite takes 1, ONNX any, if not given."),
    ] = None,
    ranges: Annotated[
        RangeRule, typer.Option(help="How ranges follow from calibration images.")
    ] = "min-max",
    calibration_images: Annotated[
        int, typer.Option(help="Of training patients; they set the ranges of integers.")
    ] = 512,
    tolerance: Annotated[
        float,
        typer.Option(help="Widens every limit of parity by a factor up to 5, and marks the file."),
    ] = 1.0,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's images are now, if they moved.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the artifacts; the run's exports/ if not given.")
    ] = None,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Converts a run's model, and writes it only if it gives the same answers."""
    console.check_output(output)
    from edgecell.tasks import exporting, exporting_tables
    from edgecell_export.options import ExportOptions

    request = exporting.Request(
        run,
        form,
        exporting.recipe_name(recipe, quantize),
        data,
        out,
        ExportOptions(
            target=target,
            max_drop=max_drop,
            end=head,
            batch=batch,
            ranges=ranges,
            calibration_images=calibration_images,
            masking=masking,
            tolerance=tolerance,
        ),
    )
    done = exporting.export_run(request)
    console.present(
        exporting_tables.document(done),
        exporting_tables.tables(done),
        as_json=as_json,
        output=output,
    )
    console.say(f"Next: {exporting.next_command(request, done)}")
