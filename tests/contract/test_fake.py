import numpy as np
from contract.session_contract import SessionContract
from numpy.typing import NDArray
from support import artifacts, models

from edgecell_runtime.engines.base import Session
from edgecell_runtime.engines.fake import FakeSession


def _answer(pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    return models.expected_logits(pixels.astype(np.uint8)).astype(np.float32)


class TestFakeSession(SessionContract):
    def open(self, batch: int | None = None, *, threads: int = 1) -> Session:
        return FakeSession(artifacts.signature(batch), _answer)
