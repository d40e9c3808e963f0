"""Options of a training as TOML files, as ``section.key=value``, and laid over each other.

A file holds the fields of ``TrainConfig`` under their names; sections are its ``[optimizer]``,
``[schedule]``, ``[regularization]``, ``[augmentation]``, ``[distillation]``, ``[quantization]``,
``[stopping]`` and ``[decision]``. What it does not say stays as it is. Relative paths in a file are
relative to the file's folder.
"""

import copy
import dataclasses
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from edgecell_runtime import codec
from edgecell_runtime.codec import Json, Scalar
from edgecell_runtime.errors import ManifestError, UsageError
from edgecell_train.config import TrainConfig

CONFIG: Final = "config.toml"

PATHS: Final = ("data", "patients", "disputed", "teachers", "refit")
"""Options that are paths; ``model`` may be one."""

LOCATIONS: Final = ("data", "patients", "disputed")
"""Those of files that may have moved since, which the images' hashes tell apart."""

_MAX_BYTES: Final = 1 << 20
_SETTING = re.compile(r"([a-z0-9_]+(?:\.[a-z0-9_]+)?)=(.*)", re.DOTALL)
_KERAS_SUFFIX: Final = ".keras"


@dataclass(frozen=True)
class Layer:
    """Options that one place sets.

    Attributes:
        place: For messages: a file's name, an option.
        values: By field of ``TrainConfig``; a section's by its fields.
    """

    place: str
    values: Mapping[str, Json]


def read_config(path: Path) -> Layer:
    """Reads a TOML file.

    Raises:
        UsageError: It cannot be read, is not TOML, or has a key that is no option.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--config {path} cannot be read: {error.strerror}.") from error
    if len(data) > _MAX_BYTES:
        raise UsageError(f"--config {path} is above {_MAX_BYTES:,} bytes; expected a few lines.")
    try:
        values = tomllib.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--config {path} is not valid TOML: {error}.") from error
    layer = Layer(path.name, values)
    check_names(layer)
    folder = path.absolute().parent
    found = {key: _absolute(key, value, folder) for key, value in values.items()}
    if found.get("preset") and found.get("model"):
        raise UsageError(f"{path.name} has both a preset and a model; expected one of them.")
    return Layer(path.name, found)


def parse_setting(text: str) -> Layer:
    """Reads ``section.key=value``; the value as in TOML, text without quotes.

    Raises:
        UsageError: It is of another form, or the key is no option.
    """
    place = f"--set {text}"
    match = _SETTING.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{place} cannot be read; expected key=value or section.key=value, such as --set "
            "augmentation.rotation=15."
        )
    key, written = match.groups()
    section, _, name = key.rpartition(".")
    value = _value(written)
    layer = Layer(place, {section: {name: value}} if section else {name: value})
    check_names(layer)
    return Layer(
        place, {key: _absolute(key, value, Path.cwd()) for key, value in layer.values.items()}
    )


def merged(base: TrainConfig, layers: Sequence[Layer]) -> TrainConfig:
    """Lays options over each other; later ones win.

    Raises:
        UsageError: A value is of a type that its option does not take.
    """
    document = cast(dict[str, Json], codec.encode(base))
    config = base
    for layer in layers:
        document = _laid_over(document, layer.values)
        try:
            config = codec.decode(TrainConfig, document, "")
        except ManifestError as error:
            raise UsageError(f"{layer.place}: {str(error).removeprefix('.')}") from error
    return config


def check_names(layer: Layer) -> None:
    """Refuses what is no option.

    Raises:
        UsageError: There is no option, or no section, of a name.
    """
    for key, value in layer.values.items():
        if key in SECTIONS:
            if not isinstance(value, dict):
                raise UsageError(
                    f"{layer.place}: {key} is a section; expected [{key}] with options below it, "
                    f"such as {key}.{SECTIONS[key][0]}."
                )
            for name in value:
                if name not in SECTIONS[key]:
                    raise UsageError(f"{layer.place}: {_unknown(name, key)}")
        elif key not in _TOP:
            raise UsageError(f"{layer.place}: {_unknown(key, '')}")


def toml_text(config: TrainConfig) -> str:
    """All options as a TOML file that ``read_config`` takes."""
    import tomli_w

    return tomli_w.dumps(cast(dict[str, Any], codec.encode(config)))


def scalars(config: TrainConfig) -> dict[str, Scalar]:
    """All options but paths, under dotted names: what travels with a model.

    A size is written as ``64x64``. A path is not the model's business, and may name a person.
    """
    found: dict[str, Scalar] = {}
    for key, value in cast(dict[str, Json], codec.encode(config)).items():
        if key in PATHS:
            continue
        if isinstance(value, dict):
            found |= {f"{key}.{name}": cast(Scalar, item) for name, item in value.items()}
        elif isinstance(value, list):
            found[key] = "x".join(map(str, value))
        else:
            found[key] = value
    if is_path("model", config.model):
        found["model"] = Path(config.model).name
    return found


def differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """The dotted names of the options that differ."""
    first, second = ({**scalars(c), **{k: getattr(c, k) for k in PATHS}} for c in (one, other))
    return sorted(key for key in first if first[key] != second[key])


def is_path(key: str, value: Json) -> bool:
    """Whether an option's value names a file, or several."""
    if isinstance(value, list):
        return key in PATHS and bool(value) and all(isinstance(item, str) for item in value)
    if not isinstance(value, str) or not value:
        return False
    return key in PATHS or (key == "model" and value.endswith(_KERAS_SUFFIX))


def _absolute(key: str, value: Json, folder: Path) -> Json:
    if not is_path(key, value):
        return value
    if isinstance(value, list):
        return [str(folder / Path(str(item)).expanduser()) for item in value]
    return str(folder / Path(str(value)).expanduser())


def _value(written: str) -> Json:
    try:
        found = tomllib.loads(f"value = {written}")
    except tomllib.TOMLDecodeError:
        return written
    return cast(Json, found["value"]) if found.keys() == {"value"} else written


def _laid_over(below: Mapping[str, Json], above: Mapping[str, Json]) -> dict[str, Json]:
    found = dict(copy.copy(below))
    for key, value in above.items():
        old = found.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        found[key] = (
            {**cast(dict[str, Json], old), **cast(dict[str, Json], value)} if both else value
        )
    return found


def _unknown(name: str, section: str) -> str:
    where = f"[{section}] has no option {name!r}" if section else f"there is no option {name!r}"
    if section and name in _TOP:
        return f"{where}; it belongs to the top of the file, before the first section."
    homes = [key for key, names in SECTIONS.items() if name in names and key != section]
    if homes:
        return f"{where}; it belongs into [{homes[0]}]."
    known = SECTIONS[section] if section else (*_TOP, *SECTIONS)
    close = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"{where}; there are {', '.join(known)}.{hint}"


def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    field.name: _fields(type(field.default))
    for field in dataclasses.fields(TrainConfig)
    if dataclasses.is_dataclass(field.default)
}
"""The options of each section."""

_TOP: Final = tuple(name for name in _fields(TrainConfig) if name not in SECTIONS)
