import functools
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contract.session_contract import SessionContract
from support import models

from edgecell_export.savedmodel_session import SavedModelSession
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.engines.base import Session
from edgecell_runtime.errors import EngineError


@functools.cache
def saved_model(batch: int | None) -> tuple[Path, object]:
    """The tiny graph of ``support.models`` as a SavedModel, with what removes it at the end."""
    tensorflow = import_tensorflow()
    pixels = tensorflow.TensorSpec((batch, *models.SIZE), "uint8", name="pixels")

    class Tiny(tensorflow.Module):
        @tensorflow.function(input_signature=[pixels])
        def __call__(self, pixels: Any) -> dict[str, Any]:
            flat = tensorflow.reshape(tensorflow.cast(pixels, "float32"), (-1, models.INPUTS))
            logits = flat @ models.WEIGHTS.T + models.BIAS
            return {"logits": tensorflow.ensure_shape(logits, (batch, models.OUTPUTS))}

    holder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    path = Path(holder.name) / "tiny.savedmodel"
    tiny = Tiny()
    tensorflow.saved_model.save(tiny, str(path), signatures={"serving_default": tiny.__call__})
    return path, holder


class TestSavedModelSession(SessionContract):
    def open(self, batch: int | None = None, *, threads: int = 1) -> Session:
        return SavedModelSession(saved_model(batch)[0], threads)


def test_open_refuses_a_folder_that_tensorflow_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"no graph at all")
    with pytest.raises(EngineError, match="TensorFlow refuses the SavedModel"):
        SavedModelSession(tmp_path)


def test_open_takes_the_threads_that_the_process_has_when_tensorflow_has_computed() -> None:
    pixels = models.random_pixels(1)
    with SavedModelSession(saved_model(1)[0], 1) as first:
        first.run((pixels,))
        with SavedModelSession(saved_model(1)[0], 2) as second:
            found = second.run((pixels,))[0]
    assert np.allclose(found, models.expected_logits(pixels), atol=1e-4)
