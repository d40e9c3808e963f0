"""``edgecell demo``: the whole chain on drawn cells, ending in a table and a report."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import JsonOption
from edgecell_runtime import codec
from edgecell_runtime.bench.plan import Plan

EXPORTS = (("all", "float32"), ("tflite", "static_int8"), ("onnx", "static_int8"))
"""Formats and recipes of the demo."""

SHORT = Plan(min_seconds=1.0, processes=1, cold_starts=3)
"""Long enough to show what a benchmark says."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder of its own for everything.")] = Path(
        "edgecell-demo"
    ),
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Of the cells and the training.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Draws cells, trains, exports, measures, and writes a report, in about three minutes."""
    from edgecell.tasks.training_parts import require_training_parts

    require_training_parts()
    from edgecell.report import write_report
    from edgecell.tasks import exporting, exporting_tables, training
    from edgecell.tasks.bench import running
    from edgecell.tasks.bench.tables import tables as benchmark_tables
    from edgecell.tasks.training_request import options_of

    run = training.train_run(training.Request(options_of({"seed": seed})), out / "runs")
    exported = []
    for form, recipe in EXPORTS:
        exported += exporting.export_run(exporting.Request(run.folder, form, recipe))
    console.say("Measuring ...")
    paths = tuple(one.exported.path for one in exported)
    measured = running.benchmark(running.Request(paths, plan=SHORT))
    report = (out / "report.html").absolute()
    with run.open_images() as images:
        write_report(report, run, images, measured)
    document: codec.Json = {
        "run": str(run.folder),
        "evaluation": codec.encode(run.record.evaluation),
        "exports": exporting_tables.document(exported),
        "benchmark": codec.encode(measured),
        "report": str(report),
    }
    tables = [
        training.result_table(run),
        exporting_tables.result_table(exported),
        *benchmark_tables(measured),
    ]
    console.present(document, tables, as_json=as_json, output=None)
    console.say("These cells were drawn; the figures say nothing about real blood smears.")
    if not as_json:
        typer.echo(f"Report: {report}")
