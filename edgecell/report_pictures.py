"""Pictures inside the report: each is a ``data:`` URI, or the reason why there is none."""

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from edgecell_export.source import KnownImage
from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import open_image
from edgecell_runtime.labelled import LabelledImages

MAX_SIDE: Final = 144
"""Larger images are made smaller: about one and a half screen pixels to each pixel of the page."""

_SHOWN_SIDE: Final = 96
_MAX_PNG_BYTES: Final = 24 << 10  # times the pictures of a report, in base64: below 1.5 MB


@dataclass(frozen=True)
class Picture:
    """An image as a page shows it.

    Attributes:
        uri: ``data:`` URI of the image; None where it cannot be shown.
        missing: Why it cannot be shown; empty where it can.
        magnified: Whether its own pixels are larger than the page's.
    """

    uri: str | None
    missing: str = ""
    magnified: bool = False


@dataclass(frozen=True)
class Sample:
    """One test image on the page.

    Attributes:
        name: Of the image in its set.
        label: What it shows.
        patient: Who it comes from, where that is known.
        said: The model's label.
        probability: Of that label.
        picture: The image.
    """

    name: str
    label: str
    patient: str | None
    said: str
    probability: float
    picture: Picture

    @property
    def right(self) -> bool:
        """Whether the model's label is the true one."""
        return self.label == self.said


def picture(
    images: LabelledImages | None, known: KnownImage, background: tuple[int, int, int]
) -> Picture:
    """Reads an image for the page; only the very file that the run knew is shown.

    Args:
        images: The set; None where it cannot be opened.
        known: Name and hash of the image.
        background: RGB colour laid behind transparent pixels.
    """
    found = images.get(known.name) if images is not None else None
    if images is None or found is None:
        return Picture(None, "The file is no longer there.")
    try:
        data = images.read(found)
        if hashlib.sha256(data).hexdigest() != known.sha256:
            return Picture(None, "The file has changed since.")
        image = open_image(data, background)
    except ImageError:
        return Picture(None, "The file cannot be read.")
    return Picture(_small_uri(image), magnified=max(image.size) < _SHOWN_SIDE)


def png_uri(path: Path) -> str | None:
    """A PNG file as a ``data:`` URI; None where it cannot be read."""
    try:
        return _uri("png", path.read_bytes())
    except OSError:
        return None


def _small_uri(image: Image.Image) -> str:
    """Without loss as PNG; a picture that would be large so, such as a photograph, as JPEG."""
    small = image.copy()
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    small.info.clear()  # or a colour profile of any size would go along
    data = _encoded(small, "png")
    return _uri("png", data) if len(data) <= _MAX_PNG_BYTES else _uri("jpeg", _jpeg(small))


def _encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, optimize=True)
    return buffer.getvalue()


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Colour at full resolution: parasites are small and purple.
    image.save(buffer, "jpeg", quality=88, subsampling=0, optimize=True)
    return buffer.getvalue()


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
