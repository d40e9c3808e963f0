"""What carries a search out: how much is cut next, and what is measured twice."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
from support.chain_models import build_chain
from support.tiny_training import Watcher

from edgecell_runtime.errors import ParityError
from edgecell_train.compression import measuring, searching
from edgecell_train.compression.chain import read_chain
from edgecell_train.compression.costs import costs_of
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.limits import Limits
from edgecell_train.compression.measuring import Measured, Meter
from edgecell_train.compression.search import Search
from edgecell_train.compression.searching import Searcher
from edgecell_train.config import TrainConfig

MEASURED = Measured(
    size_bytes=20_000,
    latency_ms=0.2,
    speed=4.0,
    macs=1_000_000,
    parameters=18_000,
    accuracy=0.95,
    changed_labels=0.0,
    widths={"first": 4},
)
STEP = Point(kind="step", step=1, drop=0.0, **vars(MEASURED))


@pytest.mark.parametrize("limits", [Limits(90_000), Limits(macs=2_000_000), Limits(latency_ms=9.0)])
def test_net_of_no_use_is_cut_on_though_it_meets_the_limits(limits: Limits) -> None:
    chain = read_chain(build_chain())
    goal = searching._goal(limits, dataclasses.replace(STEP, problem="two devices"), chain)
    assert goal.most < costs_of(chain).of(goal.kind, chain.prunable)


class _Meter:
    """Measures these latencies, one after the other."""

    accuracy = 0.95

    def __init__(self, *latencies: float) -> None:
        self.left = list(latencies)

    def measure(self, *_: object) -> Measured:
        return dataclasses.replace(MEASURED, latency_ms=self.left.pop(0))


@pytest.mark.parametrize(
    ("latencies", "found", "left"),
    [((0.2, 0.1), 0.2, 1), ((0.4, 0.2), 0.2, 0), ((0.4, 0.5), 0.5, 0)],
)
def test_latency_above_the_limit_is_measured_once_more_at_the_end(
    latencies: tuple[float, ...],
    found: float,
    left: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    meter: Any = _Meter(*latencies)
    searcher = Searcher(tmp_path, Any, Any, meter, Watcher())  # type: ignore[arg-type]
    monkeypatch.setattr(Searcher, "tune", lambda *_: SimpleNamespace(model=None))
    monkeypatch.setattr(Searcher, "record_of", lambda *_: None)
    monkeypatch.setattr(searching, "start_of", lambda *_: None)
    search = Search("runs/one", "4" * 64, "net", Limits(latency_ms=0.3), TrainConfig(), (STEP,))
    unfinished: Any = None
    ended = searcher.finish(search, 1, unfinished)
    assert ended.points[-1].latency_ms == found
    assert len(meter.left) == left


def test_file_whose_kernels_are_far_apart_is_measured_and_said_to_be_of_no_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def wild(*_: object) -> None:
        raise ParityError("The engine's kernels answer 40 steps apart.")

    monkeypatch.setattr(measuring, "golden_answers", wild)
    monkeypatch.setattr(measuring, "_TFLITE", SimpleNamespace(kernels=lambda _: ()))
    meter: Any = Meter.__new__(Meter)
    meter._pixels = ()
    manifest: Any = object()
    builder: Any = SimpleNamespace(golden_probabilities=())
    assert meter._proven(builder, None, manifest) == (
        manifest,
        "The engine's kernels answer 40 steps apart.",
    )
