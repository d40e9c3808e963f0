"""``edgecell evaluate``: right answers of an artifact on labelled images."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import MAX_THREADS, JsonOption, OutputOption


def evaluate(
    artifact: Annotated[Path, typer.Argument(readable=False, help="What `edgecell export` wrote.")],
    data: Annotated[
        Path, typer.Option(help="Folder of class folders with images, or a zip of one.")
    ],
    threads: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_THREADS, help="For the engine; the CPUs allowed if not given."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")
    ] = False,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Measures accuracy, sensitivity, specificity and AUC, with intervals over patients."""
    console.check_output(output)
    from edgecell.tasks import evaluating

    evaluated = evaluating.evaluate_artifact(evaluating.Request(artifact, data, threads, strict))
    document = evaluating.document(evaluated)
    console.write(document, [evaluating.raw_table(evaluated)], output)
    console.present(document, [evaluating.result_table(evaluated)], as_json=as_json, output=None)
    if evaluated.skipped:
        raise typer.Exit(console.SKIPPED_STATUS)
