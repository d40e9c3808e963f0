"""The model card in words that are true of its run."""

import dataclasses

import pytest
from support import artifacts

from edgecell_export.card import model_card, rule_words
from edgecell_export.operators import Operators
from edgecell_runtime.manifest import Evaluation, Figure, Manifest

FIGURE = Figure(0.9, 0.8, 0.95)


def _manifest(patients: int = 20, **configuration: str) -> Manifest:
    full = artifacts.full_manifest()
    return dataclasses.replace(
        full,
        positive_label="Parasitized",
        threshold=0.3,
        threshold_rule="youden",
        evaluation=Evaluation(200, patients, FIGURE, FIGURE, FIGURE, FIGURE),
        source=dataclasses.replace(full.source, configuration=configuration),
    )


def _card(manifest: Manifest) -> str:
    return model_card("small.tflite", manifest, Operators((), 12), 1234)


@pytest.mark.parametrize(
    ("manifest", "whose"),
    [
        (_manifest(), "patients"),
        (_manifest(split="patient"), "patients"),
        (_manifest(split="image"), "images"),
        (_manifest(patients=0), "images"),
    ],
)
def test_card_claims_patients_of_their_own_only_where_they_were_split(
    manifest: Manifest, whose: str
) -> None:
    card = _card(manifest)
    assert f", from training {whose} only; " in card
    rule = f"the highest sensitivity + specificity - 1 on the validation {whose}"
    assert f"| positive | Parasitized at a probability of 0.3 or more ({rule}) |" in card


def test_card_says_whose_figures_it_shows_where_all_images_were_trained_on() -> None:
    manifest = _manifest()
    assert manifest.evaluation is not None
    folds = dataclasses.replace(manifest.evaluation, folds=5)
    card = _card(dataclasses.replace(manifest, evaluation=folds))
    assert "not of this model, which was trained on all images, but of 5 of the same recipe" in card
    assert "on the answers of a cross-validation's folds" in card
    assert "image files (trained on, not calibrated on)" in card
    assert "from other patients than parity's; " in card
    assert "held-out" not in card


def test_card_says_which_decision_each_figure_is_of() -> None:
    card = _card(_manifest())
    assert "| accuracy (of the likeliest label) | 0.900 (0.800 to 0.950) |" in card
    assert "| sensitivity (at 0.3) | " in card
    assert "| AUC | " in card


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("fixed", "fixed"),
        ("youden", "the highest sensitivity + specificity - 1 on the validation patients"),
        (
            "sensitivity >= 0.95",
            "the highest specificity at a sensitivity >= 0.95 on the validation patients",
        ),
    ],
)
def test_rule_of_the_threshold_is_said_in_words(rule: str, words: str) -> None:
    assert rule_words(rule, "the validation patients") == words
