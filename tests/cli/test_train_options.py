"""``edgecell train``'s options: what lies over what, and that a run repeats itself."""

import dataclasses
from pathlib import Path

import pytest

from edgecell.tasks.training_request import (
    DRAWN_EPOCHS,
    SMALL_DATA_VALUES,
    Request,
    options_of,
    resolve,
    shortened_note,
    small_data_note,
)
from edgecell_runtime.errors import UsageError
from edgecell_train.config import SMALL_DATA, Optimizer, Quantization, TrainConfig
from edgecell_train.config_checks import check
from edgecell_train.config_files import parse_setting
from edgecell_train.presets import find_preset


def _file(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_recipe_is_the_presets_where_nobody_says_otherwise() -> None:
    for name in ("malaria-cnn", "mlp"):
        request = Request(options_of({"preset": name, "data": Path("/cells.zip")}))
        assert resolve(request) == dataclasses.replace(find_preset(name).recipe, data="/cells.zip")


def test_options_win_over_the_file_and_the_file_over_the_recipe(tmp_path: Path) -> None:
    path = _file(tmp_path, 'data = "x"\nepochs = 3\nseed = 4\n[optimizer]\nname = "sgd"\n')
    options = [parse_setting("optimizer.momentum=0.5"), *options_of({"seed": 0, "epochs": None})]
    found = resolve(Request(options, path))
    assert (found.epochs, found.seed) == (3, 0)
    assert found.optimizer == Optimizer("sgd", momentum=0.5)
    assert found.batch_size == find_preset("malaria-cnn").recipe.batch_size


def test_preset_of_an_option_brings_its_recipe_in_place_of_the_files(tmp_path: Path) -> None:
    path = _file(tmp_path, 'preset = "mlp"\ndata = "x"\nseed = 9\n')
    assert resolve(Request((), path)).optimizer == find_preset("mlp").recipe.optimizer
    found = resolve(Request(options_of({"preset": "malaria-gap"}), path))
    assert found == dataclasses.replace(
        find_preset("malaria-gap").recipe, data=str(tmp_path / "x"), seed=9
    )


def test_own_model_takes_the_place_of_the_preset_and_the_other_way_round(tmp_path: Path) -> None:
    path = _file(tmp_path, 'model = "net.keras"\ndata = "x"\n')
    found = resolve(Request((), path))
    assert (found.preset, found.model) == ("", str(tmp_path / "net.keras"))
    found = resolve(Request(options_of({"preset": "mlp"}), path))
    assert (found.preset, found.model) == ("mlp", "")
    found = resolve(Request(options_of({"model": "a.b:c"}), path))
    assert (found.preset, found.model) == ("", "a.b:c")


def test_quantization_aware_says_for_how_many_epochs(tmp_path: Path) -> None:
    assert resolve(Request()).quantization.epochs == 0
    path = _file(tmp_path, "[quantization]\nepochs = 4\nlearning_rate = 1e-3\n")
    found = resolve(Request(options_of({"quantization.epochs": 2}), path)).quantization
    assert found == Quantization(2, 1e-3)
    both = [parse_setting("quantization.epochs=1"), *options_of({"quantization.epochs": 2})]
    with pytest.raises(UsageError, match=r"given twice, with --set .* and --quantization-aware"):
        resolve(Request(both))


def test_drawn_cells_have_their_own_epochs_unless_someone_says_so(tmp_path: Path) -> None:
    assert resolve(Request()).epochs == DRAWN_EPOCHS
    assert resolve(Request(options_of({"epochs": 2}))).epochs == 2
    assert resolve(Request((), _file(tmp_path, "epochs = 3"))).epochs == 3
    assert resolve(Request(small_data=True)).epochs == SMALL_DATA_VALUES["epochs"]


def test_small_data_lies_between_the_file_and_the_options(tmp_path: Path) -> None:
    path = _file(tmp_path, 'data = "x"\nepochs = 3\n[augmentation]\nhue = 9.0\n')
    found = resolve(Request(options_of({"epochs": 50}), path, small_data=True))
    assert found.epochs == 50
    assert found.augmentation == SMALL_DATA
    assert (found.schedule.kind, found.stopping.keep) == ("cosine", "best")
    check(found)


def test_warm_up_of_a_recipe_is_cut_to_half_of_fewer_epochs_and_that_is_said() -> None:
    for epochs, warmup in ((1, 0.5), (2, 1.0), (5, 2.5), (6, 3.0), (50, 3.0)):
        request = Request(options_of({"epochs": epochs, "data": Path("/x")}), small_data=True)
        found = resolve(request)
        assert found.schedule.warmup_epochs == warmup
        check(found)
        said = shortened_note(request, found)
        assert (f"warm-up of 3 epochs was shortened to {warmup:g}" in said) == (warmup < 3)


def test_warm_up_that_the_user_set_is_refused_where_it_does_not_fit(tmp_path: Path) -> None:
    path = _file(tmp_path, 'data = "x"\n[schedule]\nkind = "cosine"\nwarmup_epochs = 2.0\n')
    few = options_of({"epochs": 2})
    setting = parse_setting("schedule.warmup_epochs=2")
    for request in (
        Request(few, path),
        Request([setting, *few]),
        Request([setting, *few], small_data=True),
    ):
        found = resolve(request)
        assert (found.schedule.warmup_epochs, shortened_note(request, found)) == (2.0, "")
        with pytest.raises(UsageError, match="the learning rate would never arrive"):
            check(found)
    assert resolve(Request(few, path, small_data=True)).schedule.warmup_epochs == 1.0


@pytest.mark.parametrize(("epochs", "fits"), [(100_000, True), (100_001, False)])
def test_epochs_have_a_bound(epochs: int, fits: bool) -> None:
    config = TrainConfig(epochs=epochs)
    if fits:
        check(config)
        return
    with pytest.raises(UsageError, match=f"epochs is {epochs}; it takes 100,000 or less"):
        check(config)


def test_small_data_says_what_it_sets() -> None:
    said = small_data_note()
    for word in ("120 epochs", "cosine", "rotation 20", "flips", "label smoothing", "60 epochs"):
        assert word in said
    assert "hue" not in said, "it sets none"


@pytest.mark.parametrize("text", ["64", "64x", "x64", "64x64x64x64", "-4x4", "64X64"])
def test_size_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected one such as 64x64"):
        options_of({"size": text})


def test_size_may_be_an_images_or_a_volumes() -> None:
    assert resolve(Request(options_of({"size": "32x48"}))).size == (32, 48)
    assert resolve(Request(options_of({"size": "8x32x48"}))).size == (8, 32, 48)
