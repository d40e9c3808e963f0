"""Running ``edgecell`` in the test's own process, and sets of tiny cells to run it on."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgecell.cli import run
from edgecell_runtime import codec
from edgecell_runtime.containers import container_of
from edgecell_runtime.manifest import Format, Manifest
from edgecell_train.runs import RECORD, Run, point_latest
from support import artifacts, models
from support.pictures import encoded
from support.report_page import make_run

BAD = b"no image at all"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The JSON document; it is all that stands on standard output."""
        return json.loads(self.out)


def invoke(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    capsys.readouterr()
    status = run([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    return Outcome(status, printed.out, printed.err)


def write_cell(path: Path, seed: int) -> Path:
    """Random pixels of the size that the tiny graphs take."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(Image.fromarray(models.random_pixels(1, seed)[0]), "PNG"))
    return path


def write_file(path: Path, data: bytes = BAD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def positive_probability(seed: int) -> float:
    """What the tiny graphs say of ``write_cell(..., seed)``."""
    first, second = models.expected_logits(models.random_pixels(1, seed))[0]
    return float(1 / (1 + np.exp(second - first)))


def write_cells(folder: Path, cells: Mapping[str, str]) -> Path:
    """Labelled cells.

    Args:
        folder: The set.
        cells: Label by name below its class folder; cell i has the pixels of seed i.
    """
    for seed, (name, label) in enumerate(cells.items()):
        write_cell(folder / label / name, seed)
    return folder


def seal(path: Path, manifest: Manifest) -> Path:
    """A tiny graph with another manifest."""
    model = artifacts.tiny_model(manifest.format)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(container_of(manifest.format).seal(model, manifest))
    return path


def latest_run(runs: Path, *kinds: tuple[Format, str]) -> Run:
    """A run that ``latest`` points to, with an artifact of each format and recipe."""
    folder = runs / "some-run"
    folder.mkdir(parents=True)
    made = make_run(folder)
    (folder / RECORD).write_text(codec.dumps(made.record))
    made.exports.mkdir()
    for form, recipe in kinds:
        manifest = dataclasses.replace(artifacts.tiny_manifest(form), recipe=recipe)
        seal(made.exports / f"tiny-{recipe}.{form}", manifest)
    point_latest(folder)
    return made
