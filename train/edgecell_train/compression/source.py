"""How the run that is compressed was trained, and so how its compressed net is fine-tuned."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgecell_runtime.codec import Json, Scalar
from edgecell_runtime.errors import UsageError
from edgecell_train.config import Quantization, Schedule, TrainConfig
from edgecell_train.config_files import CONFIG, SECTIONS, Layer, merged, read_config
from edgecell_train.presets import PRESETS
from edgecell_train.runs import Run

FOLDER: Final = "compression"
"""In a compressed run: the net that the last fine-tuning began with, and the search."""

_SETTLED: Final = (
    *("preset", "model", "size", "data", "patients", "positive"),
    *("split", "folds", "fold", "refit", "seed"),
)
"""Of these the source decides: the net, the images and the split stay its own."""


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
    for layer in layers:
        settled = [key for key in layer.values if key in _SETTLED]
        if settled:
            raise UsageError(
                f"{layer.place}: a compression keeps the {settled[0]} of its source; expected "
                "options of the fine-tuning, such as --set augmentation.flips=true."
            )
    record = run.record
    location = "" if record.data.drawn else str(run.folder / record.data.location)
    config = dataclasses.replace(
        _stored(run),
        preset="",
        model=f"{FOLDER}/{name_of(run)}.keras",
        data=str(data.absolute()) if data else location,
        positive=record.positive_label or "",
        teachers=(str(run.folder),),
        size=(),
        seed=record.seed,
        quantization=Quantization(),  # of the source, which was to be exported as it was
    )
    config = merged(config, layers)
    return for_epochs(config, config.epochs)


def for_epochs(config: TrainConfig, epochs: int) -> TrainConfig:
    """The same training in fewer epochs, on a cosine that ends with them."""
    warmup = min(config.schedule.warmup_epochs, epochs / 2)
    schedule = Schedule("cosine", warmup_epochs=warmup)
    return dataclasses.replace(config, epochs=epochs, schedule=schedule)


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
