"""An image or one sentence: what every source that is handed in must give."""

import re

from PIL import Image

from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import MAX_SIDE, open_image
from support import fuzzing

SENTENCE = re.compile(r"[^\n]{10,400}[.!?]", re.DOTALL)


def image_or_sentence(source: object) -> Image.Image | str:
    """The image, or the refusal; whatever else comes out fails the test."""
    refusal = ""
    with fuzzing.watchdog():
        try:
            image = open_image(source)  # type: ignore[arg-type]
        except ImageError as error:
            refusal = str(error)
    if refusal:
        assert SENTENCE.fullmatch(refusal), refusal
        return refusal
    assert image.mode in {"RGB", "L"}
    assert max(image.size) <= MAX_SIDE
    return image
