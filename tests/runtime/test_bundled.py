"""The bundled models: small, whole, proved, and honest about what they were trained on."""

from pathlib import Path

import pytest
from support.pictures import gradient

from edgecell_runtime import Classifier, bundled, bundled_names, read_artifact
from edgecell_runtime.bundled import bundled_file
from edgecell_runtime.errors import ArtifactError

LIMITS = {"cell-nano": 10_240, "cell-micro": 30_720, "cell-small": 102_400}


def test_every_size_is_bundled_within_its_limit() -> None:
    assert set(bundled_names()) == set(LIMITS)
    sizes = {name: bundled_file(name).stat().st_size for name in bundled_names()}
    assert all(sizes[name] <= limit for name, limit in LIMITS.items())
    assert sum(sizes.values()) < 200_000


@pytest.mark.parametrize("name", LIMITS)
def test_bundled_model_opens_and_answers(name: str) -> None:
    with Classifier.bundled(name, threads=1) as classifier:
        prediction = classifier.predict(gradient())
    assert classifier.engine == "litert"  # which it is not without its golden answers
    assert set(prediction.probabilities) == {"Parasitized", "Uninfected"}
    assert prediction.positive is not None


@pytest.mark.parametrize("name", LIMITS)
def test_bundled_model_says_whose_figures_it_shows(name: str) -> None:
    manifest = read_artifact(bundled_file(name)).manifest
    evaluation, parity = manifest.evaluation, manifest.parity
    assert manifest.recipe == "static_int8"
    assert not manifest.source.drawn
    assert evaluation is not None
    assert (evaluation.folds, evaluation.patients, evaluation.n) == (5, 160, 22_165)
    assert parity is not None
    assert not parity.loosened
    card = bundled_file(name).with_suffix(".md").read_text(encoding="utf-8")
    assert "not of this model, which was trained on all images, but of 5 of the same recipe" in card
    assert "## Same answers on 1,000 drawn cells?" in card
    assert f'Classifier.bundled("{name}")' in card


def test_name_that_is_not_bundled_is_refused() -> None:
    with pytest.raises(ArtifactError, match="expected one of cell-micro, cell-nano, cell-small"):
        Classifier.bundled("cell-huge")


def test_opening_a_bundled_model_as_a_file_says_how_it_opens() -> None:
    with pytest.raises(ArtifactError, match=r"Classifier\.bundled\('cell-nano'\) opens"):
        Classifier.open("cell-nano")


def test_hidden_file_beside_the_bundled_models_is_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "MODELS", tmp_path)
    for name in ("cell-nano.tflite", "._cell-nano.tflite", "cell-nano.md"):
        (tmp_path / name).touch()
    assert bundled_names() == ("cell-nano",)
