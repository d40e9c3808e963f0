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
    """Sets runs side by side on the test images that all have, with a paired test over patients.

    --output FILE.html writes a page with the validation curves of all runs and what was trained
    differently.
    """
    console.check_output(output)
    from edgecell.report_comparison import write_comparison
    from edgecell.tasks import comparing
    from edgecell_train.comparing import compare as compare_runs

    found = comparing.find_runs(runs)
    comparison = compare_runs(found)
    document = comparing.document(comparison)
    for note in comparison.notes:
        console.warn(note)
    if output is not None and output.suffix == ".html":
        write_comparison(output, comparison, found)
        console.say(f"Written to {output}")
    else:
        console.write(document, [comparing.raw_table(comparison)], output)
    console.present(document, comparing.tables(comparison), as_json=as_json, output=None)
    console.say(comparing.METHOD)
