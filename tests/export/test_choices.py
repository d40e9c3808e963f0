"""What choices are made on: which validation images, and what a candidate loses there."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.small_run import HEAD, LABELS, SPEC, SmallRun

from edgecell_export import choices
from edgecell_export.choices import Validation, write_validation
from edgecell_export.pixels import PixelFile
from edgecell_export.source import source_probabilities
from edgecell_runtime.errors import DataError, ExportError
from edgecell_runtime.manifest import ParityLimits


def written(run: SmallRun, folder: Path, **changes: object) -> Validation:
    evidence = dataclasses.replace(run.evidence, **changes)  # type: ignore[arg-type]
    return write_validation(PixelFile(folder / "pixels", SPEC.shape), evidence, run.source)


def test_validation_holds_pixels_truth_and_answers_of_the_same_images(
    small_run: SmallRun, tmp_path: Path
) -> None:
    found = written(small_run, tmp_path)
    known = sorted(small_run.evidence.validation, key=lambda image: image.name)
    order = np.random.default_rng(7).permutation(len(known))
    files = [small_run.folder / known[i].name for i in order]
    pixels = np.stack([SPEC.apply(path) for path in files])
    assert np.array_equal(found.pixels.first(1000), pixels)
    assert found.truth.tolist() == [LABELS.index(known[i].label) for i in order]
    expected = source_probabilities(small_run.source.model, pixels, HEAD, LABELS)
    assert np.abs(found.expected - expected).max() < 1e-6
    assert (found.positive, found.threshold) == (0, 0.5)


def test_answers_are_at_the_temperature_that_the_artifact_will_have(
    small_run: SmallRun, tmp_path: Path
) -> None:
    warm = dataclasses.replace(small_run.source, temperature=2.5)
    pixels = PixelFile(tmp_path / "pixels", SPEC.shape)
    found = write_validation(pixels, small_run.evidence, warm)
    images = pixels.first(1000)
    plain = source_probabilities(small_run.source.model, images, HEAD, LABELS)
    expected = source_probabilities(small_run.source.model, images, HEAD, LABELS, 2.5)
    assert np.abs(found.expected - expected).max() < 1e-6
    assert np.abs(expected - plain).max() > 0.01


def test_validation_images_are_of_no_patient_of_training_or_test(small_run: SmallRun) -> None:
    evidence = small_run.evidence
    chosen = {image.patient for image in evidence.validation}
    others = {image.patient for image in evidence.training}
    others |= {answer.image.patient for answer in evidence.held_out}
    assert len(chosen) == 2
    assert not chosen & (others | {None})


def test_validation_is_the_same_whatever_the_order_and_has_a_most(
    small_run: SmallRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "SAMPLE", 55)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = written(small_run, tmp_path / "a")
    backwards = list(reversed(small_run.evidence.validation))
    second = written(small_run, tmp_path / "b", validation=backwards)
    assert len(first.truth) == 55
    assert np.array_equal(first.expected, second.expected)


@pytest.mark.parametrize(
    ("classes", "count", "message"),
    [
        (LABELS, 0, "has 0 images of validation patients and none is Parasitized"),
        (LABELS, 49, "has 49 images of validation patients and at least 50 are needed"),
        (LABELS[:1], 60, "validation patients and none is Uninfected; layers and recipes are"),
    ],
)
def test_validation_is_refused_when_images_are_lacking(
    small_run: SmallRun, tmp_path: Path, classes: tuple[str, ...], count: int, message: str
) -> None:
    known = [image for image in small_run.evidence.validation if image.label in classes]
    mixed = sorted(known * 2, key=lambda image: image.name.partition("_cell_")[2])
    with pytest.raises(ExportError, match=rf"{message}.*Train on more images\."):
        written(small_run, tmp_path, validation=mixed[:count])


def test_validation_is_refused_when_an_image_was_changed(
    small_run: SmallRun, tmp_path: Path
) -> None:
    known = list(small_run.evidence.validation)
    known[5] = dataclasses.replace(known[5], sha256="0" * 64)
    with pytest.raises(DataError, match="was changed since the run was made"):
        written(small_run, tmp_path, validation=known)


def validation(
    truth: list[int], scores: list[float], positive: int | None, threshold: float = 0.5
) -> Validation:
    """Of a source that gives these probabilities to label 0."""
    return Validation(
        PixelFile(Path("never-read"), SPEC.shape),
        np.array(truth),
        of_first(scores),
        positive,
        threshold,
    )


def of_first(scores: list[float]) -> np.ndarray:
    return np.stack([np.array(scores), 1 - np.array(scores)], axis=1)


TRUTH = [0, 0, 0, 0, 1, 1, 1, 1]
SCORES = [0.9, 0.8, 0.7, 0.4, 0.6, 0.3, 0.2, 0.1]


@pytest.mark.parametrize("positive", [0, 1, None])
def test_source_itself_loses_nothing(positive: int | None) -> None:
    loss = validation(TRUTH, SCORES, positive).loss(of_first(SCORES))
    assert (loss.sample, loss.distance, loss.accuracy) == (8, 0, 0.75)
    assert loss.points <= 0


def test_loss_is_of_accuracy_without_a_positive_label() -> None:
    moved = [0.9, 0.8, 0.4, 0.4, 0.6, 0.3, 0.2, 0.1]  # one more of label 0 is missed
    loss = validation(TRUTH, SCORES, None).loss(of_first(moved))
    assert loss.points == pytest.approx(100 / 8)
    assert loss.accuracy == pytest.approx(5 / 8)
    assert loss.distance == pytest.approx(0.3 / 8)
    better = [0.9, 0.8, 0.7, 0.55, 0.6, 0.3, 0.2, 0.1]
    assert validation(TRUTH, SCORES, None).loss(of_first(better)).points == pytest.approx(-12.5)


def test_loss_is_of_sensitivity_at_the_specificity_that_the_source_has() -> None:
    """The source leaves three of four negatives alone, and finds three of four positives."""
    # At the same specificity, two positives lie under the second highest negative.
    moved = [0.9, 0.8, 0.25, 0.2, 0.6, 0.3, 0.2, 0.1]
    found = validation(TRUTH, SCORES, 0).loss(of_first(moved))
    assert found.points == pytest.approx(100 * (3 / 4 - 2 / 4))


def test_loss_does_not_count_what_another_threshold_would_mend() -> None:
    shifted = [score / 3 for score in SCORES]
    loss = validation(TRUTH, SCORES, 0).loss(of_first(shifted))
    assert loss.points <= 0
    assert loss.accuracy == 0.5
    assert validation(TRUTH, SCORES, None).loss(of_first(shifted)).points == pytest.approx(25)


def test_loss_is_of_auc_where_that_is_more() -> None:
    moved = [0.9, 0.8, 0.7, 0.05, 0.6, 0.3, 0.2, 0.1]  # below all negatives, and missed before
    loss = validation(TRUTH, SCORES, 0).loss(of_first(moved))
    assert loss.points == pytest.approx(100 * 3 / 16)  # pairs in the wrong order now


def test_loss_takes_the_positive_labels_own_probability() -> None:
    moved = [0.9, 0.8, 0.7, 0.05, 0.6, 0.3, 0.2, 0.1]
    with_first = validation(TRUTH, SCORES, 0).loss(of_first(moved))
    with_second = validation(TRUTH, SCORES, 1).loss(of_first(moved))
    assert with_first.points == pytest.approx(with_second.points)
    turned = [1 - score for score in SCORES]
    assert validation(TRUTH, SCORES, 1).loss(of_first(turned)).points > 50


def test_loss_is_everything_when_the_answer_is_constant() -> None:
    loss = validation(TRUTH, SCORES, 0).loss(of_first([0.5] * 8))
    assert loss.points == pytest.approx(75)


def test_parity_on_validation_images_is_that_of_the_answers() -> None:
    moved = [0.9, 0.8, 0.4, 0.4, 0.6, 0.3, 0.2, 0.1]
    limits = ParityLimits(changed_labels=0.01)
    parity = validation(TRUTH, SCORES, 0).parity(of_first(moved), limits)
    assert (parity.sample, parity.limits) == (8, limits)
    assert parity.changed_labels == pytest.approx(1 / 8)
    assert parity.accuracy_change == pytest.approx(-1 / 8)
