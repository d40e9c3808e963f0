"""Reading one image: from a path, bytes, a file, a Pillow image or an array, to 8-bit Pillow.

The rules, in order:

1. A file is PNG, JPEG, BMP, TIFF, WebP, GIF or PNM, at most 256 MiB, 8 to 16,384 pixels a side and
   at most 2**26 pixels in all. The header is checked before any pixel is decoded.
2. Of several frames the first is taken.
3. EXIF orientation is applied.
4. 16-bit grey keeps its high byte. (Pillow does the same with 16-bit colour PNGs.)
5. Transparency is laid over the background colour of the ``PreprocessSpec``.
6. Palette, 1-bit, grey, CMYK, YCbCr and HSV are converted by Pillow. Float and 32-bit images, and
   CIE Lab, have no agreed range and are refused.
"""

import contextlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from edgecell_runtime.errors import ImageError


class BinaryFile(Protocol):
    """What is open for reading bytes: a file, ``io.BytesIO``, an upload, a member of a zip."""

    def read(self, size: int = -1, /) -> bytes:
        """Reads at most so many bytes."""


ImageSource = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryFile
    | Image.Image
    | NDArray[np.uint8]
)
"""Whatever ``Classifier.predict`` takes as one image."""

FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
SUFFIXES: Final = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm", ".pbm"}
)
MAX_FILE_BYTES: Final = 256 << 20
MIN_SIDE: Final = 8
MAX_SIDE: Final = 16_384
MAX_PIXELS: Final = 1 << 26
MAX_SCANS: Final = 100
MAX_COMMENTS: Final = 100

_PNG = b"\x89PNG\r\n\x1a\n"
_BAND = 512
_DIRECT = frozenset({"RGB", "L"})
_BY_PILLOW = frozenset({"1", "P", "CMYK", "YCbCr", "HSV", "RGBX"})
_TRANSPARENT = frozenset({"RGBA", "LA", "PA", "RGBa", "La"})
_SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
_CONVERTED = _DIRECT | _BY_PILLOW | _TRANSPARENT | _SIXTEEN_BIT


def open_image(source: ImageSource, background: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """Reads one image by the rules above.

    Args:
        source: A path, the bytes of an image file, a binary file (read from where it stands to its
            end), a Pillow image, or a uint8 array of shape (height, width, 3) in RGB order or
            (height, width) in grey.
        background: RGB colour laid behind transparent pixels.

    Returns:
        A Pillow image of mode RGB, or L where the image is grey.

    Raises:
        ImageError: The image cannot be read, or a rule refuses it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        return _to_eight_bit(source, background, "image")
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), background, "image")
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        return _decode(read_image_file(path), background, str(path))
    if callable(getattr(source, "read", None)):
        return _decode(read_open_file(source), background, "image")
    raise ImageError(
        f"An image cannot be read from {type(source).__name__}; expected a path, bytes, a binary "
        "file, a Pillow image or a uint8 array."
    )


def read_open_file(file: BinaryFile) -> bytes:
    """Reads an open file from where it stands to its end, up to ``MAX_FILE_BYTES``.

    Raises:
        ImageError: It is longer, or cannot be read.
    """
    parts: list[bytes] = []
    left = MAX_FILE_BYTES + 1
    while left > 0:
        try:
            part = file.read(min(left, 1 << 20))
        except ImageError:
            raise
        except Exception as error:  # files of others raise of every kind
            raise ImageError(f"image cannot be read: {error}.") from error
        if not isinstance(part, bytes):
            raise ImageError(
                f"image was read as {type(part).__name__}; expected bytes. Open its file in binary "
                "mode."
            )
        if not part:
            return b"".join(parts)
        parts.append(part)  # pipes and sockets give what they have, which may be less
        left -= len(part)
    parts.clear()  # or the error's traceback would hold them
    raise ImageError(f"image has more than {MAX_FILE_BYTES:,} bytes, which is the most read.")


def read_image_file(path: Path) -> bytes:
    """Reads the bytes of an image file, with its size checked first.

    Raises:
        ImageError: There is no such file, or it is empty, too large or unreadable.
    """
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder; expected an image file.")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe may never end
            raise ImageError(f"{path} is a pipe or a device; expected an image file.")
        if status.st_size > MAX_FILE_BYTES:
            raise ImageError(
                f"{path} has {status.st_size:,} bytes; image files are read up to "
                f"{MAX_FILE_BYTES:,}."
            )
        with path.open("rb", buffering=0) as file:
            return file.read(status.st_size)
    except FileNotFoundError as error:
        raise ImageError(f"There is no file {path}; check the path.") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be read: {error}.") from error


class _Warnings:
    """Ignores warnings while any thread decodes.

    Pillow warns of what the rules above refuse, or of metadata that is not used. The filters belong
    to the whole process: with a ``catch_warnings`` in each of several threads, one would restore
    what another had set, and warnings would stay off for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._decoding = 0
        self._catcher = warnings.catch_warnings()

    @contextlib.contextmanager
    def ignored(self) -> Iterator[None]:
        """Ignores warnings until the last of all threads has left."""
        with self._lock:
            if self._decoding == 0:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.simplefilter("ignore")
            self._decoding += 1
        try:
            yield
        finally:
            with self._lock:
                self._decoding -= 1
                if self._decoding == 0:
                    self._catcher.__exit__(None, None, None)


_WARNINGS = _Warnings()


def _decode(data: bytes, background: tuple[int, int, int], name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); expected an image.")
    _check_work(data, name)
    try:
        with _WARNINGS.ignored(), _open(data) as image:
            _check_size(*image.size, name)
            image.load()
            return _to_eight_bit(image, background, name)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError(
            f"{name} does not fit into the memory that is free. Crop it to one cell."
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is refused: {error}") from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{name} is not an image that can be read; expected one of {', '.join(FORMATS)}."
        ) from error
    except Exception as error:  # Pillow's decoders raise of every kind
        raise ImageError(f"{name} is damaged or cut short: {error}.") from error


def _open(data: bytes) -> Image.Image:
    file = io.BytesIO(data)
    if data.startswith(_PNG):  # without the modules for all the others, which a device never needs
        from PIL import PngImagePlugin

        return PngImagePlugin.PngImageFile(file)
    return Image.open(file, formats=FORMATS)


def _check_work(data: bytes, name: str) -> None:
    """Refuses small files that take a decoder minutes.

    Each scan of a JPEG walks over all pixels; each comment in a plain PNM moves all that follows.
    """
    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > MAX_SCANS:
        raise ImageError(
            f"{name} is refused: a JPEG of more than {MAX_SCANS} scans. Save it again."
        )
    if data[:2] in (b"P1", b"P2", b"P3") and data.count(b"#") > MAX_COMMENTS:
        raise ImageError(
            f"{name} is refused: a PNM of more than {MAX_COMMENTS} comments. Save it again."
        )


def _from_array(array: NDArray[np.uint8]) -> Image.Image:
    if hasattr(array, "mask"):
        raise ImageError(
            "The array is masked, and a mask has no meaning here; expected a plain uint8 array. "
            "Fill it first."
        )
    if array.dtype != np.uint8:
        raise ImageError(
            f"The array is of dtype {array.dtype}; expected uint8 with values 0-255. "
            "Scale and convert it first."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] != 3):
        raise ImageError(
            f"The array has the shape {array.shape}; expected (height, width, 3) in RGB order, "
            "or (height, width) in grey."
        )
    _check_size(array.shape[1], array.shape[0], "image")
    return Image.fromarray(np.ascontiguousarray(array))


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{name} has {width} x {height} pixels; at least {MIN_SIDE} a side are needed."
        )
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} has {width} x {height} pixels; at most {MAX_SIDE:,} a side and "
            f"{MAX_PIXELS:,} in all are decoded. Crop it to one cell."
        )


def _to_eight_bit(image: Image.Image, background: tuple[int, int, int], name: str) -> Image.Image:
    _check_size(*image.size, name)
    if image.mode not in _CONVERTED:
        raise ImageError(
            f"{name} is of the mode {image.mode}, whose values have no agreed range; "
            "save it with 8 or 16 bits a channel."
        )
    try:
        image.load()
    except Exception as error:  # Pillow's decoders raise of every kind
        raise ImageError(f"{name} is damaged, cut short or closed: {error}.") from error
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # or it would be copied
            from PIL import ImageOps

            image = ImageOps.exif_transpose(image)
    except Exception as error:  # so does damaged EXIF
        raise ImageError(f"{name} has EXIF data that cannot be read: {error}.") from error
    if image.mode in _DIRECT and "transparency" not in image.info:
        return image
    try:
        return _converted(image, background)
    except Exception as error:  # a transparency that makes no sense
        reason = str(error) or type(error).__name__
        raise ImageError(f"{name} cannot be converted to 8-bit RGB: {reason}.") from error


def _converted(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        return Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.mode not in _TRANSPARENT and "transparency" not in image.info:
        return image.convert("L" if image.mode == "1" else "RGB")
    flat = Image.new("RGB", image.size)
    for top in range(0, image.height, _BAND):  # in bands: a whole image would be held four times
        band = image.crop((0, top, image.width, min(top + _BAND, image.height)))
        # Pillow converts premultiplied grey to nothing but grey with alpha.
        cell = (band.convert("LA") if band.mode == "La" else band).convert("RGBA")
        backdrop = Image.new("RGBA", cell.size, (*background, 255))
        flat.paste(Image.alpha_composite(backdrop, cell).convert("RGB"), (0, top))
    return flat
