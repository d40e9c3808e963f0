"""Reading Keras's variables."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.tensorflow import import_keras


def values_of(variables: Iterable[Any]) -> list[NDArray[np.generic]]:
    """Copies of variables, on every backend.

    ``Variable.numpy`` and with it ``Model.get_weights`` lead NumPy to warn under JAX.
    """
    ops = import_keras().ops
    return [np.array(ops.convert_to_numpy(ops.copy(variable))) for variable in variables]
