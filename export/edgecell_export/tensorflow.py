"""The one door through which TensorFlow and Keras are imported: late, and without their chatter."""

import logging
import os
from typing import Any

from edgecell_export.output_capture import converter_output
from edgecell_runtime.errors import MissingPartError


def import_tensorflow() -> Any:
    """TensorFlow; the first import takes seconds.

    Raises:
        MissingPartError: It is not installed.
    """
    _be_quiet()
    try:
        with converter_output():
            import tensorflow
    except ImportError as error:
        raise MissingPartError(
            "This needs TensorFlow: pip install 'edgecell[train,export]' (Python 3.11 to 3.13)."
        ) from error
    return tensorflow


def import_keras() -> Any:
    """Keras 3.

    Raises:
        MissingPartError: It, or its backend, is not installed.
    """
    _be_quiet()
    try:
        with converter_output():
            import keras
    except ImportError as error:
        raise MissingPartError(
            "This needs Keras 3 and TensorFlow: pip install 'edgecell[train,export]' "
            "(Python 3.11 to 3.13)."
        ) from error
    return keras


def _be_quiet() -> None:
    """Leaves errors; warnings of retracing and the like are about our code, not the user's."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
