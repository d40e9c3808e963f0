"""``edgecell compress``: from a run to a smaller one."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import JsonOption, OutputOption
from edgecell_train.config_checks import MAX_EPOCHS


def compress(
    run: Annotated[
        Path | None, typer.Argument(help="A run's folder; the latest where none is named.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(help="Of the int8 TFLite file, manifest included: 30kB.")
    ] = None,
    max_latency: Annotated[
        str | None,
        typer.Option(help="Of that file in LiteRT, one thread, on this machine: 0.1ms."),
    ] = None,
    max_macs: Annotated[
        str | None, typer.Option(help="Multiply-accumulates of one query: 2M.")
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(help="Points of validation accuracy that may be lost; 0.5 if not given."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where the run's images are now, if they moved.")
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Of the last fine-tuning; the run's own if not given.", min=1, max=MAX_EPOCHS
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any option of the fine-tuning: augmentation.flips=true."),
    ] = None,
    resume: Annotated[
        str,
        typer.Option(help="Go on with what was interrupted: its folder (...-search), or latest."),
    ] = "",
    out: Annotated[Path, typer.Option(help="Folder of runs.")] = Path("runs"),
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Makes a run's net smaller and faster: prunes, fine-tunes, and leaves a new run.

    The test patients are looked at once, at the end. At least one limit has to be given; where they
    cannot be met together, the command fails and says how near it came.
    """
    console.check_output(output)
    from edgecell.tasks.training_parts import require_training_parts

    require_training_parts()
    from edgecell.tasks import compressing, compressing_tables
    from edgecell.tasks.compressing_request import Request
    from edgecell.tasks.training_request import options_of
    from edgecell_train.compression.limits import asked_limits
    from edgecell_train.config_files import parse_setting

    layers = [*map(parse_setting, settings or ()), *options_of({"epochs": epochs})]
    request = Request(
        run=run,
        limits=asked_limits(max_size, max_latency, max_macs, max_drop),
        layers=layers,
        data=data,
        out=out,
        resume=resume,
    )
    found = compressing.compress(request)
    console.present(
        compressing_tables.document(found),
        compressing_tables.tables(found),
        as_json=as_json,
        output=output,
    )
    folder = console.shown(found.run.folder)
    console.say(f"Run:    {folder}")
    console.say(f"Report: {console.shown(found.run.folder / 'report.html')}")
    console.say(f"Next: edgecell export {shlex.quote(folder)} --format tflite --quantize int8")
