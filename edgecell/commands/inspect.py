"""``edgecell inspect``: what an artifact says of itself and what it computes."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import ARTIFACT_HELP, JsonOption, OutputOption


def inspect(
    artifact: Annotated[Path, typer.Argument(readable=False, help=ARTIFACT_HELP)],
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Shows an artifact: labels, signature, preprocessing, operators, parity, figures, origin."""
    console.check_output(output)
    from edgecell.tasks import inspecting

    inspected = inspecting.inspect_artifact(artifact)
    console.present(
        inspecting.document(inspected),
        inspecting.tables(inspected),
        as_json=as_json,
        output=output,
    )
