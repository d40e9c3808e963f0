"""What a training is asked for: recipe, file and options, laid over each other."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from edgecell_runtime import codec
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import UsageError
from edgecell_train.config import SMALL_DATA, TrainConfig
from edgecell_train.config_files import (
    LOCATIONS,
    Layer,
    differences,
    is_path,
    merged,
    read_config,
)
from edgecell_train.presets import find_preset
from edgecell_train.refitting import refit_config

DEFAULT_PRESET: Final = "malaria-cnn"

DRAWN_EPOCHS: Final = 10
"""With so few cells the presets' epochs leave a net that has not made up its mind."""

SMALL_DATA_VALUES: Final[Mapping[str, Json]] = {
    "epochs": 120,
    "schedule": {"kind": "cosine", "warmup_epochs": 3.0},
    "stopping": {"patience": 60, "keep": "best"},
    "regularization": {"label_smoothing": 0.05},
    "augmentation": dataclasses.asdict(SMALL_DATA),
}
"""What ``--small-data`` sets: a long training of images that are never the same twice."""

Option = str | int | float | Path | None
"""What the command line gives; None where it gives nothing."""

_FREE_IN_REFIT: Final = (*LOCATIONS, "memory_mb")
"""Where things lie now, and what changes no weight."""

_FLAGS: Final = {"teachers": "teacher", "quantization.epochs": "quantization-aware"}
"""Of options whose names are not their flags."""

_SIZE = re.compile(r"[0-9]{1,5}(x[0-9]{1,5}){1,2}")


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        options: Of the command line, later ones win.
        config: A TOML file below them; None for none.
        small_data: Whether the recipe for small data lies between the two.
        resume: An unfinished training's folder, or ``latest``; empty begins one.
        cache: Whether decoded images are kept for the next training.
    """

    options: Sequence[Layer] = ()
    config: Path | None = None
    small_data: bool = False
    resume: str = ""
    cache: bool = True


def options_of(given: Mapping[str, Option]) -> list[Layer]:
    """Options of the command line as layers.

    Args:
        given: By dotted name, such as ``optimizer.learning_rate``; None is not given.

    Raises:
        UsageError: A size is none.
    """
    found = []
    for key, value in given.items():
        if value is None:
            continue
        plain = _plain(key, value)
        section, _, name = key.rpartition(".")
        flag = _FLAGS.get(key, section if name in ("name", "kind") else name)
        place = f"--{flag.replace('_', '-')}"
        found.append(Layer(place, {section: {name: plain}} if section else {key: plain}))
    return found


def resolve(request: Request) -> TrainConfig:
    """Every option: the preset's recipe, then the file, ``--small-data``, and the options.

    Drawn cells take their own number of epochs where nobody says another.

    Raises:
        UsageError: A name or a value is none that a training knows.
    """
    layers = layers_of(request)
    folder = _last(layers, "refit")
    if folder:
        return _refit(Path(str(folder)), layers)
    base = _base(layers)
    if not _last(layers, "data") and _last(layers, "epochs") is None:
        layers = [Layer("drawn cells", {"epochs": DRAWN_EPOCHS}), *layers]
    return shortened(merged(base, [_without_choice(layer) for layer in layers]), request)


def _refit(folder: Path, layers: Sequence[Layer]) -> TrainConfig:
    """The options of a cross-validation, of which only places and memory can be changed.

    Raises:
        UsageError: Another option differs: the figures would be another recipe's.
    """
    base = refit_config(folder)
    config = merged(base, layers)
    free = (*_FREE_IN_REFIT, "teachers") if base.teachers else _FREE_IN_REFIT
    changed = [name for name in differences(base, config) if name not in free]
    if changed:
        raise UsageError(
            f"--refit trains the recipe of {folder}, and {changed[0]} differs from it, so that the "
            "figures of the cross-validation would not be its own. Leave the option out, or "
            "cross-validate with it."
        )
    return config


def shortened(config: TrainConfig, request: Request) -> TrainConfig:
    """With a recipe's warm-up cut to half of the epochs; one that the user set stays as it is."""
    most = config.epochs / 2
    if _sets_warmup(request) or not 0 < most < config.schedule.warmup_epochs:
        return config
    schedule = dataclasses.replace(config.schedule, warmup_epochs=most)
    return dataclasses.replace(config, schedule=schedule)


def shortened_note(request: Request, config: TrainConfig) -> str:
    """Says that the warm-up is not the recipe's; empty where it is, and in what goes on."""
    if request.resume or config.refit or _sets_warmup(request):
        return ""
    recipe = merged(
        _base(layers_of(request)), [_without_choice(layer) for layer in layers_of(request)]
    ).schedule.warmup_epochs
    found = config.schedule.warmup_epochs
    if found == recipe:
        return ""
    return (
        f"The recipe's warm-up of {recipe:g} epochs was shortened to {found:g}, half of the "
        "epochs; schedule.warmup_epochs sets another."
    )


def layers_of(request: Request) -> list[Layer]:
    """What is laid over the recipe, the lowest first.

    Raises:
        UsageError: An option is given twice, in its own name and with ``--set``.
    """
    refuse_twice(request.options)
    layers = [] if request.config is None else [read_config(request.config)]
    if request.small_data:
        layers.append(Layer("--small-data", SMALL_DATA_VALUES))
    return [*layers, *request.options]


def refuse_twice(options: Sequence[Layer]) -> None:
    """Refuses an option that stands there in its own name and with ``--set``.

    Raises:
        UsageError: One does.
    """
    places: dict[str, str] = {}
    for layer in options:
        for key, value in layer.values.items():
            inner = [f"{key}.{name}" for name in value] if isinstance(value, dict) else [key]
            for name in inner:
                place = places.setdefault(name, layer.place)
                if place.startswith("--set") != layer.place.startswith("--set"):
                    raise UsageError(
                        f"{name} is given twice, with {place} and {layer.place}; give one of them."
                    )


def small_data_note() -> str:
    """What ``--small-data`` set, for people."""
    augmentation = ", ".join(
        name if value is True else f"{name} {value:g}"
        for name, value in dataclasses.asdict(SMALL_DATA).items()
        if value
    )
    values = cast(dict[str, dict[str, Json]], SMALL_DATA_VALUES)
    return (
        f"--small-data sets {SMALL_DATA_VALUES['epochs']} epochs, a cosine schedule with a warm-up "
        f"of {values['schedule']['warmup_epochs']:g} epochs, early stopping after "
        f"{values['stopping']['patience']} epochs without a lower validation loss, label smoothing "
        f"{values['regularization']['label_smoothing']:g}, and augmentation: {augmentation}. "
        "Options that you give win."
    )


def _base(layers: Sequence[Layer]) -> TrainConfig:
    """The recipe of what was chosen last: a preset or a model of the user's own."""
    preset, model = DEFAULT_PRESET, ""
    for layer in layers:
        if layer.values.get("model"):
            preset, model = "", _text(layer, "model")
        elif layer.values.get("preset"):
            preset, model = _text(layer, "preset"), ""
    return TrainConfig(preset="", model=model) if model else find_preset(preset).recipe


def _without_choice(layer: Layer) -> Layer:
    """A layer without what the recipe says already."""
    values = {key: value for key, value in layer.values.items() if key not in ("preset", "model")}
    return Layer(layer.place, values)


def _sets_warmup(request: Request) -> bool:
    """Whether the warm-up is the user's own, and no recipe's."""
    found = False
    for layer in layers_of(request):
        section = layer.values.get("schedule")
        if isinstance(section, Mapping) and "warmup_epochs" in section:
            found = layer.values is not SMALL_DATA_VALUES
    return found


def _last(layers: Sequence[Layer], key: str) -> Json:
    found = [layer.values[key] for layer in layers if key in layer.values]
    return found[-1] if found else None


def _text(layer: Layer, key: str) -> str:
    value = layer.values[key]
    if not isinstance(value, str):
        raise UsageError(f"{layer.place}: {key} is {codec.dumps(value)}, expected text.")
    return value


def _plain(key: str, value: str | int | float | Path) -> Json:
    """The value as a file has it: paths absolute, a size as numbers."""
    if key == "size":
        if not _SIZE.fullmatch(str(value)):
            raise UsageError(f"--size {value} is none; expected one such as 64x64.")
        return [int(side) for side in str(value).split("x")]
    if key == "teachers":
        names = str(value).split(",")
        if not all(names):
            raise UsageError(
                f"--teacher {value!r} names nothing before or behind a comma; expected "
                "RUN[,RUN...], without spaces."
            )
        return [str(Path(name).absolute()) for name in names]
    if isinstance(value, Path) or is_path(key, value):
        return str(Path(str(value)).absolute())
    return value
