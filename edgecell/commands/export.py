"""``edgecell export``: from a run to artifacts."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import JsonOption, OutputOption


def export(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder; the latest where none is named.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="savedmodel, tflite, onnx or all.")] = "all",
    quantize: Annotated[str, typer.Option(help="none, float16, dynamic or int8.")] = "none",
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
    from edgecell.tasks import exporting

    exported = exporting.export_run(exporting.Request(run, form, quantize, data, out))
    console.present(
        exporting.document(exported),
        [exporting.result_table(exported)],
        as_json=as_json,
        output=output,
    )
    console.say("Next: edgecell bench")
