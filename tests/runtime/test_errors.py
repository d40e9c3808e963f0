import inspect
import re

import pytest

import edgecell_runtime
from edgecell_runtime import errors
from edgecell_runtime.errors import EdgecellError, UsageError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def drawn_tree() -> dict[str, str]:
    """Each error that the docstring draws, with its parent."""
    branches: list[str] = []
    parents = {"EdgecellError": "Exception"}
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"    ([│ ]*)(?:├──|└──)? ?(\w+Error)\b", line)
        if found is None:
            continue
        is_root = "──" not in line
        depth = 0 if is_root else len(found[1]) // 4 + 1
        branches[depth:] = [found[2]]
        if depth:
            parents[found[2]] = branches[depth - 1]
    return parents


def test_drawn_tree_is_the_real_tree() -> None:
    real = {
        kind.__name__: kind.__base__.__name__
        for kind in CLASSES
        if issubclass(kind, Exception) and kind.__base__ is not None
    }
    assert len(real) > 15
    assert drawn_tree() == real


def test_every_error_derives_from_the_base() -> None:
    exported = [getattr(edgecell_runtime, name) for name in edgecell_runtime.__all__]
    kinds = [k for k in (*CLASSES, *exported) if inspect.isclass(k) and issubclass(k, Exception)]
    assert len(kinds) > 20
    assert all(issubclass(kind, EdgecellError) for kind in kinds)


def test_every_exported_name_exists() -> None:
    assert [n for n in edgecell_runtime.__all__ if not hasattr(edgecell_runtime, n)] == []


@pytest.mark.parametrize("kind", [k for k in CLASSES if issubclass(k, Exception)])
def test_exit_status_is_two_for_wrong_usage_and_one_else(kind: type[EdgecellError]) -> None:
    assert kind.exit_status == (2 if issubclass(kind, UsageError) else 1)


@pytest.mark.parametrize("kind", [k for k in CLASSES if issubclass(k, Exception)])
def test_text_of_an_error_is_its_message(kind: type[EdgecellError]) -> None:
    assert str(kind("what happened")) == "what happened"
