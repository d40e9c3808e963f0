"""``edgecell evaluate``: right answers of an artifact on labelled images."""

from pathlib import Path
from typing import Annotated

import typer

from edgecell import console
from edgecell.console import ARTIFACT_HELP, MAX_THREADS, JsonOption, OutputOption
from edgecell_runtime.errors import UsageError


def evaluate(
    artifact: Annotated[Path, typer.Argument(readable=False, help=ARTIFACT_HELP)],
    data: Annotated[
        Path,
        typer.Option(help="Folder of class folders with images, a zip of one, .npz or HDF5."),
    ],
    patients: Annotated[
        Path | None,
        typer.Option(help="CSV with each image's patient; else from names and mapping files."),
    ] = None,
    disputed: Annotated[
        Path | None,
        typer.Option(help="CSV with disputed labels: figures are given with and without those."),
    ] = None,
    by_patient: Annotated[
        Path | None, typer.Option(help="Write the figures of each patient to this CSV file.")
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
    """Measures how often an artifact is right, with intervals over patients."""
    console.check_output(output)
    if by_patient is not None:
        _check_table(by_patient)
    from edgecell.tasks import evaluating

    request = evaluating.Request(artifact, data, threads, strict, patients, disputed)
    evaluated = evaluating.evaluate_artifact(request)
    document = evaluating.document(evaluated)
    console.write(document, evaluating.raw_tables(evaluated), output)
    if by_patient is not None:
        evaluating.write_patients(evaluated, by_patient)
    console.present(document, [evaluating.result_table(evaluated)], as_json=as_json, output=None)
    if evaluated.skipped:
        raise typer.Exit(console.SKIPPED_STATUS)


def _check_table(path: Path) -> None:
    if path.suffix != ".csv":
        raise UsageError(f"--by-patient {path} is no .csv file; expected a name that ends in .csv.")
    console.check_output(path)
