"""``edgecell doctor``: what is installed, which engines work, what machine this is."""

from typing import Annotated

import typer

from edgecell import console
from edgecell.console import JsonOption, OutputOption, Table
from edgecell.tasks.diagnosing import Diagnosis, GpuCheck, Part, diagnose
from edgecell_runtime import codec


def doctor(
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Import TensorFlow, which takes seconds, for its GPUs.")
    ] = False,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Shows what is installed, which engines work, and the machine; 1 where one is broken."""
    console.check_output(output)
    diagnosis = diagnose(ask_gpu=gpu)
    console.present(
        codec.encode(diagnosis),
        [_machine(diagnosis), _parts(diagnosis), _engines(diagnosis)],
        as_json=as_json,
        output=output,
    )
    if diagnosis.broken:
        names = ", ".join(check.name for check in diagnosis.broken)
        console.error(f"Installed, but does not work: {names}. Install it again, or leave it out.")
        raise typer.Exit(1)


def _machine(diagnosis: Diagnosis) -> Table:
    system = diagnosis.system
    memory = system.memory_bytes
    rows = [
        ("edgecell", diagnosis.edgecell),
        ("Python", system.python),
        ("system", system.os),
        ("processor", system.processor),
        ("CPUs", f"{system.allowed_cpus} allowed to this process, of {system.host_cpus}"),
        (
            "instruction sets",
            ", ".join(system.cpu_flags) or "none of those that matter, or unknown",
        ),
        ("memory", "unknown" if memory is None else f"{memory / 1e9:.1f} GB"),
        *((f"version of {name}", version) for name, version in system.versions.items()),
        ("Keras backend", diagnosis.keras_backend),
        ("GPU", _gpu(diagnosis.gpu)),
    ]
    return Table("This machine", ("what", "value"), rows)


def _gpu(check: GpuCheck | None) -> str:
    if check is None:
        return "not asked; `edgecell doctor --gpu` imports TensorFlow to see"
    return check.detail or ", ".join(check.names) or "none that TensorFlow sees"


def _parts(diagnosis: Diagnosis) -> Table:
    rows = [(part.name, *_part_words(part)) for part in diagnosis.parts]
    return Table("Parts", ("part", "installed", "versions, or how to install it"), rows)


def _part_words(part: Part) -> tuple[str, str]:
    versions = ", ".join(f"{name} {version}" for name, version in part.versions.items())
    if part.installed:
        return "yes", versions
    return "no", f"{part.install} (missing: {', '.join(part.missing)})"


def _engines(diagnosis: Diagnosis) -> Table:
    rows = [
        (check.name, ", ".join(check.formats), "yes" if check.works else "no", check.detail)
        for check in diagnosis.engines
    ]
    return Table("Engines, tried out", ("engine", "runs", "works", "reason"), rows)
