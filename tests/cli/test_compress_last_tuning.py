"""The last fine-tuning of a compression, with a searcher that trains nothing."""

import contextlib
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgecell.tasks import compressing
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.limits import Limits
from edgecell_train.compression.search import Search
from edgecell_train.config import TrainConfig

SOURCE = Point("source", 0, 90_000, 0.9, 3.0, 4_000, 3_000, 0.9, 0.0, 0.0, {"first": 2})
STEP = dataclasses.replace(SOURCE, kind="step", step=1, size_bytes=20_000, latency_ms=0.2, drop=3.0)
FINAL = dataclasses.replace(STEP, kind="final", drop=0.1)
SLOW = dataclasses.replace(FINAL, latency_ms=0.5)
WILD = dataclasses.replace(FINAL, problem="two devices, two answers")
SEARCH = Search("runs/one", "4" * 64, "net", Limits(latency_ms=0.3), TrainConfig(), (SOURCE, STEP))


class _Searcher:
    """Gives these final nets, one after the other, and a smaller step where it is asked for."""

    def __init__(self, *finals: Point) -> None:
        self.finals = list(finals)

    def step(self, search: Search) -> Search:
        return _with(search, dataclasses.replace(STEP, step=search.steps[-1].step + 1))

    def finish(self, search: Search, step: int, _: object) -> Search:
        return _with(search, dataclasses.replace(self.finals.pop(0), step=step))


def _with(search: Search, point: Point) -> Search:
    return dataclasses.replace(search, points=(*search.points, point))


def _fine_tuned(monkeypatch: pytest.MonkeyPatch, search: Search, *finals: Point) -> Search:
    searcher = _Searcher(*finals)
    nothing: Any = SimpleNamespace(
        close=lambda: None,
        release=lambda: None,
        part=lambda _: None,
        evidence=lambda _: None,
        source_model=lambda: SimpleNamespace(model=None),
        record=None,
        images=None,
    )
    monkeypatch.setattr(compressing, "ConversionProcess", lambda **_: contextlib.nullcontext())
    monkeypatch.setattr(compressing, "Meter", lambda *_: nothing)
    monkeypatch.setattr(compressing, "Searcher", lambda *_: searcher)
    monkeypatch.setattr(compressing, "_final_training", lambda *_: nothing)
    ended = compressing._fine_tuned(Path(), nothing, search, nothing, nothing)
    assert not searcher.finals
    return ended


def test_net_that_was_too_slow_is_measured_anew_when_the_compression_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failed = _with(SEARCH, SLOW)
    assert failed.has_failed
    ended = _fine_tuned(monkeypatch, failed, FINAL)
    assert ended.points == (SOURCE, STEP, FINAL)
    assert ended.result == FINAL
    assert _fine_tuned(monkeypatch, failed, SLOW).has_failed


def test_another_step_is_fine_tuned_when_a_final_net_is_of_no_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = _fine_tuned(monkeypatch, SEARCH, WILD, FINAL)
    assert [(point.kind, point.step) for point in ended.points[2:]] == [
        ("final", 1),
        ("step", 2),
        ("final", 2),
    ]
    assert ended.result == ended.points[-1]
    again = _fine_tuned(monkeypatch, _with(SEARCH, WILD), FINAL)
    assert again.points == ended.points, "killed in between, it goes on so"
