"""The inference libraries, one a file, in the order in which they are tried for a format."""

from edgecell_runtime.engines import litert, onnxruntime, openvino
from edgecell_runtime.engines.base import Engine, Session
from edgecell_runtime.errors import EngineError
from edgecell_runtime.manifest import Format

__all__ = ["ENGINES", "Engine", "Session", "engine_for", "engines_for", "register"]

ENGINES: dict[str, Engine] = {}


def register(engine: Engine) -> None:
    """Adds an engine under its name.

    Raises:
        ValueError: The name is taken.
    """
    if engine.name in ENGINES:
        raise ValueError(f"an engine named {engine.name!r} is registered already.")
    ENGINES[engine.name] = engine


register(litert.ENGINE)
register(onnxruntime.ENGINE)
register(openvino.ENGINE)


def engines_for(artifact_format: Format, name: str | None = None) -> list[Engine]:
    """The engines that run a format, in the order in which they are tried; or the named one.

    Raises:
        EngineError: There is none of that name, or none for that format.
    """
    if name is not None and name not in ENGINES:
        raise EngineError(f"There is no engine {name!r}; there are {', '.join(ENGINES)}.")
    fitting = [engine for engine in ENGINES.values() if artifact_format in engine.formats]
    if name is not None:
        fitting = [engine for engine in fitting if engine.name == name]
    if not fitting:
        by = f"The engine {name} does not run" if name is not None else "No engine here runs"
        hint = (
            " A SavedModel needs TensorFlow: use `edgecell evaluate` or `edgecell bench` with "
            "edgecell[export] installed, or export the run to TFLite or ONNX."
            if artifact_format == "savedmodel"
            else ""
        )
        raise EngineError(f"{by} {artifact_format}.{hint}")
    return fitting


def engine_for(artifact_format: Format) -> Engine:
    """The first of ``engines_for``."""
    return engines_for(artifact_format)[0]
