import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from support.small_run import SmallRun

from edgecell_export.parity import SAMPLE, measure_parity, parity_sample, require_parity
from edgecell_export.recipes import QUANTIZE, RECIPES, find_recipe
from edgecell_export.source import Answer, Evidence, KnownImage
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import DataError, ExportError, ParityError, UsageError
from edgecell_runtime.heads import Head
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.manifest import Manifest, Parity, ParityLimits, Source
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.signature import PIXELS, QuantizationParams, Signature, TensorSpec

LIMITS = ParityLimits(largest_difference=0.01, changed_labels=0.02, accuracy_drop=0.02)
SAME = Parity(
    sample=200,
    limits=LIMITS,
    largest_difference=0.0,
    mean_difference=0.0,
    changed_labels=0.0,
    accuracy_change=0.0,
)
NAN = math.nan


def after(**changes: float) -> Parity:
    return dataclasses.replace(SAME, **changes)


@pytest.mark.parametrize(
    "parity",
    [
        SAME,
        after(largest_difference=0.01),
        after(changed_labels=4 / 200),
        after(accuracy_change=-4 / 200),
        after(accuracy_change=0.5),
        after(sample=50, changed_labels=1 / 50, accuracy_change=-1 / 50),
        after(sample=7, changed_labels=1 / 7, accuracy_change=-1 / 7),
        after(sample=299, changed_labels=6 / 299, accuracy_change=-6 / 299),
        dataclasses.replace(after(changed_labels=0.9), limits=ParityLimits()),
    ],
    ids=[
        "same",
        "difference",
        "labels",
        "accuracy",
        "better",
        "one",
        "one of few",
        "rounded up",
        "no limits",
    ],
)
def test_parity_is_kept_up_to_its_limits(parity: Parity) -> None:
    require_parity(parity)


@pytest.mark.parametrize(
    ("parity", "message"),
    [
        (after(largest_difference=0.0101), r"a probability differs by 1\.01e-02 \(at most 1e-02\)"),
        (after(changed_labels=5 / 200), r"2\.50% of the labels change \(at most 2\.00%\)"),
        (after(accuracy_change=-5 / 200), r"accuracy falls by 2\.50 points \(at most 2\.00%\)"),
        (after(sample=50, changed_labels=2 / 50), r"4\.00% of the labels change"),
        (after(sample=299, changed_labels=7 / 299), r"2\.34% of the labels change"),
        (after(largest_difference=NAN), "a probability differs by nan"),
        (after(changed_labels=NAN), "nan% of the labels change"),
        (after(accuracy_change=NAN), "accuracy falls by nan points"),
    ],
)
def test_parity_is_refused_beyond_a_limit(parity: Parity, message: str) -> None:
    with pytest.raises(ParityError, match=message):
        require_parity(parity)


def test_refusal_holds_all_figures() -> None:
    parity = after(
        largest_difference=0.25, mean_difference=0.0625, changed_labels=0.1, accuracy_change=-0.05
    )
    with pytest.raises(ParityError) as caught:
        require_parity(parity)
    message = str(caught.value)
    assert "on 200 held-out images" in message
    assert "(at most 1e-02); 10.00% of the labels" in message
    assert "Largest difference of a probability 0.2500, mean 0.0625" in message
    assert "labels changed 10.00%, accuracy -5.00 points. No file was written" in message


def test_every_recipe_limits_something_and_says_whether_it_makes_integers() -> None:
    assert all(recipe.limits != ParityLimits() for recipe in RECIPES.values())
    integers = {name for name, recipe in RECIPES.items() if recipe.integer_weights}
    assert set(RECIPES) - integers == {"float32", "float16"}


def test_find_recipe_knows_the_short_names() -> None:
    assert {short: find_recipe(short).name for short in QUANTIZE} == QUANTIZE
    with pytest.raises(UsageError, match="no quantisation 'int4'; expected one of none, float16"):
        find_recipe("int4")


def test_parity_sample_depends_on_the_seed_alone(small_run: SmallRun) -> None:
    evidence = small_run.evidence
    shuffled = dataclasses.replace(evidence, held_out=list(reversed(evidence.held_out)))
    assert parity_sample(shuffled) == parity_sample(evidence)
    other = parity_sample(dataclasses.replace(evidence, seed=8))
    assert other != parity_sample(evidence)
    assert {answer.image.name for answer in other} == {a.image.name for a in evidence.held_out}


def test_parity_sample_has_a_most_and_a_least(small_run: SmallRun) -> None:
    def answers(count: int) -> Evidence:
        known = [KnownImage(f"{i}", "0" * 64, "Parasitized") for i in range(count)]
        held_out = [Answer(image, (0.5, 0.5)) for image in known]
        return dataclasses.replace(small_run.evidence, held_out=held_out)

    assert len(set(parity_sample(answers(SAMPLE + 1)))) == SAMPLE
    assert len(parity_sample(answers(50))) == 50
    with pytest.raises(ExportError, match="held out 49 images; parity needs at least 50"):
        parity_sample(answers(49))


STEP = 0.25


def fake_classifier(
    quantization: QuantizationParams | None, temperature: float = 1.0
) -> Classifier:
    """Two logits from the mean of an image, 0 and ``mean - 128``, in steps or as floats."""
    signature = Signature(
        (TensorSpec("image", "uint8", (1, 16, 16, 3), "NHWC", PIXELS),),
        (TensorSpec("logits", "float32" if quantization is None else "uint8", (1, 2), "NC",
                    quantization),),
    )  # fmt: skip

    def answer(pixels: np.ndarray) -> np.ndarray:
        logits = np.array([[0.0, (pixels.mean() - 128) / 32]])
        if quantization is None:
            return logits.astype(np.float32)
        return (np.rint(logits / STEP) + quantization.zero_point).astype(np.uint8)

    manifest = Manifest(
        format="tflite",
        recipe="static_int8",
        labels=("Parasitized", "Uninfected"),
        signature=signature,
        preprocessing=PreprocessSpec(16, 16),
        head=Head("softmax"),
        source=Source("0" * 64),
        positive_label="Parasitized",
        temperature=temperature,
    )
    return Classifier(FakeSession(signature, answer), manifest)


def own_answers(classifier: Classifier, run: SmallRun) -> list[Answer]:
    """What the classifier itself answers for the held-out images."""
    found = []
    for answer in run.evidence.held_out:
        image = run.evidence.images.get(answer.image.name)
        assert image is not None
        prediction = classifier.predict(run.evidence.images.read(image))
        found.append(Answer(answer.image, tuple(prediction.probabilities.values())))
    return found


def test_measured_parity_is_of_the_answers_given(small_run: SmallRun) -> None:
    classifier = fake_classifier(None)
    sample = own_answers(classifier, small_run)[:50]
    same = measure_parity(classifier, small_run.evidence, sample, LIMITS)
    assert same == dataclasses.replace(SAME, sample=50, probability_step=None)
    p, q = sample[0].probabilities
    swapped = [Answer(sample[0].image, (q, p)), *sample[1:]]
    one_off = measure_parity(classifier, small_run.evidence, swapped, LIMITS)
    right = sample[0].image.label == ("Parasitized" if p > q else "Uninfected")
    assert one_off.changed_labels == pytest.approx(1 / 50)
    assert one_off.accuracy_change == pytest.approx(1 / 50 if right else -1 / 50)
    assert one_off.largest_difference == pytest.approx(abs(p - q))
    assert one_off.mean_difference == pytest.approx(abs(p - q) / 50)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_probability_step_is_that_of_one_step_of_an_output_nearest_to_the_threshold(
    small_run: SmallRun, temperature: float
) -> None:
    classifier = fake_classifier(QuantizationParams(STEP, 100), temperature)
    sample = own_answers(classifier, small_run)
    found = measure_parity(classifier, small_run.evidence, sample, LIMITS).probability_step
    assert any(abs(answer.probabilities[0] - 0.5) < 1e-9 for answer in sample)
    # At even odds, where the sigmoid is steepest, one step leads from 1/2 to here.
    assert found == pytest.approx(1 / (1 + math.exp(-STEP / temperature)) - 0.5)


def test_probability_step_is_none_when_outputs_are_floats(small_run: SmallRun) -> None:
    classifier = fake_classifier(None)
    sample = own_answers(classifier, small_run)[:50]
    assert measure_parity(classifier, small_run.evidence, sample, LIMITS).probability_step is None


def test_parity_is_refused_when_an_image_is_gone_or_changed(
    small_run: SmallRun, tmp_path: Path
) -> None:
    sample = small_run.evidence.held_out[:50]
    name = sample[3].image.name
    for label in ("Parasitized", "Uninfected"):
        (tmp_path / label).mkdir()
        for file in (small_run.folder / label).iterdir():
            (tmp_path / label / file.name).hardlink_to(file)
    (tmp_path / name).unlink()
    for content, message in [
        (None, f"has no image {name}"),
        (b"other", f"{name} in .* was changed"),
    ]:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with open_labelled(tmp_path) as images:
            evidence = small_run.with_images(images)
            with pytest.raises(DataError, match=message):
                measure_parity(fake_classifier(None), evidence, sample, LIMITS)
