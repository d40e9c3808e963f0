import hashlib

import numpy as np
import pytest

from edgecell_runtime.golden import COUNT, FORMULA, golden_inputs
from edgecell_runtime.manifest import Golden


@pytest.mark.parametrize(
    ("shape", "sha256"),
    [
        ((64, 64, 3), "37665d907c5490b036e930e43af682b5a7c3aa066f7a75eefe7404d373498f35"),
        ((9, 130, 1), "3d1f3d1eebc38009a799301252304ce7b2fa1fa23c62786c9d39ee478bca5bce"),
    ],
)
def test_formula_gives_the_same_bytes_everywhere(shape: tuple[int, int, int], sha256: str) -> None:
    inputs = golden_inputs(shape)
    assert (inputs.shape, inputs.dtype) == ((COUNT, *shape), np.uint8)
    assert hashlib.sha256(inputs.tobytes()).hexdigest() == sha256


def test_formula_uses_the_whole_range_and_tells_its_images_apart() -> None:
    inputs = golden_inputs((64, 64, 3))
    assert (inputs.min(), inputs.max()) == (0, 255)
    assert len({image.tobytes() for image in inputs}) == COUNT


def test_manifest_names_the_formula() -> None:
    assert Golden().formula == FORMULA
