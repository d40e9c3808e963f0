"""``edgecell train``: from labelled images to a run."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import JsonOption, OutputOption
from edgecell_runtime import codec


def train(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of class folders, or a zip of one. Without it, drawn cells."),
    ] = None,
    preset: Annotated[str, typer.Option(help="The model and its recipe.")] = "malaria-cnn",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the training images.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images a step.")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of split, weights and order.")
    ] = 0,
    positive: Annotated[
        str | None,
        typer.Option(help="The positive label; Parasitized where there is that label."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Trains a classifier and leaves a run: model, split, history, test report."""
    console.check_output(output)
    from edgecell.tasks import training

    run = training.train_run(
        training.Request(data, preset, epochs, batch_size, seed, positive), out
    )
    document = {"run": str(run.folder), **_object(codec.encode(run.record))}
    console.present(document, [training.result_table(run)], as_json=as_json, output=output)
    console.say(f"Run:    {console.shown(run.folder)}")
    console.say(f"Report: {console.shown(run.folder / 'report.html')}")
    console.say("Next: edgecell export --format tflite")


def _object(value: codec.Json) -> dict[str, codec.Json]:
    assert isinstance(value, dict)
    return value
