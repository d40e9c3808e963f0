"""``edgecell predict``: labels for images."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import MAX_THREADS, JsonOption, OutputOption
from edgecell_runtime import codec


def predict(
    images: Annotated[
        list[Path],
        typer.Argument(readable=False, help="Image files, and folders with images below them."),
    ],
    model: Annotated[
        Path | None,
        typer.Option(
            readable=False, metavar="ARTIFACT", help="What `edgecell export` wrote; see below."
        ),
    ] = None,
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
    """Classifies images: label, probability, and whether it is positive.

    Without --model, an artifact of the latest run in ./runs is taken, and named.
    """
    console.check_output(output)
    from edgecell.tasks import predicting

    predicted = predicting.predict_images(predicting.Request(tuple(images), model, threads, strict))
    document = predicting.document(predicted)
    console.write(document, [predicting.table(predicted)], output)
    if as_json:
        typer.echo(codec.dumps(document, indent=2))
    else:
        typer.echo("\n".join(predicting.lines(predicted)))
        if len(predicted.answers.answered) > 1:
            console.say(predicting.summary(predicted))
    if predicted.answers.skipped:
        raise typer.Exit(console.SKIPPED_STATUS)
