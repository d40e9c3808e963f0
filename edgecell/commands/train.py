"""``edgecell train``: from labelled images to a run."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edgecell import console
from edgecell.console import JsonOption, OutputOption
from edgecell_runtime import codec
from edgecell_runtime.errors import UsageError
from edgecell_train.config import ClassWeights, OptimizerName, ScheduleKind, SplitRule
from edgecell_train.config_checks import MAX_EPOCHS

if TYPE_CHECKING:
    from edgecell.tasks.cross_validating import Folds

_RUNS: Final = Path("runs")
_IMAGES: Final = "Images"
_MODEL: Final = "Model"
_TRAINING: Final = "Training"
_MACHINE: Final = "Machine"
_FILES: Final = "Configuration and runs"


def _option(text: str, panel: str, *names: str, **limits: Any) -> Any:
    return typer.Option(*names, help=text, rich_help_panel=panel, **limits)


def train(
    data: Annotated[
        Path | None,
        _option(
            "Labelled images: class folders, a zip of them, .npz or HDF5; else drawn cells.",
            _IMAGES,
        ),
    ] = None,
    patients: Annotated[Path | None, _option("CSV with each image's patient.", _IMAGES)] = None,
    disputed: Annotated[Path | None, _option("CSV with disputed labels.", _IMAGES)] = None,
    positive: Annotated[
        str | None, _option("The positive label; Parasitized where there is that label.", _IMAGES)
    ] = None,
    preset: Annotated[
        str | None, _option("The model and its recipe; see `edgecell presets`. Or:", _MODEL)
    ] = None,
    model: Annotated[
        str | None,
        _option("A model of your own: path/to/model.keras or package.module:function.", _MODEL),
    ] = None,
    size: Annotated[
        str | None, _option("Of the images, such as 64x64; else the preset's.", _MODEL)
    ] = None,
    teacher: Annotated[
        str | None,
        _option(
            "Runs whose models teach this one, by commas: RUN[,RUN...]; or a cross-validation's "
            "folder for the same folds.",
            _TRAINING,
        ),
    ] = None,
    split: Annotated[
        SplitRule | None,
        _option("image: deal images one by one, whoever they are of; too good figures.", _IMAGES),
    ] = None,
    folds: Annotated[
        int | None,
        _option("Cross-validate: train so often, and test on each patient once.", _IMAGES, min=2),
    ] = None,
    fold: Annotated[
        int | None, _option("Train this one of the folds only, from 1 on.", _IMAGES, min=1)
    ] = None,
    refit: Annotated[
        Path | None,
        _option(
            "Train the recipe of a finished cross-validation, its folder, on all images; the "
            "figures, the temperature and the threshold are those of its folds.",
            _IMAGES,
        ),
    ] = None,
    small_data: Annotated[
        bool,
        _option(
            "For some hundred images a class: augmentation, a longer schedule, early stopping.",
            _TRAINING,
            "--small-data",
        ),
    ] = False,
    epochs: Annotated[
        int | None,
        _option("Passes over the training images.", _TRAINING, min=1, max=MAX_EPOCHS),
    ] = None,
    quantization_aware: Annotated[
        int | None,
        _option(
            "Fine-tune behind them for so many epochs as 8-bit integers; 0 never.",
            _TRAINING,
            min=0,
            max=MAX_EPOCHS,
            metavar="EPOCHS",
        ),
    ] = None,
    batch_size: Annotated[int | None, _option("Images a step.", _TRAINING, min=1)] = None,
    optimizer: Annotated[
        OptimizerName | None, _option("What moves the weights.", _TRAINING)
    ] = None,
    learning_rate: Annotated[float | None, _option("At its highest.", _TRAINING)] = None,
    schedule: Annotated[
        ScheduleKind | None, _option("How the learning rate goes.", _TRAINING)
    ] = None,
    patience: Annotated[
        int | None,
        _option(
            "Stop after so many epochs without a lower validation loss; 0 never.", _TRAINING, min=0
        ),
    ] = None,
    class_weights: Annotated[
        ClassWeights | None, _option("balanced: rare classes count more.", _TRAINING)
    ] = None,
    seed: Annotated[
        int | None,
        _option("Of split, weights, order and augmentation.", _TRAINING, min=0, max=2**32 - 1),
    ] = None,
    deterministic: Annotated[
        bool,
        _option(
            "The same weights again on this machine, bit for bit, at any cost.",
            _MACHINE,
            "--deterministic",
        ),
    ] = False,
    mixed_precision: Annotated[
        bool, _option("Compute in float16 where that is safe.", _MACHINE, "--mixed-precision")
    ] = False,
    memory_mb: Annotated[
        int | None, _option("How much of the decoded images is held at once.", _MACHINE, min=0)
    ] = None,
    no_cache: Annotated[
        bool,
        _option("Decode the images anew; keep them for no other training.", _MACHINE, "--no-cache"),
    ] = False,
    config: Annotated[
        Path | None, _option("TOML file with any options; those given here win.", _FILES)
    ] = None,
    settings: Annotated[
        list[str] | None,
        _option("Any option of such a file: --set augmentation.rotation=15.", _FILES, "--set"),
    ] = None,
    resume: Annotated[
        str,
        _option(
            "Go on with what was interrupted: its folder (.unfinished-..., ...-folds), or latest.",
            _FILES,
        ),
    ] = "",
    out: Annotated[Path, _option("Folder of runs.", _FILES)] = _RUNS,
    as_json: JsonOption = False,
    output: OutputOption = None,
) -> None:
    """Trains a classifier and leaves a run: model, split, history, test report.

    The preset's recipe, a file (--config) and the options given here are laid over each other; the
    run keeps the result as config.toml, and `edgecell train --config RUN/config.toml` repeats it.
    """
    console.check_output(output)
    from edgecell.tasks.training_parts import require_training_parts

    require_training_parts()
    from edgecell.tasks import cross_validating, training
    from edgecell.tasks.training_request import Option, options_of
    from edgecell_train.config_files import parse_setting

    if preset and model:
        raise UsageError("--preset and --model both name a model; give one of them.")
    given: dict[str, Option] = {
        "data": data,
        "patients": patients,
        "disputed": disputed,
        "positive": positive,
        "preset": preset,
        "model": model,
        "refit": refit,
        "teachers": teacher,
        "size": size,
        "split": split,
        "folds": folds,
        "fold": fold,
        "epochs": epochs,
        "quantization.epochs": quantization_aware,
        "batch_size": batch_size,
        "optimizer.name": optimizer,
        "optimizer.learning_rate": learning_rate,
        "schedule.kind": schedule,
        "stopping.patience": patience,
        "class_weights": class_weights,
        "seed": seed,
        "deterministic": deterministic or None,
        "mixed_precision": mixed_precision or None,
        "memory_mb": memory_mb,
    }
    options = [*map(parse_setting, settings or ()), *options_of(given)]
    request = training.Request(options, config, small_data, resume, cache=not no_cache)
    validation = cross_validating.folds_asked(request, out)
    if validation is not None:
        _cross_validate(validation, as_json, output)
        return
    run = training.train_run(request, out)
    document = {"run": str(run.folder), **_object(codec.encode(run.record))}
    console.present(document, [training.result_table(run)], as_json=as_json, output=output)
    console.say(f"Run:    {console.shown(run.folder)}")
    console.say(f"Report: {console.shown(run.folder / 'report.html')}")
    volumes = run.record.preprocessing.depth is not None
    # Where none is named, the others take the newest run of runs/.
    named = "" if out == _RUNS else f" {shlex.quote(str(run.folder))}"
    console.say(f"Next: edgecell export{named} --format {'onnx' if volumes else 'tflite'}")


def _cross_validate(folds: "Folds", as_json: bool, output: Path | None) -> None:
    from edgecell.tasks import cross_validating, cross_validating_tables

    validated = cross_validating.cross_validate(folds)
    result, summary = validated.result, validated.folder / cross_validating.SUMMARY
    document = cross_validating_tables.document(validated.folder, result)
    tables = cross_validating_tables.tables(result)
    console.present(document, tables, as_json=as_json, output=output)
    for note in result.notes:
        console.warn(note)
    folder = console.shown(validated.folder)
    console.say(f"Folds:   {folder}/fold-1 to fold-{result.folds}, each a run")
    console.say(f"Summary: {console.shown(summary)}")
    console.say(
        "runs/latest is as it was, as no fold is better than another; to export one of them: "
        f"edgecell export {folder}/fold-1; to train the recipe on all images, with these figures: "
        f"edgecell train --refit {folder}"
    )


def _object(value: codec.Json) -> dict[str, codec.Json]:
    assert isinstance(value, dict)
    return value
