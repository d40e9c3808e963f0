"""Manifests, and sealed artifacts of the tiny graphs."""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.containers import container_of
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import (
    Calibration,
    Evaluation,
    Figure,
    FloatLayer,
    Format,
    Golden,
    Manifest,
    Parity,
    ParityLimits,
    Source,
)
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.signature import QuantizationParams, Signature, TensorSpec, quantize
from support import models

LABELS = ("Parasitized", "Uninfected")


def signature(
    batch: int | None = None,
    *,
    outputs: int = models.OUTPUTS,
    size: tuple[int, int, int] = models.SIZE,
) -> Signature:
    return Signature(
        (TensorSpec("pixels", "uint8", (batch, *size), "NHWC"),),
        (TensorSpec("logits", "float32", (batch, outputs), "NC"),),
    )


def int8_signature() -> Signature:
    """The signature of ``models.int8_tflite_model``."""
    scale = float(models.np.float32(models.INT8_INPUT[0]))
    pixels = QuantizationParams(scale, models.INT8_INPUT[1])
    logits = QuantizationParams(*models.INT8_OUTPUT)
    return Signature(
        (TensorSpec("pixels", "int8", (1, *models.SIZE), "NHWC", pixels),),
        (TensorSpec("logits", "int8", (1, models.OUTPUTS), "NC", logits),),
    )


def tiny_manifest(artifact_format: Format = "tflite", batch: int | None = None) -> Manifest:
    """The least that an artifact of the tiny graphs says of itself."""
    return Manifest(
        format=artifact_format,
        recipe="float32",
        labels=LABELS,
        signature=signature(batch),
        preprocessing=PreprocessSpec(*models.SIZE[:2]),
        head=Head("softmax"),
        source=Source(weights_sha256="0" * 64),
        positive_label="Parasitized",
        golden=_golden(),
    )


def _golden() -> Golden:
    """What an export of the tiny graphs would find."""
    logits = models.expected_logits(golden_inputs(FORMULA, models.SIZE)).astype("float32")
    probabilities = Head("softmax").probabilities(logits, LABELS)
    return Golden(FORMULA, _rows(probabilities), _rows(logits))


def _int8_golden() -> Golden:
    """The same of ``models.int8_tflite_model``; the source model's answers are made up."""
    real = models.int8_expected_logits(golden_inputs(FORMULA, models.SIZE))
    steps = quantize(real, QuantizationParams(*models.INT8_OUTPUT), "int8").astype("float64")
    return Golden(FORMULA, ((0.25, 0.75), (0.5, 0.5)), _rows(steps), 2, 0.004)


def _rows(values: NDArray[np.floating]) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, values.tolist()))


def full_manifest() -> Manifest:
    """A manifest with every key filled in."""
    figure = Figure(0.952, 0.941, 0.962)
    return dataclasses.replace(
        tiny_manifest(),
        recipe="static_int8",
        signature=int8_signature(),
        temperature=1.7,
        threshold=0.31,
        threshold_rule="sensitivity at least 0.97 on validation patients",
        target="cortex-m55",
        golden=_int8_golden(),
        calibration=Calibration(count=256, seed=11, sha256="1" * 64, ranges="mse"),
        parity=Parity(
            sample=500,
            limits=ParityLimits(largest_difference=0.1, changed_labels=0.01),
            largest_difference=0.03,
            mean_difference=0.004,
            changed_labels=0.002,
            accuracy_change=-0.0004,
            probability_step=0.012,
            loosened=True,
        ),
        evaluation=Evaluation(5393, 40, figure, figure, figure, figure),
        float_layers=(FloatLayer("last", "as integers too, 6.10 points are lost"),),
        source=Source(
            weights_sha256="2" * 64,
            data_sha256="3" * 64,
            configuration={"preset": "tiny", "rate": 0.001, "epochs": 20, "flip": True, "x": None},
            seed=5,
            versions={"keras": "3.15.1"},
            time="2026-01-02T03:04:05Z",
            drawn=True,
        ),
    )


def tiny_model(artifact_format: Format, batch: int | None = None) -> bytes:
    build = models.tflite_model if artifact_format == "tflite" else models.onnx_model
    return build(batch)


def tiny_artifact(artifact_format: Format, batch: int | None = None) -> bytes:
    """A tiny graph, sealed."""
    manifest = tiny_manifest(artifact_format, batch)
    return container_of(artifact_format).seal(tiny_model(artifact_format, batch), manifest)


def write_artifact(folder: Path, artifact_format: Format) -> Path:
    path = folder / f"tiny.{artifact_format}"
    path.write_bytes(tiny_artifact(artifact_format))
    return path
