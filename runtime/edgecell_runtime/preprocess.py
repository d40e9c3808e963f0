"""The one preprocessing: training, calibration, parity, evaluation and prediction all call it."""

from dataclasses import field
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecell_runtime.codec import OPTIONAL
from edgecell_runtime.images import ImageSource, open_image
from edgecell_runtime.records import dataclass
from edgecell_runtime.volumes import MAX_VOXELS, read_volume

MAX_MASKED_SIDE: Final = 256
"""Pixels; masking follows a winding edge turn by turn, which takes long in larger images."""


@dataclass(frozen=True)
class PreprocessSpec:
    """What happens to pixels before the graph. Normalisation is inside the graph.

    Attributes:
        height: Rows that the graph takes, in pixels.
        width: Columns, in pixels.
        color_mode: ``RGB`` (three channels in that order) or ``L`` (one, ITU-R 601 luma).
        interpolation: Of the resize. ``bilinear`` is Pillow's, which widens its kernel when it
            makes an image smaller (anti-aliasing); the aspect ratio is not kept.
        background: RGB colour laid behind transparent pixels; cells stand on black.
        masking: ``slide`` paints the slide around a cell, and other cells on it, with the
            background, after the resize (see ``edgecell_runtime.masking``); a cell that stands on
            the background already is left alone. None does nothing.
        depth: Slices that the graph takes, for a graph of volumes; None for one of images. Volumes
            have that size already (see ``edgecell_runtime.volumes``): nothing is converted or
            resized.
    """

    height: int
    width: int
    color_mode: Literal["RGB", "L"] = "RGB"
    interpolation: Literal["bilinear"] = "bilinear"
    background: tuple[int, int, int] = (0, 0, 0)
    masking: Literal["slide"] | None = field(default=None, metadata=OPTIONAL)
    depth: int | None = field(default=None, metadata=OPTIONAL)

    def __post_init__(self) -> None:
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise ValueError(f"the size {self.height} x {self.width} is not between 1 and 4096.")
        if self.depth is not None and not 1 <= self.depth <= 4096:
            raise ValueError(f"the depth {self.depth} is not between 1 and 4096.")
        if self.height * self.width * (self.depth or 1) > MAX_VOXELS:
            raise ValueError(
                f"the volume {self.depth} x {self.height} x {self.width} has more than "
                f"{MAX_VOXELS:,} voxels."
            )
        if not all(0 <= value <= 255 for value in self.background):
            raise ValueError(f"the background {self.background} is not a colour of 0 to 255 each.")
        if self.masking is not None and not self._can_be_masked:
            raise ValueError(
                f"the slide is masked in images of at most {MAX_MASKED_SIDE} pixels a side, not in "
                f"{' x '.join(map(str, self.shape[:-1]))}."
            )

    @property
    def channels(self) -> int:
        """Channels of the graph's input."""
        return len(self.color_mode)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """(height, width, channels), behind a depth where it is a volume's."""
        image = (self.height, self.width, self.channels)
        return image if self.depth is None else (self.depth, *image)

    def apply(self, source: ImageSource) -> NDArray[np.uint8]:
        """Turns one image, or one volume, into the pixels that the graph takes.

        Args:
            source: See ``edgecell_runtime.images.open_image``; of a volume,
                ``edgecell_runtime.volumes.read_volume``.

        Returns:
            uint8 of ``shape``, RGB or grey, 0-255; an array of that shape is not resized, and
            comes back as it is unless its slide is masked.

        Raises:
            ImageError: The image cannot be read, or is refused.
        """
        if type(source) is np.ndarray and source.shape == self.shape and source.dtype == np.uint8:
            return self._masked(source)
        if self.depth is not None:
            return read_volume(source, self.shape)
        image = open_image(source, self.background)
        if image.mode != self.color_mode:
            image = image.convert(self.color_mode)
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return self._masked(np.asarray(image, dtype=np.uint8).reshape(self.shape))

    def _masked(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.masking is None:
            return pixels
        from edgecell_runtime.masking import mask_slide

        return mask_slide(pixels, self._graph_background)

    @property
    def _can_be_masked(self) -> bool:
        return self.depth is None and max(self.height, self.width) <= MAX_MASKED_SIDE

    @cached_property
    def _graph_background(self) -> tuple[int, ...]:
        """The background in the graph's channels."""
        color = Image.new("RGB", (1, 1), self.background).convert(self.color_mode)
        return tuple(np.asarray(color).ravel().tolist())
