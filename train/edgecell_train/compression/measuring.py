"""What a net costs and answers as an int8 TFLite file, on validation images."""

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_export.building import ArtifactBuilder
from edgecell_export.conversion_process import ConversionRunner
from edgecell_export.formats import CONVERTERS
from edgecell_export.golden_answers import SAMPLE, golden_answers
from edgecell_export.macs import tflite_macs
from edgecell_export.options import ExportOptions
from edgecell_export.parity import compare
from edgecell_export.recipes import RECIPES
from edgecell_export.source import Evidence, source_probabilities
from edgecell_export.speed import Turns, measure_by_turns, median_ms, speed_ratio
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import ParityError
from edgecell_runtime.manifest import Manifest
from edgecell_train.compression.merging import widths_of
from edgecell_train.feeding import LabelledPixels
from edgecell_train.presets.base import KerasModel
from edgecell_train.run_record import RunRecord
from edgecell_train.runs import source_model_of, weights_sha256

_TURNS: Final = Turns(rounds=400, max_seconds=8.0)
_TIMED_IMAGES: Final = 64
_TFLITE: Final = CONVERTERS["tflite"]
_INT8: Final = RECIPES["static_int8"]
_FLOAT: Final = RECIPES["float32"]


@dataclass(frozen=True)
class Measured:
    """A net as an int8 TFLite file.

    Attributes:
        size_bytes: Of the file, manifest included.
        latency_ms: Median of one query in LiteRT with one thread.
        speed: How many times as fast as the source in float32, by turns.
        macs: Multiply-accumulates of one query.
        parameters: Of the Keras net.
        accuracy: Of the file on the validation images, by the likeliest label.
        changed_labels: Share of them to which the Keras net gives another label.
        widths: Channels by layer.
        problem: Why a device should not get the file; empty where it may.
    """

    size_bytes: int
    latency_ms: float
    speed: float
    macs: int
    parameters: int
    accuracy: float
    changed_labels: float
    widths: Mapping[str, int]
    problem: str = ""


class Meter:
    """Measures nets beside the one that they come from.

    Args:
        source: The net to be compressed.
        record: Its run's.
        evidence: Its images; those of training patients set the ranges of integers.
        validation: The images that accuracy is measured on.
        runner: Where converters run.

    Raises:
        ExportError: The source cannot be converted.
    """

    def __init__(
        self,
        source: KerasModel,
        record: RunRecord,
        evidence: Evidence,
        validation: LabelledPixels,
        runner: ConversionRunner,
    ) -> None:
        self._evidence, self._runner = evidence, runner
        self._validation = validation
        self._pixels = validation.take(np.arange(len(validation)))
        answers = source_probabilities(source, self._pixels, record.head, record.labels)
        self.accuracy = float(np.mean(answers.argmax(axis=1) == validation.truth))
        with _place() as place:
            reference = place / "source-float32.tflite"
            self._builder(source, record, place).build(_TFLITE, _FLOAT, reference)
            self._reference = Classifier.open(reference, threads=1)

    def close(self) -> None:
        """Closes the reference."""
        self._reference.close()

    def measure(self, model: KerasModel, record: RunRecord) -> Measured:
        """Converts a net and measures its file.

        Args:
            model: The net.
            record: What the manifest takes what it says from; the weights' hash is the net's.

        Raises:
            ExportError: It cannot be converted.
        """
        record = dataclasses.replace(record, weights_sha256=weights_sha256(model))
        expected = source_probabilities(
            model, self._pixels, record.head, record.labels, record.temperature
        )
        with _place() as place:
            builder, artifact = self._builder(model, record, place), place / "point.tflite"
            bare, manifest = builder.build(_TFLITE, _INT8, artifact)
            with Classifier.open(artifact, threads=1) as opened:
                found = np.concatenate([opened.probabilities(one[None]) for one in self._pixels])
                times = measure_by_turns(
                    [opened, self._reference], self._pixels[:_TIMED_IMAGES], _TURNS
                )
            parity = compare(expected, found, self._validation.truth, _INT8.limits)
            # An export adds these two, which take their bytes.
            manifest, problem = self._proven(builder, bare, manifest)
            _TFLITE.seal(bare, dataclasses.replace(manifest, parity=parity), artifact)
            size, macs = artifact.stat().st_size, tflite_macs(bare.read_bytes())
        return Measured(
            size_bytes=size,
            latency_ms=median_ms(times[0]),
            speed=speed_ratio(times[0], times[1]).value,
            macs=macs or 0,
            parameters=model.count_params(),
            accuracy=self._accuracy(found),
            changed_labels=parity.changed_labels,
            widths=widths_of(model),
            problem=problem,
        )

    def _proven(
        self, builder: ArtifactBuilder, bare: Path, manifest: Manifest
    ) -> tuple[Manifest, str]:
        """With golden answers; without, and why, where the engine's kernels are too far apart."""
        kernels, sample = _TFLITE.kernels(bare), self._pixels[:SAMPLE]
        try:
            golden = golden_answers(kernels, manifest, builder.golden_probabilities, sample)
        except ParityError as error:
            return manifest, str(error)
        return dataclasses.replace(manifest, golden=golden), ""

    def _accuracy(self, probabilities: NDArray[np.float64]) -> float:
        return float(np.mean(probabilities.argmax(axis=1) == self._validation.truth))

    def _builder(self, model: KerasModel, record: RunRecord, place: Path) -> ArtifactBuilder:
        source = source_model_of(record, model)
        return ArtifactBuilder(source, self._evidence, ExportOptions(), self._runner, place)


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    """A folder for one conversion's files."""
    with tempfile.TemporaryDirectory(prefix="edgecell-") as folder:
        yield Path(folder)
