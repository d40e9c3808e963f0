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
            "'cells/**/*.png', and - for paths on standard input, one a line. A zip's images are "
            "read in place."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="ARTIFACT",
            help="What `edgecell export` wrote, or a bundled model, such as cell-nano; without "
            "it, an artifact of the latest run in ./runs, or cell-small where there is no run.",
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
            help="Classify what is below a folder and whatever comes there, until Ctrl-C. Each "
            "name once: a file that is overwritten later is not read again; zips are passed over.",
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
            "the end. Until the end, answers stand in FILE.part (with --watch, in FILE), and an "
            "empty .FILE.lock keeps a second edgecell away; both are gone afterwards.",
            metavar="FILE",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the FILE.part, or the FILE, of an earlier run of the same artifact "
            "on the same images, which are told by their names: what has a row is left out.",
        ),
    ] = False,
    null: Annotated[
        bool,
        typer.Option(
            "--null",
            "-0",
            help="Paths on standard input end in a zero byte, as `find -print0` writes them.",
        ),
    ] = False,
) -> None:
    """Classifies images: label, probability, and whether it is positive."""
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
        null=null,
    )
    check(request)
    try:
        tally = predicting.predict_images(request)
    except BrokenPipeError as error:  # as after `| head -1`; Typer would make it a failure
        console.leave_output()
        raise typer.Exit(console.UNREAD_STATUS) from error
    if tally.skipped:
        raise typer.Exit(console.SKIPPED_STATUS)
