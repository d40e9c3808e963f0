"""``edgecell predict``: labels for images."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import MAX_THREADS, JsonOption


def predict(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            help="Image files, folders and zips with images in them, quoted patterns such as "
            "'cells/**/*.png', and - for paths on standard input, one a line."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            readable=False, metavar="ARTIFACT", help="What `edgecell export` wrote; see below."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MAX_THREADS,
            help="For the engine, in one session; a session a CPU allowed if not given.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first image that cannot be read.")
    ] = False,
    watch: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="DIR",
            help="Classify what is below a folder and whatever comes there, until Ctrl-C.",
        ),
    ] = None,
    settle: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="With --watch: how long an unreadable image that does not change is waited for.",
        ),
    ] = 5.0,
    as_json: JsonOption = False,
    json_lines: Annotated[
        bool,
        typer.Option("--json-lines", help="Print one JSON document a line, as answers come."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Also write the result: .csv or .jsonl as answers come; .json, .md or .html at "
            "the end."
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the --output of a run that did not end."),
    ] = False,
) -> None:
    """Classifies images: label, probability, and whether it is positive.

    Without --model, an artifact of the latest run in ./runs is taken, and named.
    """
    from edgecell.tasks import predicting
    from edgecell.tasks.predict_request import Request, check

    request = Request(
        images=tuple(images or ()),
        model=model,
        threads=threads,
        strict=strict,
        watch=watch,
        settle=settle,
        as_json=as_json,
        json_lines=json_lines,
        output=output,
        resume=resume,
    )
    check(request)
    if predicting.predict_images(request).skipped:
        raise typer.Exit(console.SKIPPED_STATUS)
