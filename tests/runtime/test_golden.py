import hashlib
import re

import numpy as np
import pytest

from edgecell_runtime.errors import ManifestError
from edgecell_runtime.golden import FORMULA, golden_inputs
from edgecell_runtime.manifest import Golden

COUNTS = {"cells-1": 8, "ramps-1": 4}
EACH = pytest.mark.parametrize("formula", COUNTS)


@pytest.mark.parametrize(
    ("formula", "shape", "sha256"),
    [
        (
            "ramps-1",
            (64, 64, 3),
            "37665d907c5490b036e930e43af682b5a7c3aa066f7a75eefe7404d373498f35",
        ),
        (
            "ramps-1",
            (9, 130, 1),
            "3d1f3d1eebc38009a799301252304ce7b2fa1fa23c62786c9d39ee478bca5bce",
        ),
        (
            "cells-1",
            (64, 64, 3),
            "6f1451495b4b550e8b2075a43eaa73b07eff2788a382e63435e4b12f4c65a460",
        ),
        (
            "cells-1",
            (9, 130, 1),
            "0d61172d5ea2de20df55dcbc798d805b94c34e3989b8d1c61079ded3b7b2e987",
        ),
    ],
)
def test_formula_gives_the_same_bytes_everywhere(
    formula: str, shape: tuple[int, int, int], sha256: str
) -> None:
    inputs = golden_inputs(formula, shape)
    assert (inputs.shape, inputs.dtype) == ((COUNTS[formula], *shape), np.uint8)
    assert hashlib.sha256(inputs.tobytes()).hexdigest() == sha256


@EACH
def test_formula_tells_its_images_apart(formula: str) -> None:
    inputs = golden_inputs(formula, (64, 64, 3))
    assert len({image.tobytes() for image in inputs}) == COUNTS[formula]


def test_ramps_use_the_whole_range() -> None:
    inputs = golden_inputs("ramps-1", (64, 64, 3))
    assert (inputs.min(), inputs.max()) == (0, 255)


def test_cells_are_discs_on_black_and_every_other_one_has_spots() -> None:
    inputs = golden_inputs("cells-1", (64, 64, 3)).astype(int)
    assert not inputs[:, [0, 0, -1, -1], [0, -1, 0, -1]].any()
    middle = inputs[:, 16:48, 16:48, 1]
    darkest = middle.min(axis=(1, 2))
    assert (darkest[1::2] < darkest[::2] - 40).all()


@EACH
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 3), (300, 2, 3)])
def test_formula_gives_inputs_of_any_shape(formula: str, shape: tuple[int, int, int]) -> None:
    assert golden_inputs(formula, shape).shape == (COUNTS[formula], *shape)


def test_unknown_formula_is_refused_with_those_that_there_are() -> None:
    message = "'waves-2', which this edgecell does not have; expected one of cells-1, ramps-1."
    with pytest.raises(ManifestError, match=re.escape(message)):
        golden_inputs("waves-2", (8, 8, 3))


def test_new_artifacts_are_proved_by_cells_and_those_of_old_by_ramps() -> None:
    assert FORMULA == "cells-1"
    assert Golden().formula == "ramps-1"
