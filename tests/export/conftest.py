import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.small_run import Conversions, SmallRun, make_small_run

from edgecell_export.conversion_process import ConversionProcess
from edgecell_export.formats import CONVERTERS
from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare import Graph, prepare


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    return make_small_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def small_graph(small_run: SmallRun) -> Graph:
    """The small model, prepared."""
    return prepare(read_graph(small_run.source.model), small_run.source.head)


@pytest.fixture(scope="session")
def conversions(
    small_run: SmallRun, small_graph: Graph, tmp_path_factory: pytest.TempPathFactory
) -> Conversions:
    """The small model in every format and recipe, converted when first asked for."""
    folder: Path = tmp_path_factory.mktemp("conversions")
    return Conversions(small_graph, small_run.pixels, folder)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with older artifacts, which have to be there afterwards, alone."""
    older = {}
    for converter in CONVERTERS.values():
        for recipe in converter.recipes:
            for suffix in (converter.suffix, f"{converter.suffix}.md"):
                path = tmp_path / f"small-{recipe}{suffix}"
                path.write_bytes(b"older " + path.name.encode())
                older[path.name] = path.read_bytes()
    yield tmp_path
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == older


@pytest.fixture
def heeding_ctrl_c() -> Iterator[None]:
    """A shell that starts this process in the background lets it ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def process() -> Iterator[ConversionProcess]:
    """A child that has not imported TensorFlow."""
    with ConversionProcess() as opened:
        yield opened


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process, and others that are not told otherwise, make their temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder
