"""Pictures inside the report: each is a ``data:`` URI, or the reason why there is none."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecell_export.source import KnownImage
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.images import open_image
from edgecell_runtime.labelled import LabelledImages
from edgecell_runtime.stored_images import image_sha256

MAX_SIDE: Final = 144
"""Larger images are made smaller: about one and a half screen pixels to each pixel of the page."""

_SHOWN_SIDE: Final = 96
_RED: Final = np.array([190.0, 20.0, 0.0])
_YELLOW: Final = np.array([255.0, 235.0, 60.0])
_OPAQUE: Final = 0.7
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
        heat: The image with where the net looked; None where that was not computed.
    """

    name: str
    label: str
    patient: str | None
    said: str
    probability: float
    picture: Picture
    heat: Picture | None = None
    disputed: bool = False

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
    opened = _opened(images, known, background)
    if isinstance(opened, Picture):
        return opened
    return Picture(_small_uri(opened), magnified=max(opened.size) < _SHOWN_SIDE)


def heated(
    images: LabelledImages | None,
    known: KnownImage,
    background: tuple[int, int, int],
    heat: NDArray[np.uint8],
) -> Picture:
    """An image in grey, with colour from red to yellow where the net looked.

    Args:
        images: See ``picture``.
        known: Likewise.
        background: Likewise.
        heat: uint8 (map height, map width), 0-255.
    """
    opened = _opened(images, known, background)
    if isinstance(opened, Picture):
        return opened
    grey = opened.convert("L").resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.BILINEAR)
    shares = Image.fromarray(heat).resize(grey.size, Image.Resampling.BILINEAR)
    share = np.asarray(shares, dtype=np.float64)[..., np.newaxis] / 255
    colour = _RED + (_YELLOW - _RED) * share
    opaque = _OPAQUE * np.sqrt(share)
    mixed = np.asarray(grey, dtype=np.float64)[..., np.newaxis] * (1 - opaque) + colour * opaque
    return Picture(_small_uri(Image.fromarray(np.round(mixed).astype(np.uint8))))


def _opened(
    images: LabelledImages | None, known: KnownImage, background: tuple[int, int, int]
) -> Image.Image | Picture:
    """The very file that the run knew, or why it cannot be shown."""
    found = images.get(known.name) if images is not None else None
    if images is None or found is None:
        return Picture(None, "The file is no longer there.")
    try:
        stored = images.read(found)
        if image_sha256(stored) != known.sha256:
            return Picture(None, "The file has changed since.")
        return open_image(stored, background)
    except (DataError, ImageError):
        return Picture(None, "The file cannot be read.")


def png_uri(path: Path) -> str | None:
    """A PNG file as a ``data:`` URI; None where it cannot be read."""
    try:
        return _uri("png", path.read_bytes())
    except OSError:
        return None


def png_data_uri(data: bytes) -> str:
    """PNG bytes as a ``data:`` URI."""
    return _uri("png", data)


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
