"""Opening a ``.keras`` file that someone else may have written.

A ``.keras`` file is a zip archive: a configuration that names classes and functions by module, and
weights in HDF5. Keras's safe mode refuses lambdas; what it has let through over the years (modules
that are imported by name, layers that unpickle or read files, links in HDF5 to other files) is
refused here before Keras sees the file, and Keras is given a private copy of what was checked. How
the model was compiled is left out of it: a loss or a metric of its author's own is no obstacle.
"""

import importlib
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any, Final

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.artifact import MAX_ARTIFACT_BYTES
from edgecell_runtime.containers.reading import read_whole
from edgecell_runtime.errors import EdgecellError, RunError

CONFIGURATION: Final = "config.json"
WEIGHTS: Final = "model.weights.h5"
MEMBERS: Final = frozenset({"metadata.json", CONFIGURATION, WEIGHTS})

MAX_CONFIGURATION_BYTES: Final = 1 << 23
MAX_WEIGHT_ENTRIES: Final = 20_000

_COMPILATION: Final = "compile_config"

_MODULES: Final = (
    "keras",
    "keras.constraints",
    "keras.dtype_policies",
    "keras.initializers",
    "keras.layers",
    "keras.losses",
    "keras.metrics",
    "keras.models",
    "keras.optimizers",
    "keras.optimizers.schedules",
    "keras.regularizers",
    "keras.src.models.functional",
    "keras.src.models.sequential",
)
"""Where the classes of a model of ours come from; Keras imports whatever module is named."""

_REFUSED_CLASSES: Final = frozenset(
    {
        "FlaxLayer",
        "IntegerLookup",
        "JaxLayer",
        "Lambda",
        "StringLookup",
        "TFSMLayer",
        "TextVectorization",
        "TorchModuleWrapper",
        "__lambda__",
        "function",
    }
)
"""They run code that the file brings, unpickle, or read files that it names."""


def load_keras_file(path: Path) -> Any:
    """Loads a model in safe mode, from the bytes that were checked.

    Raises:
        RunError: The file is missing or damaged, or could do more than describe a model.
    """
    keras = import_keras()
    try:
        data = _checked(read_whole(path, MAX_ARTIFACT_BYTES))
        with tempfile.TemporaryDirectory(prefix="edgecell-", ignore_cleanup_errors=True) as private:
            copy = Path(private) / "model.keras"
            copy.write_bytes(data)
            return keras.saving.load_model(copy, compile=False, safe_mode=True)
    except EdgecellError as error:
        reason = str(error)
        raise RunError(_sentence(path, reason)) from error
    except Exception as error:  # zipfile, h5py and Keras raise of every kind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise RunError(_sentence(path, f"{reason}.")) from error


def _sentence(path: Path, reason: str) -> str:
    return f"{path} cannot be loaded: {reason} Train again with `edgecell train`."


def _checked(data: bytes) -> bytes:
    """The archive without its compilation; refuses one that is not what Keras writes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        items = archive.infolist()
        names = sorted(item.filename for item in items)
        if names != sorted(MEMBERS):
            strange = sorted(set(names) - MEMBERS)
            found = f"it holds {strange[0][:80]!a}" if strange else f"it holds {len(names)} files"
            raise RunError(f"{found}, expected {', '.join(sorted(MEMBERS))}.")
        for item in items:
            if item.compress_type != zipfile.ZIP_STORED or item.compress_size != item.file_size:
                raise RunError(f"{item.filename} in it is compressed, which Keras never does.")
        if archive.getinfo(CONFIGURATION).file_size > MAX_CONFIGURATION_BYTES:
            raise RunError(f"{CONFIGURATION} in it is above {MAX_CONFIGURATION_BYTES:,} bytes.")
        configuration = json.loads(archive.read(CONFIGURATION))
        compiled = isinstance(configuration, dict) and configuration.pop(_COMPILATION, None)
        _check_configuration(configuration)
        _check_weights(archive.read(WEIGHTS))
        return _written(archive, configuration) if compiled else data


def _written(archive: zipfile.ZipFile, configuration: object) -> bytes:
    """The same archive with another configuration."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as copy:
        for item in archive.infolist():
            is_changed = item.filename == CONFIGURATION
            content = json.dumps(configuration).encode() if is_changed else archive.read(item)
            copy.writestr(item.filename, content)
    return file.getvalue()


def _check_configuration(document: object) -> None:
    """Refuses classes that are not Keras's, and those that do more than compute."""
    waiting = [document]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        if not isinstance(item, dict):
            continue
        waiting.extend(item.values())
        name, module = item.get("class_name"), item.get("module")
        if isinstance(name, str) and name in _REFUSED_CLASSES:
            raise RunError(f"it has a {name}, which could run code or read files.")
        if module is not None and module not in _MODULES:
            raise RunError(f"it has a class of the module {str(module)[:80]!a}, expected Keras's.")


def _check_weights(data: bytes) -> None:
    """Refuses links, external and virtual storage, and arrays larger than the file."""
    h5py: Any = importlib.import_module("h5py")  # Keras's own dependency; it has no types
    total = entries = 0
    with h5py.File(io.BytesIO(data), "r") as file:
        waiting: list[Any] = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                entries += 1
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise RunError(f"its weights hold a link, {name[:80]!a}, expected numbers.")
                item = group[name]
                if isinstance(item, h5py.Group):
                    waiting.append(item)
                elif item.external or item.is_virtual or item.chunks or item.dtype.hasobject:
                    raise RunError(f"its weights {name[:80]!a} lie elsewhere or are compressed.")
                else:
                    total += int(item.nbytes)
                if total > len(data) or entries > MAX_WEIGHT_ENTRIES:
                    raise RunError("its weights claim to be larger than the file.")
