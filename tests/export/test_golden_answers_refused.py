"""Golden answers that close the door: nothing is written, and what was there stays."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.refusals import refused
from support.small_run import SmallRun

from edgecell_export import exporting
from edgecell_export.formats.base import Kernels
from edgecell_export.formats.tflite import TFLiteConverter
from edgecell_export.golden_answers import golden_answers
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import EngineError, ExportError, ParityError
from edgecell_runtime.manifest import Golden


def test_export_is_refused_when_kernels_disagree_wildly(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = TFLiteConverter.kernels

    def with_a_wild_one(converter: TFLiteConverter, path: Path) -> list[Kernels]:
        own, *others = listed(converter, path)

        def answers(batches: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
            return [255 - outputs for outputs in own.answers(batches)]

        return [own, *others, Kernels("of another library", answers)]

    monkeypatch.setattr(TFLiteConverter, "kernels", with_a_wild_one)
    error = refused(small_run.source, small_run.evidence, folder, recipe="static_int8")
    assert isinstance(error, ParityError)
    assert "The engine's kernels of another library answer" in str(error)


@pytest.mark.parametrize("name", ["tflite", "onnx", "savedmodel"])
def test_export_is_refused_when_a_device_would_not_open_the_file(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    opens = exporting.open_classifier
    opened = list[Path]()

    def once(path: Path) -> object:
        opened.append(path)
        if len(opened) > 1:
            raise EngineError("The engine does not give the artifact's golden answers.")
        return opens(path)

    monkeypatch.setattr(exporting, "open_classifier", once)
    error = refused(small_run.source, small_run.evidence, folder, name=name)
    assert type(error) is ExportError
    assert "A device would not open the artifact: The engine does not give" in str(error)


@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_export_is_refused_when_the_golden_answers_are_not_the_engines(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def wrong(*arguments: object) -> Golden:
        golden = golden_answers(*arguments)  # type: ignore[arg-type]
        return dataclasses.replace(golden, outputs=golden.outputs[::-1])

    monkeypatch.setattr(exporting, "golden_answers", wrong)
    error = refused(small_run.source, small_run.evidence, folder, name=name)
    assert type(error) is ExportError
    assert "golden answers" in str(error)


def test_export_is_refused_when_another_engine_than_the_formats_own_decides(
    small_run: SmallRun, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = exporting.open_classifier

    def by_another(path: Path) -> Classifier:
        classifier = opens(path)
        classifier.engine = "another"
        return classifier

    monkeypatch.setattr(exporting, "open_classifier", by_another)
    error = refused(small_run.source, small_run.evidence, folder)
    assert type(error) is ExportError
    assert "another decides in place of litert" in str(error)
