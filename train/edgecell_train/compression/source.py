"""How the run that is compressed was trained, and so how its compressed net is fine-tuned."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecell_runtime.codec import Json, Scalar
from edgecell_runtime.errors import UsageError
from edgecell_train.config import Quantization, Schedule, TrainConfig
from edgecell_train.config_files import (
    CONFIG,
    LOCATIONS,
    SECTIONS,
    Layer,
    differences,
    merged,
    read_config,
)
from edgecell_train.presets import PRESETS
from edgecell_train.runs import Run

FOLDER: Final = "compression"
"""In a compressed run: the net that the last fine-tuning began with, and the search."""

_SETTLED: Final = (
    *("preset", "model", "size", "data", "positive"),
    *("split", "folds", "fold", "refit", "seed"),
)
"""Of these the source decides: the net, the images and the split stay its own."""

_WARMUP: Final = "warmup_epochs"


def name_of(run: Run) -> str:
    """What a compressed net is called."""
    return f"{run.record.preset}-compressed"


def fine_tuning(run: Run, data: Path | None, layers: Sequence[Layer]) -> TrainConfig:
    """The options of the source's training, with the source as the teacher.

    ``model`` is where the run will hold the net that the last fine-tuning begins with, relative to
    the run, so that its ``config.toml`` repeats that training.

    Args:
        run: The source.
        data: Where its images are now; None where it knows.
        layers: Options that win.

    Raises:
        UsageError: An option is none, or one that the source decides.
    """
    record = run.record
    config = dataclasses.replace(
        _stored(run),
        preset="",
        model=f"{FOLDER}/{name_of(run)}.keras",
        data=_data(run, data),
        positive=record.positive_label or "",
        teachers=(str(run.folder.resolve()),),
        size=(),
        seed=record.seed,
        quantization=Quantization(),  # of the source, which was to be exported as it was
    )
    return _with(config, layers)


def carried_on_config(
    stored: TrainConfig, source: str, run: Run, data: Path | None, layers: Sequence[Layer]
) -> TrainConfig:
    """The options of a compression that goes on, with the files where they are now.

    Args:
        stored: The options that it began with.
        source: Where the source was then, which may be one of the teachers.
        run: The source, where it is now.
        data: Where the source's images are now.
        layers: Options that are given once more, which may say where files are now.

    Raises:
        UsageError: An option is not what it was.
    """
    config = _with(dataclasses.replace(stored, data=_data(run, data)), layers)
    changed = [name for name in differences(stored, config) if name not in LOCATIONS]
    if changed:
        raise UsageError(
            f"The compression was begun with another {changed[0]}, and goes on with the options "
            "that it began with. Leave the others out, or begin anew without --resume."
        )
    now = str(run.folder.resolve())
    teachers = tuple(now if name == source else name for name in config.teachers)
    return dataclasses.replace(config, teachers=teachers)


def for_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The same training in fewer epochs, on a cosine that ends with them."""
    warmup = min(config.schedule.warmup_epochs, epochs / 2)
    schedule = Schedule("cosine", warmup_epochs=warmup)
    return dataclasses.replace(config, epochs=epochs, schedule=schedule)


def _data(run: Run, data: Path | None) -> str:
    """Where a run's images are; empty where it drew them."""
    if data is not None:
        return str(data.absolute())
    return "" if run.record.data.drawn else str(run.folder.resolve() / run.record.data.location)


def _with(config: TrainConfig, layers: Sequence[Layer]) -> TrainConfig:
    for layer in layers:
        settled = [key for key in layer.values if key in _SETTLED]
        if settled:
            raise UsageError(
                f"{layer.place}: a compression keeps the {settled[0]} of its source; expected "
                "options of the fine-tuning, such as --set augmentation.flips=true."
            )
    config = merged(config, layers)
    for layer in layers:
        _require_cosine(layer, config.epochs)
    return for_epochs(config, config.epochs)


def _require_cosine(layer: Layer, epochs: int) -> None:
    """Refuses what the cosine would not keep of a schedule.

    Raises:
        UsageError: It is another schedule, or a warm-up of more than half of the epochs.
    """
    section = layer.values.get("schedule")
    if not isinstance(section, Mapping):
        return
    others = [name for name in section if name != _WARMUP]
    if others:
        raise UsageError(
            f"{layer.place}: a compression fine-tunes on a cosine that ends with its epochs; of "
            f"the schedule, expected --set schedule.{_WARMUP} alone. Leave {others[0]} out."
        )
    warmup = section.get(_WARMUP)
    if isinstance(warmup, int | float) and warmup > epochs / 2:
        raise UsageError(
            f"{layer.place}: there are {epochs} epochs of fine-tuning; expected a warm-up of half "
            "of them at most. Warm up for fewer, or give more --epochs."
        )


def _stored(run: Run) -> TrainConfig:
    """What ``config.toml`` says; of a run without it, the recipe and what the record says."""
    path = run.folder / CONFIG
    if path.is_file():
        return merged(TrainConfig(), [read_config(path)])
    preset = PRESETS.get(run.record.preset)
    base = TrainConfig() if preset is None else preset.recipe
    return merged(base, [Layer("run.json", _nested(run.record.configuration))])


def _nested(scalars: Mapping[str, Scalar]) -> dict[str, Json]:
    """Dotted names as sections; a size is the net's business."""
    found: dict[str, Json] = {}
    sections: dict[str, dict[str, Json]] = {name: {} for name in SECTIONS}
    for key, value in scalars.items():
        section, _, name = key.rpartition(".")
        if section in sections:
            sections[section][name] = value
        elif key != "size":
            found[key] = value
    return {**found, **{name: values for name, values in sections.items() if values}}
