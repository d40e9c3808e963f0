"""Engines prove themselves by the artifact's golden answers; wrong ones never decide."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models

from edgecell_runtime import Classifier
from edgecell_runtime.artifact import Artifact
from edgecell_runtime.engines import ENGINES, Engine, Session
from edgecell_runtime.engines.fake import FakeSession
from edgecell_runtime.errors import EngineError, ManifestError, MissingPartError
from edgecell_runtime.golden import golden_inputs
from edgecell_runtime.manifest import Golden, Manifest
from edgecell_runtime.signature import QuantizationParams, dequantize

Answer = Callable[[NDArray[np.generic]], NDArray[np.generic]]
CELL = models.random_pixels(1)[0]
INPUTS = golden_inputs("cells-1", models.SIZE)
LOGITS = models.expected_logits(INPUTS)
STEPS = QuantizationParams(0.05, -3)
INT8 = np.clip(np.rint(LOGITS / STEPS.scale) + STEPS.zero_point, -128, 127)


def float_manifest() -> Manifest:
    golden = Golden("cells-1", outputs=tuple(map(tuple, LOGITS.tolist())))
    return dataclasses.replace(artifacts.tiny_manifest(), golden=golden)


def int8_manifest(allowed_steps: int) -> Manifest:
    """Of a graph with a quantised output."""
    manifest = artifacts.tiny_manifest()
    (pixels,), (logits,) = manifest.signature.inputs, manifest.signature.outputs
    logits = dataclasses.replace(logits, dtype="int8", quantization=STEPS)
    signature = dataclasses.replace(manifest.signature, inputs=(pixels,), outputs=(logits,))
    golden = Golden("cells-1", (), tuple(map(tuple, INT8.tolist())), allowed_steps)
    return dataclasses.replace(manifest, recipe="static_int8", signature=signature, golden=golden)


def right(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    return models.expected_logits(pixels.astype(np.uint8)).astype(np.float32)


def in_steps(pixels: NDArray[np.generic], away: int = 0) -> NDArray[np.generic]:
    steps = np.rint(right(pixels) / STEPS.scale) + STEPS.zero_point
    return np.clip(steps + away, -128, 127).astype(np.int8)


def failing(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    raise ValueError("a kernel of its own kind of error")


class Engines:
    """The registry, with fakes in place of the engines for TFLite."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.sessions: dict[str, list[FakeSession]] = {}

    def plant(self, name: str, answer: Answer | None) -> None:
        """Registers an engine that answers so; None: whose library is not installed."""

        def open_session(model: bytes, threads: int) -> Session:
            if answer is None:
                raise MissingPartError(f"{name} is not installed.")
            session = FakeSession(self.manifest.signature, answer)
            self.sessions.setdefault(name, []).append(session)
            return session

        ENGINES[name] = Engine(name, ("tflite",), "tflite", "numpy", open_session)

    def open(self, engine: str | None = None, sessions: int = 1) -> Classifier:
        artifact = Artifact(Path("x.tflite"), self.manifest, "", 1, b"x")
        return Classifier.of_artifact(artifact, engine=engine, threads=1, sessions=sessions)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:
    saved = dict(ENGINES)
    ENGINES.clear()
    yield Engines(float_manifest())
    ENGINES.clear()
    ENGINES.update(saved)


def report(classifier: Classifier) -> list[tuple[str, bool]]:
    return [(trial.engine, trial.accepted) for trial in classifier.engine_report]


def test_first_engine_that_proves_itself_is_taken(engines: Engines) -> None:
    engines.plant("first", right)
    engines.plant("second", right)
    opened = engines.open()
    assert opened.engine == "first"
    assert report(opened) == [("first", True)]
    assert opened.engine_report[0].version == np.__version__
    assert "golden answers within" in opened.engine_report[0].reason
    assert list(engines.sessions) == ["first"]


WRONG: dict[str, Answer] = {
    "swapped": lambda pixels: right(pixels)[:, ::-1],
    "constant": lambda pixels: np.zeros((len(pixels), 2), np.float32),
    "scaled": lambda pixels: right(pixels) * np.float32(1.1),
    "a little off": lambda pixels: right(pixels) + np.array([0.02, 0], np.float32),
    "no numbers": lambda pixels: np.full((len(pixels), 2), np.nan, np.float32),
    "infinite": lambda pixels: np.full((len(pixels), 2), np.inf, np.float32),
    "another shape": lambda pixels: np.zeros((len(pixels), 3), np.float32),
    "failing": failing,
    "last image for all": lambda pixels: np.repeat(right(pixels[-1:]), len(pixels), axis=0),
    "right for one image alone": lambda pixels: right(pixels) * (1 if len(pixels) == 1 else -1),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_engine_is_passed_over_with_the_reason_and_decides_nothing(
    engines: Engines, wrong: str
) -> None:
    engines.plant("planted", WRONG[wrong])
    engines.plant("good", right)
    opened = engines.open()
    assert report(opened) == [("planted", False), ("good", True)]
    assert opened.engine == "good"
    (planted,) = engines.sessions["planted"]
    calls = planted.calls
    answer = opened.predict(CELL)
    assert answer == Classifier(
        FakeSession(engines.manifest.signature, right), engines.manifest
    ).predict(CELL)
    assert planted.calls == calls
    with pytest.raises(EngineError, match="The session is closed"):
        planted.run((CELL[None],))


@pytest.mark.parametrize("wrong", WRONG)
def test_classifier_does_not_open_when_its_only_engine_is_wrong(
    engines: Engines, wrong: str
) -> None:
    engines.plant("planted", WRONG[wrong])
    with pytest.raises(EngineError):
        engines.open()
    with pytest.raises(EngineError):
        engines.open("planted")


def test_all_reasons_are_said_when_several_engines_are_wrong(engines: Engines) -> None:
    engines.plant("one", WRONG["swapped"])
    engines.plant("two", WRONG["another shape"])
    engines.plant("three", None)
    with pytest.raises(EngineError) as refusal:
        engines.open()
    for part in ("one: ", "a probability differs by", "two: ", "shape", "three is not installed"):
        assert part in str(refusal.value)


def test_missing_engine_is_passed_over_and_named(engines: Engines) -> None:
    engines.plant("absent", None)
    engines.plant("good", right)
    opened = engines.open()
    assert opened.engine_report[0].reason == "absent is not installed."
    assert report(opened) == [("absent", False), ("good", True)]


def test_what_to_install_is_said_when_no_engine_is_there(engines: Engines) -> None:
    engines.plant("absent", None)
    engines.plant("absent too", None)
    with pytest.raises(MissingPartError, match="absent is not installed"):
        engines.open()


def test_named_engine_is_the_only_one_tried(engines: Engines) -> None:
    engines.plant("first", right)
    engines.plant("second", right)
    assert engines.open("second").engine == "second"
    assert list(engines.sessions) == ["second"]


def test_every_session_is_of_the_proved_engine(engines: Engines) -> None:
    engines.plant("planted", WRONG["swapped"])
    engines.plant("good", right)
    opened = engines.open(sessions=3)
    assert opened.sessions == 3
    assert (len(engines.sessions["planted"]), len(engines.sessions["good"])) == (1, 3)


@pytest.mark.parametrize("away", [0, 1, 2, -2])
def test_int8_engine_is_taken_within_the_allowed_steps(engines: Engines, away: int) -> None:
    engines.manifest = int8_manifest(allowed_steps=2)
    engines.plant("near", lambda pixels: in_steps(pixels, away))
    assert f"within {abs(away)} of 2 steps" in engines.open().engine_report[0].reason


@pytest.mark.parametrize("away", [3, -3, 100])
def test_int8_engine_is_passed_over_beyond_the_allowed_steps(engines: Engines, away: int) -> None:
    engines.manifest = int8_manifest(allowed_steps=2)
    engines.plant("far", lambda pixels: in_steps(pixels, away))
    engines.plant("good", in_steps)
    opened = engines.open()
    assert report(opened) == [("far", False), ("good", True)]
    assert f"{abs(away)} steps away; at most 2" in opened.engine_report[0].reason
    assert np.abs(dequantize(INT8, STEPS)).min() > 0


def test_float32_engine_is_proved_by_the_sources_answers_where_there_are_no_others(
    engines: Engines,
) -> None:
    shares = np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)
    golden = Golden("cells-1", tuple(map(tuple, shares.tolist())))
    engines.manifest = dataclasses.replace(engines.manifest, golden=golden)
    engines.plant("planted", WRONG["a little off"])
    engines.plant("good", right)
    assert report(engines.open()) == [("planted", False), ("good", True)]


def test_report_says_so_when_nothing_could_be_proved(engines: Engines) -> None:
    engines.manifest = dataclasses.replace(engines.manifest, golden=Golden())
    engines.plant("any", right)
    assert "not proved" in engines.open().engine_report[0].reason


@pytest.mark.parametrize("extra", [(), ((0.0, 0.0),)])
def test_artifact_is_refused_when_its_golden_answers_are_of_another_number(
    engines: Engines, extra: tuple[tuple[float, float], ...]
) -> None:
    outputs = engines.manifest.golden.outputs[2:] + extra
    golden = dataclasses.replace(engines.manifest.golden, outputs=outputs)
    engines.manifest = dataclasses.replace(engines.manifest, golden=golden)
    engines.plant("any", right)
    with pytest.raises(ManifestError, match="golden answers; the formula cells-1 has 8 inputs"):
        engines.open()


def test_engine_is_passed_over_when_its_second_session_answers_otherwise(engines: Engines) -> None:
    answers = iter([right, WRONG["swapped"], right])
    engines.plant("moody", lambda pixels: pixels)
    moody = ENGINES["moody"]

    def open_session(model: bytes, threads: int) -> Session:
        return FakeSession(engines.manifest.signature, next(answers))

    ENGINES["moody"] = dataclasses.replace(moody, open=open_session)
    engines.plant("good", right)
    assert report(engines.open(sessions=3)) == [("moody", False), ("good", True)]


def test_batch_is_not_compared_where_ranges_depend_on_it(engines: Engines) -> None:
    engines.manifest = dataclasses.replace(engines.manifest, recipe="dynamic_int8")
    engines.plant("dynamic", WRONG["right for one image alone"])
    assert report(engines.open()) == [("dynamic", True)]
