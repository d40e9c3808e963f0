"""Cells as other laboratories might photograph them, made from the archive's masked ones.

Synthetic throughout: what a change does says where a model is weak, not how it does elsewhere.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

_HED: Final = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Absorption of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001)."""
_LUMA: Final = np.array([0.299, 0.587, 0.114])
_YIQ: Final = np.array([_LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


@dataclass(frozen=True)
class Cell:
    """A masked cell and one beside it.

    Attributes:
        pixels: uint8 (height, width, 3), RGB; the background is black.
        neighbour: Another cell of the patient, likewise.
        generator: Of what is drawn at random for this cell.
    """

    pixels: Pixels
    neighbour: Pixels
    generator: np.random.Generator

    @property
    def mask(self) -> NDArray[np.bool_]:
        """True inside of the cell, bool (height, width)."""
        return self.pixels.max(axis=2) > 0

    @property
    def solid(self) -> NDArray[np.bool_]:
        """The same without the rim's pixels that shrinking has mixed with the black around."""
        mask, brightest = self.mask, self.pixels.max(axis=2)
        inner = np.asarray(Image.fromarray(mask).convert("L").filter(ImageFilter.MinFilter(5))) > 0
        return mask & (inner | (brightest > 0.85 * np.median(brightest[mask])))


Change = Callable[[Cell], Pixels]


def masked(cell: Cell) -> Pixels:
    """As it is."""
    return cell.pixels


def plain(level: int) -> Change:
    """A background of one grey."""
    return lambda cell: _laid_over(cell, np.full(cell.pixels.shape, level, np.float32))


def slide(density: float) -> Change:
    """The slide around: some of the cell's own colour, a gradient, noise.

    Args:
        density: Of the slide, as a share of how much darker than white the cell is.
    """
    return lambda cell: _laid_over(cell, _slide(cell, density))


def neighbour(density: float) -> Change:
    """The same, with a part of another cell at the edge of the crop."""

    def change(cell: Cell) -> Pixels:
        under = _slide(cell, density)
        height, width, _ = cell.pixels.shape
        angle = cell.generator.uniform(0, 2 * np.pi)
        away = cell.generator.uniform(0.8, 0.95)
        down, right = round(np.sin(angle) * away * height), round(np.cos(angle) * away * width)
        other = np.zeros_like(cell.pixels)
        source = Image.fromarray(cell.neighbour).resize((width, height), Image.Resampling.BILINEAR)
        to = (
            slice(max(down, 0), height + min(down, 0)),
            slice(max(right, 0), width + min(right, 0)),
        )
        of = (
            slice(max(-down, 0), height - max(down, 0)),
            slice(max(-right, 0), width - max(right, 0)),
        )
        other[to] = np.asarray(source)[of]
        if other.any():
            under = _laid_over(Cell(other, other, cell.generator), under).astype(np.float32)
        return _laid_over(cell, under)

    return change


def loose(share: float, background: Change) -> Change:
    """A crop with a margin of so much of the cell's size on each side."""

    def change(cell: Cell) -> Pixels:
        height, width, _ = cell.pixels.shape
        down, right = round(share * height), round(share * width)
        room = ((down, down), (right, right), (0, 0))
        large = background(Cell(np.pad(cell.pixels, room), cell.neighbour, cell.generator))
        return np.asarray(Image.fromarray(large).resize((width, height), Image.Resampling.BILINEAR))

    return change


def light(factor: float) -> Change:
    """Brighter or darker."""
    return lambda cell: _clipped(cell.pixels * np.float32(factor))


def gamma(exponent: float) -> Change:
    """Another tone curve: above 1 the mid-tones are darker."""
    return lambda cell: _clipped(255 * (cell.pixels / 255.0) ** exponent)


def balance(red: float, green: float, blue: float) -> Change:
    """Another white balance: factors of the channels."""
    return lambda cell: _clipped(cell.pixels * np.array([red, green, blue], np.float32))


def hue(degrees: float) -> Change:
    """The hue turned, in YIQ, which keeps the luma."""
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = (np.linalg.inv(_YIQ) @ turn @ _YIQ).T
    return lambda cell: _clipped(cell.pixels @ matrix)


def stain(*densities: float) -> Change:
    """Each stain's density times a factor (as in ``edgecell_train.augmentation_colour``)."""
    matrix = np.linalg.inv(_HED) @ np.diag(densities) @ _HED

    def change(cell: Cell) -> Pixels:
        density = -np.log((cell.pixels.astype(np.float64) + 1) / 256)
        return _clipped((np.exp(-density @ matrix) * 256 - 1) * cell.mask[..., None])

    return change


def defocus(sigma: float) -> Change:
    """Blurred by a Gaussian of so many pixels of the crop, inside of the cell."""
    return lambda cell: _clipped(_blurred(cell, sigma) * cell.mask[..., None])


def coarse(side: int) -> Change:
    """Photographed with so many pixels a side."""

    def change(cell: Cell) -> Pixels:
        height, width, _ = cell.pixels.shape
        filled = Image.fromarray(_clipped(_blurred(cell, 2.0, inside=False)))
        small = filled.resize((side, side), Image.Resampling.BOX)
        large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
        return large * cell.mask[..., None]

    return change


def jpeg(quality: int, times: int) -> Change:
    """Compressed as JPEG, with the black around it, when it was so many times as large."""

    def change(cell: Cell) -> Pixels:
        height, width, _ = cell.pixels.shape
        large = (width * times, height * times)
        file = io.BytesIO()
        image = Image.fromarray(cell.pixels).resize(large, Image.Resampling.BICUBIC)
        image.save(file, "JPEG", quality=quality)
        small = Image.open(file).convert("RGB").resize((width, height), Image.Resampling.BOX)
        return np.asarray(small)

    return change


def noise(sigma: float) -> Change:
    """Gaussian noise inside of the cell, in steps of 0-255."""

    def change(cell: Cell) -> Pixels:
        drawn = cell.generator.normal(0, sigma, cell.pixels.shape)
        return _clipped((cell.pixels + drawn) * cell.mask[..., None])

    return change


def _slide(cell: Cell, density: float) -> Floats:
    height, width, _ = cell.pixels.shape
    color = 255 - density * (255 - np.median(cell.pixels[cell.mask], axis=0))
    slope = cell.generator.uniform(-12, 12, 2)
    down, right = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j]
    gradient = (slope[0] * down + slope[1] * right)[..., None]
    return (color + gradient + cell.generator.normal(0, 3, cell.pixels.shape)).astype(np.float32)


def _laid_over(cell: Cell, background: Floats) -> Pixels:
    """The cell on a background, with the soft edge that a lens gives it."""
    soft = Image.fromarray(np.uint8(cell.mask) * np.uint8(255)).filter(
        ImageFilter.GaussianBlur(0.7)
    )
    share = np.asarray(soft, np.float32)[..., None] / 255
    return _clipped(_blurred(cell, 1.0, inside=False) * share + background * (1 - share))


def _blurred(cell: Cell, sigma: float, *, inside: bool = True) -> Floats:
    """The cell blurred over its own pixels alone, or with these kept and colours beyond its rim."""
    solid = cell.solid[..., None]
    height, width, _ = cell.pixels.shape
    planes = np.concatenate([cell.pixels * solid, solid], axis=2).astype(np.float32)
    planes = np.einsum("yv,vxc->yxc", _gaussian(height, sigma), planes)
    planes = np.einsum("xu,yuc->yxc", _gaussian(width, sigma), planes)
    blurred = planes[..., :3] / np.maximum(planes[..., 3:], 1e-6)
    return blurred if inside else np.where(solid, cell.pixels, blurred)


def _gaussian(side: int, sigma: float) -> Floats:
    steps = np.arange(side, dtype=np.float32)
    return np.exp(-0.5 * ((steps[:, None] - steps) / np.float32(sigma)) ** 2)


def _clipped(pixels: NDArray[np.floating]) -> Pixels:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
