import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models
from support.small_run import Conversions

from edgecell.tasks.manifest_tables import manifest_tables
from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Kernels
from edgecell_export.golden_answers import SAMPLE, golden_answers
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.errors import EngineError, ParityError
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.manifest import Golden, Manifest
from edgecell_runtime.signature import QuantizationParams

INPUTS = golden_inputs(FORMULA, models.SIZE)
PROBABILITIES = ((0.25, 0.75),) * len(INPUTS)
SAMPLES = models.random_pixels(SAMPLE)

INT8, FLOAT32 = artifacts.full_manifest(), artifacts.tiny_manifest()

Answer = Callable[[NDArray[np.generic]], NDArray[np.generic]]


def kernels(answer: Answer, *, slow: bool = False) -> Kernels:
    def answers(batches: Sequence[NDArray[np.generic]]) -> list[NDArray[np.generic]]:
        return [answer(batch) for batch in batches]

    return Kernels("fake", answers, slow)


def steps(batch: NDArray[np.generic]) -> NDArray[np.generic]:
    """int8 (n, 2), another answer to each image."""
    mean = batch.reshape(len(batch), -1).astype(np.float64).mean(axis=1)
    return np.stack([mean / 2, -mean / 2], axis=1).astype(np.int8)


def logits(batch: NDArray[np.generic]) -> NDArray[np.generic]:
    return (steps(batch) / 200).astype(np.float32)


def apart(answer: Answer, by: float, times: list[int] | None = None) -> Answer:
    """The same answers, the first output moved."""

    def moved(batch: NDArray[np.generic]) -> NDArray[np.generic]:
        found = answer(batch)
        found[:, 0] += np.array(by, found.dtype)
        if times is not None:
            times.append(len(batch))
        return found

    return moved


def failing(batch: NDArray[np.generic]) -> NDArray[np.generic]:
    raise EngineError("no kernel for this operator")


def measured(manifest: Manifest, *several: Kernels) -> Golden:
    return golden_answers(several, manifest, PROBABILITIES, SAMPLES)


# What is kept


def test_golden_holds_the_raw_steps_of_the_artifacts_own_kernels() -> None:
    golden = measured(INT8, kernels(steps), kernels(apart(steps, 1)))
    encoded = (INPUTS.astype(int) - 128).astype(np.int8)
    assert golden.outputs == tuple(map(tuple, steps(encoded).astype(float).tolist()))
    assert (golden.formula, golden.probabilities) == (FORMULA, PROBABILITIES)


def test_golden_holds_real_outputs_as_floats_of_32_bits() -> None:
    golden = measured(FLOAT32, kernels(logits))
    assert golden.outputs == tuple(map(tuple, logits(INPUTS).astype(float).tolist()))
    assert {type(value) for row in golden.outputs for value in row} == {float}
    written = json.loads(dataclasses.replace(FLOAT32, golden=golden).to_json())
    assert (np.array(written["golden"]["outputs"], np.float32) == logits(INPUTS)).all()


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_each_image_is_asked_alone(batch: int | None) -> None:
    """A batch of a fixed size holds copies, so that no image changes another's answer."""

    def of_batch(images: NDArray[np.generic]) -> NDArray[np.generic]:
        assert len(images) == (batch or 1)
        return np.repeat(logits(images).mean(axis=0, keepdims=True), len(images), axis=0)

    golden = measured(artifacts.tiny_manifest("onnx", batch), kernels(of_batch))
    assert np.allclose(golden.outputs, logits(INPUTS), atol=1e-6)


# How far kernels are apart


@pytest.mark.parametrize("by", [2, 3, 10])
@pytest.mark.parametrize("slow", [False, True])
def test_steps_are_the_largest_distance_of_kernels(by: int, slow: bool) -> None:
    near, far = kernels(apart(steps, 1)), kernels(apart(steps, -by), slow=slow)
    assert measured(INT8, kernels(steps), near, far).allowed_steps == by
    assert measured(INT8, kernels(steps), far, near).allowed_steps == by


@pytest.mark.parametrize("others", [(), (kernels(steps),), (kernels(failing),)])
def test_one_step_is_allowed_when_no_other_kernels_are_further_away(
    others: tuple[Kernels, ...],
) -> None:
    golden = measured(INT8, kernels(steps), *others)
    assert (golden.allowed_steps, golden.allowed_difference) == (1, 1e-3)


def test_twice_the_largest_difference_of_a_probability_is_allowed() -> None:
    golden = measured(FLOAT32, kernels(logits), kernels(apart(logits, 0.1)))
    both = [
        FLOAT32.head.probabilities(answer(np.concatenate([INPUTS, SAMPLES])), FLOAT32.labels)
        for answer in (logits, apart(logits, 0.1))
    ]
    assert golden.allowed_difference == pytest.approx(2 * np.abs(both[0] - both[1]).max(), abs=1e-9)
    assert golden.allowed_difference > 0.02
    assert golden.allowed_steps == 0


@pytest.mark.parametrize("others", [(), (kernels(apart(logits, 1e-4)),), (kernels(failing),)])
def test_a_thousandth_is_allowed_when_no_other_kernels_are_further_away(
    others: tuple[Kernels, ...],
) -> None:
    assert measured(FLOAT32, kernels(logits), *others).allowed_difference == 1e-3


def test_slow_kernels_answer_the_golden_inputs_alone() -> None:
    quick, slow = list[int](), list[int]()
    measured(
        INT8,
        kernels(steps),
        kernels(apart(steps, 0, quick)),
        kernels(apart(steps, 0, slow), slow=True),
    )
    assert (len(quick), len(slow)) == (len(INPUTS) + SAMPLE, len(INPUTS))


# Refused


@pytest.mark.parametrize(
    ("manifest", "answer", "by", "message"),
    [
        (INT8, steps, 11, "answer 11 steps apart from those that it takes by itself, on the same"),
        (FLOAT32, logits, 0.6, "(at most 0.1 are allowed)"),
        (FLOAT32, logits, np.nan, "answer nan apart"),
    ],
)
def test_kernels_that_disagree_wildly_are_refused(
    manifest: Manifest, answer: Answer, by: float, message: str
) -> None:
    with pytest.raises(ParityError, match=re.escape(message)) as caught:
        measured(manifest, kernels(answer), kernels(apart(answer, by)))
    assert str(caught.value).endswith("no file was written, try another recipe.")


def test_artifact_is_refused_when_its_own_answers_are_not_numbers() -> None:
    with pytest.raises(ParityError, match="answer nan apart"):
        measured(FLOAT32, kernels(apart(logits, np.inf)))


def test_artifact_is_refused_when_its_own_kernels_do_not_run_it() -> None:
    with pytest.raises(EngineError, match="no kernel for this operator"):
        measured(FLOAT32, kernels(failing), kernels(logits))


def test_steps_of_16_bits_are_that_much_finer() -> None:
    output = INT8.signature.outputs[0]
    fine = dataclasses.replace(output, dtype="int16", quantization=QuantizationParams(1e-3, 0))
    signature = dataclasses.replace(INT8.signature, outputs=(fine,))
    manifest = dataclasses.replace(INT8, signature=signature)

    def in_16_bits(batch: NDArray[np.generic]) -> NDArray[np.generic]:
        return steps(batch).astype(np.int16)

    far = kernels(apart(in_16_bits, 2560))
    assert measured(manifest, kernels(in_16_bits), far).allowed_steps == 2560
    with pytest.raises(ParityError, match="answer 2561 steps apart"):
        measured(manifest, kernels(in_16_bits), kernels(apart(in_16_bits, 2561)))


# The formats' kernels


@pytest.mark.parametrize(
    ("name", "recipe", "names"),
    [
        ("savedmodel", "float32", ["tensorflow"]),
        ("onnx", "static_int8", ["onnxruntime", "without graph optimisation"]),
        ("tflite", "static_int8", ["litert", "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "BUILTIN_REF"]),
    ],
)
def test_every_kernel_of_a_format_answers_nearly_the_same(
    conversions: Conversions, name: str, recipe: str, names: list[str]
) -> None:
    found = CONVERTERS[name].kernels(conversions.path(name, recipe))
    images = [image[np.newaxis] for image in conversions.calibration.first(4)]
    answers = [np.concatenate(item.answers(images)).astype(float) for item in found]
    assert [item.name for item in found] == names
    limit = 4 if answers[0].max() > 50 else 0.5  # steps, or logits
    assert all(np.abs(answer - answers[0]).max() <= limit for answer in answers)
    assert answers[0].std() > 0


@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_kernels_that_do_not_run_a_model_say_so(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"no model")
    for item in CONVERTERS[name].kernels(path):
        with pytest.raises(EngineError):
            item.answers([INPUTS[:1]])


# Where people meet them


@pytest.mark.parametrize(
    ("manifest", "rows"),
    [
        (INT8, ["8, to inputs of the formula cells-1", "2 of the output's steps"]),
        (FLOAT32, ["8, to inputs of the formula cells-1", "0.001 of a probability"]),
        (
            dataclasses.replace(FLOAT32, golden=Golden("ramps-1", PROBABILITIES[:4])),
            [
                "4, to inputs of the formula ramps-1",
                "not said: these answers are the source model's alone; export it again",
            ],
        ),
        (dataclasses.replace(FLOAT32, golden=Golden()), []),
    ],
)
def test_inspect_says_how_far_engines_may_differ(manifest: Manifest, rows: list[str]) -> None:
    artifact = Artifact(Path("x.tflite"), manifest, "0" * 64, 1, b"")
    shown = {str(row[0]): row[1] for table in manifest_tables(artifact) for row in table.rows}
    names = ["golden answers", "engines may differ by"]
    assert [shown[name] for name in names if name in shown] == rows
