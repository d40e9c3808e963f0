"""No line of edgecell runs what a file holds: the source is read, call by call."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNTIME = ROOT / "runtime" / "edgecell_runtime"
EVERYTHING = [
    RUNTIME,
    ROOT / "export" / "edgecell_export",
    ROOT / "train" / "edgecell_train",
    ROOT / "edgecell",
]

FORBIDDEN_MODULES = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve", "yaml"}
FORBIDDEN_CALLS = {"__import__", "compile", "eval", "exec"}

# The conversion child and its parent talk in pickles through a pipe that nobody else can write to.
PIPES = {"conversion_process.py", "conversion_child.py"}


def faults(source: str) -> Iterator[str]:
    """What a module does that could run a file's content."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call):
            yield from _call(node)
            continue
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in FORBIDDEN_MODULES)


def _call(node: ast.Call) -> Iterator[str]:
    keywords = {item.arg: item.value for item in node.keywords}
    if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
        yield node.func.id
    elif isinstance(node.func, ast.Attribute):
        owner = ast.unparse(node.func.value)
        if (owner, node.func.attr) in {("np", "load"), ("numpy", "load")}:
            if not _is(keywords.get("allow_pickle"), value=False):
                yield "np.load"
        elif node.func.attr == "load_model" and not _is(keywords.get("safe_mode"), value=True):
            yield "load_model"
        elif node.func.attr in {"unsafe_load", "enable_unsafe_deserialization"}:
            yield node.func.attr


def _is(node: ast.expr | None, *, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def modules(folders: list[Path]) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_runtime_neither_unpickles_nor_evaluates() -> None:
    found = {path.name: list(faults(path.read_text("utf-8"))) for path in modules([RUNTIME])}
    assert len(found) > 20
    assert not {name: names for name, names in found.items() if names}


def test_nothing_else_does_but_the_pipe_to_the_conversion_child() -> None:
    found = {path.name: list(faults(path.read_text("utf-8"))) for path in modules(EVERYTHING)}
    assert {name: set(names) for name, names in found.items() if names} == {
        name: {"pickle"} for name in PIPES
    }


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import yaml",
        "eval(text)",
        "exec(text)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "numpy.load(path, allow_pickle=flag)",
        "keras.saving.load_model(path)",
        "keras.models.load_model(path, safe_mode=False)",
        "keras.config.enable_unsafe_deserialization()",
    ],
)
def test_fault_is_found(source: str) -> None:
    assert list(faults(source))


@pytest.mark.parametrize(
    "source",
    ["import json", "np.load(path, allow_pickle=False)", "load_model(path, safe_mode=True)"],
)
def test_fair_source_has_no_fault(source: str) -> None:
    assert not list(faults(source))
