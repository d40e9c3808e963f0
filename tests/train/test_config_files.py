"""Configuration files: what they may say, what lies over what, and that they come back the same."""

import dataclasses
from pathlib import Path

import pytest

from edgecell_runtime.errors import UsageError
from edgecell_train.config import Augmentation, Optimizer, Schedule, TrainConfig
from edgecell_train.config_files import (
    Layer,
    differences,
    merged,
    parse_setting,
    read_config,
    scalars,
    toml_text,
)

ODD = TrainConfig(
    preset="mlp",
    data="/data/cells.zip",
    size=(32, 48),
    seed=7,
    deterministic=True,
    optimizer=Optimizer("sgd", 0.1, momentum=0.9),
    schedule=Schedule("cosine", warmup_epochs=0.5),
    augmentation=Augmentation(flips=True, rotation=15.0),
)


def _write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _refusal(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        merged(TrainConfig(), [read_config(_write(folder, text))])
    return str(caught.value)


@pytest.mark.parametrize("config", [TrainConfig(), ODD])
def test_config_is_read_back_the_same(config: TrainConfig, tmp_path: Path) -> None:
    layer = read_config(_write(tmp_path, toml_text(config)))
    assert merged(TrainConfig(epochs=99, augmentation=Augmentation(hue=3.0)), [layer]) == config


def test_file_changes_only_what_it_says(tmp_path: Path) -> None:
    text = "epochs = 3\n[optimizer]\nlearning_rate = 1\n[augmentation]\nflips = true\n"
    assert merged(ODD, [read_config(_write(tmp_path, text))]) == dataclasses.replace(
        ODD,
        epochs=3,
        optimizer=Optimizer("sgd", 1.0, momentum=0.9),
        augmentation=Augmentation(flips=True, rotation=15.0),
    )


def test_later_layers_win_option_by_option() -> None:
    layers = [
        Layer("file", {"epochs": 3, "optimizer": {"name": "sgd", "momentum": 0.5}}),
        parse_setting("optimizer.momentum=0.9"),
        parse_setting("seed=4"),
        parse_setting("seed=5"),
    ]
    assert merged(TrainConfig(), layers) == TrainConfig(
        epochs=3, seed=5, optimizer=Optimizer("sgd", momentum=0.9)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rotation = 15", "recipe.toml: there is no option 'rotation'; it belongs into [augmenta"),
        ("[optimizer]\nrate = 1", "[optimizer] has no option 'rate'; there are name, learning_ra"),
        ("[optimizer]\nlerning_rate = 1", "Did you mean learning_rate?"),
        ("[schedule]\nepochs = 1", "belongs to the top of the file, before the first section."),
        (
            "[augmentation.rotation]\nmost = 1",
            "rotation is {'most': 1}, expected a finite",
        ),
        ("optimizer = 'sgd'", "optimizer is a section; expected [optimizer] with options below"),
        ("epochs = 'many'", "recipe.toml: epochs is 'many', expected int."),
        ("epochs = 3.0", "epochs is 3.0, expected int."),
        ("seed = true", "seed is True, expected int."),
        ("[optimizer]\nname = 'adan'", "optimizer.name is 'adan', expected one of 'adam', 'adamw'"),
        (
            "[optimizer]\nlearning_rate = nan",
            "optimizer.learning_rate is nan, expected a finite",
        ),
        ("size = [64, 'x']", "size[1] is 'x', expected int."),
        ("seed = 2026-11-22", "seed is datetime.date(2026, 11, 22), expected int."),
        ("epochs = ", "is not valid TOML: "),
        ("epochs = 1\nepochs = 2", "is not valid TOML: "),
        ("preset = 'mlp'\nmodel = 'a:b'", "has both a preset and a model; expected one of them."),
    ],
)
def test_file_that_says_something_else_is_refused_with_the_place(
    text: str, said: str, tmp_path: Path
) -> None:
    assert said in _refusal(tmp_path, text)


def test_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.toml cannot be read: No such file"):
        read_config(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"data = '\xe9'")
    with pytest.raises(UsageError, match="is not valid TOML: 'utf-8' codec"):
        read_config(tmp_path / "latin.toml")


def test_relative_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    text = "data = 'cells.zip'\npatients = '/else/patients.csv'\nmodel = 'net.keras'\n"
    config = merged(TrainConfig(preset=""), [read_config(_write(tmp_path, text))])
    assert (config.data, config.patients) == (str(tmp_path / "cells.zip"), "/else/patients.csv")
    assert config.model == str(tmp_path / "net.keras")
    kept = merged(config, [read_config(_write(tmp_path, "model = 'package.nets:small'"))])
    assert kept.model == "package.nets:small"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("epochs=3", {"epochs": 3}),
        ("augmentation.rotation=15", {"augmentation": {"rotation": 15}}),
        ("augmentation.flips=true", {"augmentation": {"flips": True}}),
        ("optimizer.name=sgd", {"optimizer": {"name": "sgd"}}),
        ("positive=not a number", {"positive": "not a number"}),
        ("positive='1'", {"positive": "1"}),
        ("positive=a\nseed = 1", {"positive": "a\nseed = 1"}),
        ("positive=1\nseed = 1", {"positive": "1\nseed = 1"}),
        ("size=[32, 32]", {"size": [32, 32]}),
    ],
)
def test_setting_has_a_value_as_in_toml_or_plain_text(text: str, found: object) -> None:
    assert parse_setting(text).values == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epochs", "expected key=value or section.key=value"),
        ("a.b.c=1", "expected key=value or section.key=value"),
        ("=1", "expected key=value or section.key=value"),
        ("rotation=15", "it belongs into [augmentation]"),
        ("optimizer=sgd", "optimizer is a section"),
    ],
)
def test_setting_of_another_form_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_setting(text)
    assert said in str(caught.value)


def test_scalars_hold_every_option_but_the_paths() -> None:
    found = scalars(dataclasses.replace(ODD, model="/home/someone/net.keras"))
    assert found["optimizer.learning_rate"] == 0.1
    assert found["size"] == "32x48"
    assert found["model"] == "net.keras"
    assert not any("/" in str(value) for value in found.values())
    assert {"data", "patients", "disputed"}.isdisjoint(found)


def test_differences_name_options_of_sections_and_paths() -> None:
    other = dataclasses.replace(ODD, data="x.zip", optimizer=Optimizer("sgd", 0.2, momentum=0.9))
    assert differences(ODD, other) == ["data", "optimizer.learning_rate"]
    assert differences(ODD, ODD) == []
