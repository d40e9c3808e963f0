"""``edgecell compare``: runs side by side, with a paired test over patients."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import JsonOption, OutputOption


def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...",
            readable=False,
            help="Folders that `edgecell train` left; the others are compared with the first.",
        ),
    ],
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Sets runs side by side on the test images that all have, with a paired test over patients."""
    console.check_output(output)
    from edgecell.tasks import comparing

    comparison = comparing.compare_runs(runs)
    document = comparing.document(comparison)
    for note in comparison.notes:
        console.warn(note)
    console.write(document, [comparing.raw_table(comparison)], output)
    console.present(document, comparing.tables(comparison), as_json=as_json, output=None)
    console.say(comparing.METHOD)
