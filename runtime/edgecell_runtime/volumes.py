"""Reading one volume: from a path, bytes, a file or an array, to 8-bit voxels.

The rules, in order:

1. A file is NumPy's ``.npy``, version 1.0 or 2.0, at most 256 MiB. Nothing in it is unpickled.
2. It holds uint8 of exactly the shape that the graph takes, (depth, height, width, channels), and
   not a byte more. The header is checked before any array is made.
3. A volume of another shape is refused, and not resized: how far apart its slices lie is not
   written in it, so that only whoever made it can resample it rightly.
"""

import io
import math
import os
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecell_runtime.errors import ImageError
from edgecell_runtime.images import ImageSource, read_image_file, read_open_file

VOLUME_SUFFIX: Final = ".npy"
MAX_VOXELS: Final = 1 << 24
MAX_HEADER: Final = 512
"""Characters; NumPy writes 118 for such an array."""

_READERS: Final = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_volume(source: ImageSource, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Reads one volume by the rules above.

    Args:
        source: A path, the bytes of a ``.npy`` file, a binary file (read from where it stands to
            its end), or a uint8 array.
        shape: (depth, height, width, channels), which the volume has to have.

    Returns:
        uint8 of that shape, 0-255; what came from a file cannot be written to.

    Raises:
        ImageError: The volume cannot be read, or a rule refuses it.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, shape)
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), shape, "volume")
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
        return _decode(read_image_file(path), shape, str(path))
    if callable(getattr(source, "read", None)) and not isinstance(source, Image.Image):
        return _decode(read_open_file(source), shape, "volume")
    raise ImageError(
        f"A volume cannot be read from {type(source).__name__}; expected the path, the bytes or "
        f"the open file of a {VOLUME_SUFFIX}, or a uint8 array of shape {shape}."
    )


def _from_array(array: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if hasattr(array, "mask"):
        raise ImageError(
            "The array is masked, and a mask has no meaning here; expected a plain uint8 array. "
            "Fill it first."
        )
    _check(array.shape, array.dtype, shape, "The array")
    return np.asarray(array)


def _decode(data: bytes, shape: tuple[int, ...], name: str) -> NDArray[np.uint8]:
    if not data:
        raise ImageError(f"{name} is empty (0 bytes); expected a volume.")
    file = io.BytesIO(data)
    try:
        found, by_columns, dtype = _READERS[np.lib.format.read_magic(file)](
            file, max_header_size=MAX_HEADER
        )
    except Exception as error:  # NumPy's reader raises of every kind on damaged headers
        raise ImageError(
            f"{name} is not a {VOLUME_SUFFIX} file that can be read; expected what np.save writes "
            f"of a uint8 array of shape {shape}. Save it again."
        ) from error
    _check(found, dtype, shape, name)
    start, size = file.tell(), math.prod(shape)
    if len(data) - start != size:
        raise ImageError(
            f"{name} has {len(data) - start:,} bytes of voxels; expected {size:,} by its header. "
            "It is damaged or cut short; copy it again."
        )
    voxels = np.frombuffer(data, np.uint8, size, start)
    return np.ascontiguousarray(voxels.reshape(shape, order="F" if by_columns else "C"))


def _check(found: tuple[int, ...], dtype: np.dtype, shape: tuple[int, ...], name: str) -> None:
    if dtype != np.uint8:
        raise ImageError(
            f"{name} is of dtype {str(dtype)[:40]}; expected uint8 with values 0-255. "
            "Scale and convert it first."
        )
    if found != shape:
        raise ImageError(
            f"{name} has the shape {_shown(found)}; expected {shape}, which is (depth, height, "
            "width, channels). Volumes are not resized: crop or resample it to that shape first."
        )


def _shown(shape: tuple[int, ...]) -> str:
    text = str(shape)
    return text if len(text) <= 60 else f"of {len(shape)} dimensions"
