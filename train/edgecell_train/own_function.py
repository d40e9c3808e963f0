"""Calling a function that a user names as ``package.module:function``."""

import contextlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import UsageError


def call_function(module: str, name: str, shape: tuple[int, ...] | None, labels: int) -> Any:
    """Calls a function with (shape, labels), or with nothing where it does not take them.

    Args:
        module: Dotted name; the current folder is looked into first.
        name: Of the function.
        shape: Of one image; None calls the function with nothing.
        labels: How many there are.

    Returns:
        What it returns.

    Raises:
        UsageError: There is no such function, it takes other arguments, or it fails.
    """
    with _current_folder_first():
        found = _import(module)
        function = getattr(found, name, None)
        if not callable(function):
            raise UsageError(_no_function(found, name, function))
        arguments = _arguments(f"{module}:{name}", function, shape, labels)
        try:
            return function(*arguments)
        except (Exception, SystemExit) as error:
            given = ", ".join(map(str, arguments))
            raise UsageError(f"{module}:{name}({given}) failed: {_said(error, found)}") from error


def _import(name: str) -> ModuleType:
    import_keras()  # before the module does it: TensorFlow would fill the screen with its log
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise UsageError(
                f"There is no module {name}, neither below {Path.cwd()} nor installed; expected "
                "package.module:function, to be imported from the current folder."
            ) from error
        raise UsageError(f"Importing {name} failed: {_said(error)}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"Importing {name} failed: {_said(error)}") from error


def _no_function(module: ModuleType, name: str, found: object) -> str:
    own = [
        other
        for other, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__
    ]
    what = "has no function" if found is None else "has something else than a function as"
    where = f" ({module.__file__})" if getattr(module, "__file__", None) else ""
    has = f"its functions are {', '.join(own)}" if own else "it defines no function"
    return f"The module {module.__name__}{where} {what} {name}; {has}."


def _arguments(
    text: str, function: Any, shape: tuple[int, ...] | None, labels: int
) -> tuple[Any, ...]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some that are written in C do not tell
        return () if shape is None else (shape, labels)
    takes_both, takes_none = _binds(signature, shape, labels), _binds(signature)
    if takes_both and shape is not None:
        return (shape, labels)
    if takes_none:
        return ()
    if takes_both:
        raise UsageError(
            f"{text} takes the shape of an image and the number of labels, and no size was given; "
            "say which with --size."
        )
    raise UsageError(
        f"{text}{signature} cannot be called; expected a function of (shape, labels), which are "
        "(height, width, channels) and a number, or of nothing."
    )


def _binds(signature: inspect.Signature, *arguments: object) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _said(error: BaseException, module: ModuleType | None = None) -> str:
    """An error of someone else's code: its first line, and the user's line that led to it."""
    lines = str(error).strip().splitlines()
    said = f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
    own = getattr(module, "__file__", None) or str(Path.cwd())
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename.startswith(own)
    ]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{said.rstrip('.')}{place}. Mend it, then train again."


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """As ``python -m`` has it; an installed command looks into its own folder instead."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
