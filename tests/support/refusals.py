"""Exports that have to be refused, with a message that says what to do."""

import re
from pathlib import Path
from typing import Final

import pytest

from edgecell_export.conversion_process import ConversionRunner, ConvertHere
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.options import ExportOptions
from edgecell_export.recipes import RECIPES
from edgecell_export.source import Evidence, SourceModel
from edgecell_runtime.errors import EdgecellError

_ADVICE: Final = re.compile(
    r"try another|train (it )?(on|again|longer)|ask for more|say where|export it with|free |report|"
    r"convert to another|build the model of",
    re.IGNORECASE,
)


def refused(
    source: SourceModel,
    evidence: Evidence,
    folder: Path,
    *,
    name: str = "tflite",
    recipe: str = "float32",
    options: ExportOptions = ExportOptions(),  # noqa: B008 - frozen
    runner: ConversionRunner | None = None,
) -> EdgecellError:
    """Exports, and gives the error that came of it."""
    with (
        pytest.raises(EdgecellError) as caught,
        Exporter(source, evidence, options, runner=runner or ConvertHere()) as exporter,
    ):
        exporter.export(CONVERTERS[name], RECIPES[recipe], folder)
    assert caught.value.exit_status == 1
    assert _ADVICE.search(str(caught.value)), str(caught.value)
    return caught.value
