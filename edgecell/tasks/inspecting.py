"""What ``edgecell inspect`` shows: an artifact's manifest, and what its graph computes."""

from dataclasses import dataclass
from pathlib import Path

from edgecell import console
from edgecell.console import Table
from edgecell.tasks.artifacts import artifact_path
from edgecell.tasks.graphs import operators_of
from edgecell.tasks.manifest_tables import manifest_tables
from edgecell_export.operators import Operators
from edgecell_runtime import codec
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import EdgecellError
from edgecell_runtime.printable import printable_name


@dataclass(frozen=True)
class Inspected:
    """What was found.

    Attributes:
        artifact: The artifact with its manifest.
        operators: What its graph computes; None where no installed part can tell.
    """

    artifact: Artifact
    operators: Operators | None


def inspect_artifact(path: Path) -> Inspected:
    """Reads an artifact; its operators too, where the part that reads them is installed.

    Raises:
        ArtifactError: It is missing, damaged, or no artifact.
    """
    artifact = read_artifact(artifact_path(path))
    try:
        operators = operators_of(artifact)
    except EdgecellError as error:
        console.warn(f"Operators and parameters are not shown. {error}")
        operators = None
    return Inspected(artifact, operators)


def document(inspected: Inspected) -> Json:
    """The result for machines."""
    artifact, operators = inspected.artifact, inspected.operators
    return {
        "path": printable_name(str(artifact.path)),
        "format": artifact.format,
        "size_bytes": artifact.size_bytes,
        "digest": artifact.digest,
        "parameters": None if operators is None else operators.parameters,
        "operators": None if operators is None else codec.encode(operators.operators),
        "manifest": codec.encode(artifact.manifest),
    }


def tables(inspected: Inspected) -> list[Table]:
    """The result for people."""
    identity, signature, *others = manifest_tables(inspected.artifact)
    operators = inspected.operators
    if operators is None:
        return [identity, signature, *others]
    rows = [(item.name, item.dtypes, f"{item.count:,}") for item in operators.operators]
    total = sum(item.count for item in operators.operators)
    title = f"Graph (parameters: {operators.parameters:,}, operators: {total:,})"
    graph = Table(title, ("operator", "dtypes", "count"), rows)
    return [identity, signature, graph, *others]
