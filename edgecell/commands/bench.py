"""``edgecell bench``: size, speed, memory and right answers of artifacts."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import MAX_THREADS, JsonOption, OutputOption
from edgecell_runtime import codec

HOW = (
    "Latency: one preprocessed image to logits, a batch of one, at least 1,024 queries over up to "
    "256 held-out images, each artifact in a process of its own. images/s: from image file to "
    "label, one after another. peak MB: of that process, before any image file is opened."
)


def bench(
    artifacts: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False, help="Artifacts; all of the latest run where none is named."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Labelled images, or where the run's images are now."),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_THREADS, help="For the engines; the CPUs allowed if not given."
        ),
    ] = None,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Measures artifacts: size, load time, latency, images a second, memory, accuracy."""
    console.check_output(output)
    from edgecell.tasks import benching
    from edgecell_runtime.system import describe_system

    done = benching.benchmark(benching.Request(tuple(artifacts or ()), data, threads))
    document: codec.Json = {
        "system": codec.encode(describe_system()),
        "method": HOW,
        "results": codec.encode(done.results),
        "skipped": [{"artifact": name, "reason": reason} for name, reason in done.skipped],
    }
    console.present(document, [benching.result_table(done.results)], as_json=as_json, output=output)
    console.say(HOW)
    if done.skipped:
        raise typer.Exit(console.SKIPPED_STATUS)
