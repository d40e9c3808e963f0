"""Exports whose converters run in a child process, and what a death of it leaves."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.sabotage import Call, abort_while_converting, child_of, is_running
from support.small_run import SmallRun

from edgecell_export import building, exporting
from edgecell_export.conversion_process import ConversionProcess, ConvertHere
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.prepare import Graph
from edgecell_export.prepare.fold_batchnorm import FoldBatchNorm
from edgecell_export.recipes import RECIPES
from edgecell_runtime.errors import ConversionError, ExportError, PreparationError

FLOAT32 = RECIPES["float32"]


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Path]:
    """A folder with an older artifact, which has to be there afterwards, alone."""
    folder = tmp_path / "exports"
    folder.mkdir()
    (folder / "small-float32.tflite").write_bytes(b"older")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["small-float32.tflite"]
    assert (folder / "small-float32.tflite").read_bytes() == b"older"


@pytest.fixture(scope="module")
def warm() -> Iterator[ConversionProcess]:
    """A child that has imported TensorFlow."""
    with ConversionProcess(warm=True) as opened:
        yield opened


@pytest.mark.parametrize("recipe", ["float32", "static_int8"])
def test_export_gives_the_bytes_of_an_export_without_the_process(
    small_run: SmallRun, warm: ConversionProcess, tmp_path: Path, recipe: str
) -> None:
    exported = []
    for runner in (warm, ConvertHere()):
        with Exporter(small_run.source, small_run.evidence, runner=runner) as exporter:
            folder = tmp_path / type(runner).__name__
            exported.append(exporter.export(CONVERTERS["tflite"], RECIPES[recipe], folder))
    assert exported[0].path.read_bytes() == exported[1].path.read_bytes()
    assert exported[0].card.read_bytes() == exported[1].card.read_bytes()


def graph_of(monkeypatch: pytest.MonkeyPatch, *more: Any) -> None:
    """Lets the graph that is converted hold something more."""

    def with_more(graph: Graph) -> Graph:
        return graph.with_last(graph.last.with_nodes(*graph.last.nodes, *more))

    monkeypatch.setattr(building, "for_floats", with_more)


def test_export_is_refused_and_the_older_artifact_stays_when_the_converter_aborts(
    small_run: SmallRun, older: Path, monkeypatch: pytest.MonkeyPatch, process: ConversionProcess
) -> None:
    graph_of(monkeypatch, Call(abort_while_converting))
    with (
        Exporter(small_run.source, small_run.evidence, runner=process) as exporter,
        pytest.raises(ExportError, match=r"SIGABRT[^$]*F0000 Check failed") as caught,
    ):
        exporter.export(CONVERTERS["tflite"], FLOAT32, older)
    assert isinstance(caught.value, ConversionError)
    assert caught.value.exit_status == 1


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_export_leaves_no_file_and_no_child_after_ctrl_c(
    small_run: SmallRun, older: Path, monkeypatch: pytest.MonkeyPatch, process: ConversionProcess
) -> None:
    pid = child_of(process)
    interrupt = Call(os.kill, os.getpid(), int(signal.SIGINT))
    graph_of(monkeypatch, interrupt, Call(time.sleep, 600))
    with (
        pytest.raises(KeyboardInterrupt),
        Exporter(small_run.source, small_run.evidence, runner=process) as exporter,
    ):
        exporter.export(CONVERTERS["tflite"], FLOAT32, older)
    assert not is_running(pid)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ConversionProcess]:
    """The processes that exporters start; without TensorFlow, to be quick."""
    found: list[ConversionProcess] = []

    def start(*, warm: bool) -> ConversionProcess:
        assert warm
        found.append(ConversionProcess())
        return found[-1]

    monkeypatch.setattr(exporting, "ConversionProcess", start)
    return found


def test_exporter_starts_a_process_and_ends_it(
    small_run: SmallRun, started: list[ConversionProcess], temporary: Path
) -> None:
    with Exporter(small_run.source, small_run.evidence) as exporter:
        pid = child_of(started[0])
    assert not is_running(pid)
    assert not list(temporary.iterdir())
    exporter.close()


def test_exporter_leaves_a_process_open_that_it_was_given(
    small_run: SmallRun, started: list[ConversionProcess], process: ConversionProcess
) -> None:
    Exporter(small_run.source, small_run.evidence, runner=process).close()
    child_of(process)
    assert not started


def test_exporter_leaves_nothing_running_when_it_cannot_be_made(
    small_run: SmallRun,
    started: list[ConversionProcess],
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = dataclasses.replace(small_run.evidence, held_out=small_run.evidence.held_out[:49])
    with pytest.raises(ExportError, match="held out 49 images"):
        Exporter(small_run.source, few)
    assert not started
    pids = []

    def fail(*_: Any) -> None:
        pids.append(child_of(started[0]))
        raise PreparationError("a pass is wrong")

    monkeypatch.setattr(FoldBatchNorm, "rewrite", fail)
    with pytest.raises(PreparationError, match="a pass is wrong"):
        Exporter(small_run.source, small_run.evidence)
    assert not is_running(pids[0])
    assert not list(temporary.iterdir())
