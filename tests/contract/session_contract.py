"""What every engine's session promises; one small subclass an engine.

``SessionContract`` is for every session, ``ModelFileContract`` for those that read a file's bytes.
"""

import abc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from support import artifacts, models

from edgecell_runtime.classifier import Classifier, Prediction
from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import EngineError
from edgecell_runtime.session_pool import SessionPool

CALLERS, CALLS = 16, 20_000


class SessionContract(abc.ABC):
    """The suite. A subclass opens the tiny graph of ``support.models`` with its engine."""

    @abc.abstractmethod
    def open(self, batch: int | None = None, *, threads: int = 1) -> Session:
        """Opens the tiny graph, of a fixed batch or of any."""

    def logits(self, session: Session, pixels: NDArray[np.uint8]) -> NDArray[np.generic]:
        outputs = session.run((pixels,))
        assert isinstance(outputs, tuple)
        assert len(outputs) == 1
        return outputs[0]

    @pytest.mark.parametrize("batch", [None, 1, 3])
    def test_signature_states_shapes_and_dtypes(self, batch: int | None) -> None:
        with self.open(batch) as session:
            (pixels,), (logits,) = session.signature.inputs, session.signature.outputs
        assert (pixels.dtype, pixels.shape, pixels.layout) == ("uint8", (batch, 8, 8, 3), "NHWC")
        assert (logits.dtype, logits.shape, logits.layout) == ("float32", (batch, 2), "NC")
        assert pixels.name
        assert logits.name
        assert pixels.quantization is None
        assert logits.quantization is None

    @pytest.mark.parametrize("batch", [1, 3])
    def test_run_gives_the_graphs_answers_when_the_batch_is_fixed(self, batch: int) -> None:
        pixels = models.random_pixels(batch)
        with self.open(batch) as session:
            logits = self.logits(session, pixels)
        assert (logits.shape, logits.dtype) == ((batch, 2), np.float32)
        assert np.allclose(logits, models.expected_logits(pixels), atol=1e-4)

    def test_run_gives_the_graphs_answers_when_the_batch_changes(self) -> None:
        with self.open() as session:
            for count in (1, 5, 2, 2):
                pixels = models.random_pixels(count, seed=count)
                logits = self.logits(session, pixels)
                assert logits.shape == (count, 2)
                assert np.allclose(logits, models.expected_logits(pixels), atol=1e-4)

    def test_run_takes_pixels_that_are_read_only_or_not_contiguous(self) -> None:
        pixels = models.random_pixels(1)[:, :, ::-1]
        pixels.flags.writeable = False
        with self.open(1) as session:
            logits = self.logits(session, pixels)
        assert np.allclose(logits, models.expected_logits(pixels), atol=1e-4)

    def test_answers_are_the_callers_when_the_session_runs_again(self) -> None:
        first, second = models.random_pixels(1, seed=1), models.random_pixels(1, seed=2)
        with self.open(1) as session:
            kept = self.logits(session, first)
            copy = kept.copy()
            again = self.logits(session, second)
            assert np.array_equal(kept, copy)
            assert not np.array_equal(kept, again)
            kept[:] = 7  # they may be written to
            assert np.array_equal(self.logits(session, first), copy)
        assert (kept == 7).all()

    def test_answers_stay_when_the_session_is_closed(self) -> None:
        pixels = models.random_pixels(1)
        session = self.open(1)
        logits = self.logits(session, pixels)
        session.close()
        del session
        assert np.allclose(logits, models.expected_logits(pixels), atol=1e-4)

    def test_inputs_are_left_as_they_are(self) -> None:
        pixels = models.random_pixels(1)
        copy = pixels.copy()
        with self.open(1) as session:
            session.run((pixels,))
        assert np.array_equal(pixels, copy)

    def test_run_is_refused_when_the_session_is_closed(self) -> None:
        session = self.open(1)
        session.close()
        with pytest.raises(EngineError, match="The session is closed"):
            session.run((models.random_pixels(1),))

    def test_close_does_nothing_when_called_again(self) -> None:
        session = self.open(1)
        session.close()
        session.close()

    def test_session_is_closed_when_its_with_statement_ends(self) -> None:
        with self.open(1) as session:
            session.run((models.random_pixels(1),))
        with pytest.raises(EngineError, match="The session is closed"):
            session.run((models.random_pixels(1),))

    def test_two_sessions_do_not_disturb_each_other(self) -> None:
        pixels = models.random_pixels(1)
        with self.open(1) as first:
            with self.open(1) as second:
                self.logits(second, models.random_pixels(1, seed=5))
                before = self.logits(first, pixels)
            assert np.array_equal(self.logits(first, pixels), before)

    def test_answers_are_the_same_whatever_the_threads(self) -> None:
        pixels = models.random_pixels(1)
        answers = []
        for threads in (1, 2):
            with self.open(1, threads=threads) as session:
                answers.append(self.logits(session, pixels))
        assert np.allclose(answers[0], answers[1], atol=1e-5)

    @pytest.mark.parametrize("sessions", [1, 3])
    def test_sixteen_threads_get_the_answers_of_one(self, sessions: int) -> None:
        cells = models.random_pixels(50)
        opened = [self.open(1) for _ in range(sessions)]
        with Classifier(SessionPool(opened), artifacts.tiny_manifest(batch=1)) as classifier:
            alone = [classifier.predict(cell) for cell in cells]
            wrong: list[tuple[int, Prediction]] = []

            def call(caller: int) -> None:
                for turn in range(CALLS // CALLERS):
                    place = (caller * 7 + turn) % len(cells)
                    answer = classifier.predict(cells[place])
                    if answer != alone[place]:
                        wrong.append((place, answer))

            with ThreadPoolExecutor(CALLERS) as callers:
                list(callers.map(call, range(CALLERS)))
        assert wrong == []
        assert len({answer.probability for answer in alone}) == len(cells)

    @pytest.mark.parametrize(
        "wrong",
        [
            (models.random_pixels(1)[:, :7],),
            (models.random_pixels(1)[0],),
            (models.random_pixels(1).astype(np.float32),),
            (models.random_pixels(2),),
            (models.random_pixels(1), models.random_pixels(1)),
            (),
        ],
        ids=["size", "rank", "dtype", "batch", "two inputs", "no input"],
    )
    def test_run_is_refused_when_inputs_do_not_fit_and_goes_on_afterwards(
        self, wrong: tuple[NDArray[np.generic], ...]
    ) -> None:
        pixels = models.random_pixels(1)
        with self.open(1) as session:
            with pytest.raises(EngineError):
                session.run(wrong)
            logits = self.logits(session, pixels)
        assert np.allclose(logits, models.expected_logits(pixels), atol=1e-4)


class ModelFileContract(SessionContract):
    """The suite for engines that read a file's bytes."""

    @abc.abstractmethod
    def open_bytes(self, model: bytes) -> Session:
        """Opens any bytes as a model."""

    @abc.abstractmethod
    def model(self) -> bytes:
        """The bytes of the tiny graph."""

    @pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
    def test_model_is_refused_when_it_is_cut_short(self, share: float) -> None:
        model = self.model()
        with pytest.raises(EngineError):
            self.open_bytes(model[: int(len(model) * share)])

    @pytest.mark.parametrize("junk", [b"\0" * 64, b"no model at all", bytes(range(256)) * 8])
    def test_model_is_refused_when_it_is_none(self, junk: bytes) -> None:
        with pytest.raises(EngineError):
            self.open_bytes(junk)
