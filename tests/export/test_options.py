import pytest

from edgecell_export.options import ExportOptions
from edgecell_export.recipes import RECIPES
from edgecell_runtime.errors import UsageError
from edgecell_runtime.manifest import ParityLimits
from edgecell_runtime.preprocess import PreprocessSpec


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 0.5}, r"--tolerance 0\.5 is no factor between 1 and 5"),
        ({"tolerance": 5.1}, r"--tolerance 5\.1 is no factor"),
        ({"tolerance": float("nan")}, "--tolerance nan is no factor"),
        ({"max_drop": -0.1}, r"--max-drop -0\.1 is out of range"),
        ({"max_drop": 101}, "--max-drop 101 is out of range"),
        ({"batch": -1}, "--batch -1 is out of range"),
        ({"batch": 5000}, "--batch 5000 is out of range"),
        ({"calibration_images": 99}, "--calibration-images 99 is too few"),
    ],
)
def test_options_are_refused_when_out_of_range(options: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExportOptions(**options)  # type: ignore[arg-type]


def test_tolerance_widens_every_limit_that_is_set() -> None:
    limits = ExportOptions(tolerance=3).limits(RECIPES["float16"])
    assert limits.largest_difference == pytest.approx(0.03)
    assert limits.changed_labels == pytest.approx(0.015)
    assert limits.accuracy_drop == pytest.approx(0.015)
    assert ExportOptions(tolerance=3).limits(RECIPES["float32"]) == ParityLimits(
        pytest.approx(3e-4)
    )


def test_limits_are_the_recipes_own_without_a_tolerance() -> None:
    recipe = RECIPES["static_int8"]
    assert ExportOptions().limits(recipe) is recipe.limits


@pytest.mark.parametrize(
    ("options", "recipe", "message"),
    [
        (ExportOptions(max_drop=0.3), "float16", "--max-drop is for recipes of integers; float16"),
        (ExportOptions(ranges="mse"), "static_int8_int16", "--ranges mse weighs .* has 16"),
        (ExportOptions(end="probabilities"), "static_int8", "static_int8 ends in logits"),
        (ExportOptions(ranges="mse"), "dynamic_int8", "--ranges mse is for static recipes; dyn"),
        (ExportOptions(target="x86"), "float32", "--target and .* float32 runs anywhere"),
        (ExportOptions(calibration_images=600), "float16", "for recipes of integers; float16"),
    ],
)
def test_options_are_refused_when_the_recipe_has_no_use_for_them(
    options: ExportOptions, recipe: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        options.require_fit(RECIPES[recipe])


def test_mark_names_what_makes_another_file() -> None:
    assert ExportOptions().mark("any") == ""
    assert ExportOptions(target="x86").mark("any") == ""  # a format without targets
    calibrated = ExportOptions(ranges="mse", calibration_images=200, max_drop=0.3)
    assert calibrated.mark("any") == "-mse-calibration200-drop0.3"
    other = ExportOptions(target="x86-vnni", batch=0, end="probabilities", tolerance=2)
    assert other.mark("x86-vnni") == "-x86-vnni-batch0-probabilities-loosened"
    assert ExportOptions(masking="slide").mark("any") == "-masking"


def test_masking_is_refused_when_the_model_takes_volumes() -> None:
    spec = PreprocessSpec(16, 16, depth=4)
    with pytest.raises(UsageError, match=r"--masking slide does not fit .* 4 x 16 x 16.*Leave it"):
        ExportOptions(masking="slide").preprocessing(spec)


def test_preprocessing_stays_the_models_own_without_masking() -> None:
    spec = PreprocessSpec(16, 16, masking="slide")
    assert ExportOptions().preprocessing(spec) is spec
