"""Red blood cells that the program draws itself, so that a first training needs no download.

A crop is drawn as a microscope sees it. Light of the lamp's colour passes through the cell, and
everything in its way adds absorbance (Beer and Lambert): the cell, thinner in its middle, the marks
that any smear carries, and in a parasitised cell a dark purple ring or dot. A patient has a
``Stain``: the hues, the light and the focus that all of one slide's cells share.

Both classes carry the same marks, some dark, some round like a parasite, but none of them purple: a
model that looks at brightness, or for any dark spot, does not get far.

These drawings try the toolchain out. They say nothing about how well a model reads real slides.
"""

import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import replacing

Floats = NDArray[np.floating]
Triple = tuple[float, ...]  # in R, G, B
Range = tuple[float, float]

# Published crops have outlines in steps of about three pixels, for they were segmented on a smaller
# image. Outline and slow gradients are computed on such a coarse grid, which also saves time.
# Odd, so that a coarse point is the middle one of its pixels.
_STEP: Final = 3
_MIN_SIDE, _MAX_SIDE = 90 // _STEP, 180 // _STEP
_BICUBIC: Final = Image.Resampling.BICUBIC
_ANGLES: Final = np.linspace(0, 2 * np.pi, 120, endpoint=False)

# The RGB that stained cells have on real slides: salmon, rose, tan, lavender, pale blue.
_CELL_COLOURS: Final = np.array(
    [(212, 152, 140), (196, 122, 138), (196, 164, 154), (166, 158, 200), (188, 190, 208)], float
)
# Absorbances of the two dyes in Giemsa's stain, in R, G, B: one looks pink, the other blue.
_EOSIN: Final = (0.20, 1.0, 0.16)
_AZURE: Final = (0.6, 0.3, 0.1)


@dataclass(frozen=True)
class Stain:
    """What all crops of one patient share: how the slide was stained, lit and photographed.

    Attributes:
        lamp: RGB of the empty slide, 0-255.
        absorbance: Absorbance of a cell of ordinary thickness, in R, G, B.
        parasite: Factors on a parasite's absorbance in R, G, B.
        pallor: Share of the thickness that a cell lacks in its middle.
        radius: Mean radius of a cell, in pixels.
        blur: Softness of every edge, in radii of the cell.
        vignette: Fall of the light across one cell, as a share.
        noise: Standard deviation of the camera's noise, in levels of 255.
    """

    lamp: Triple
    absorbance: Triple
    parasite: Triple
    pallor: float
    radius: float
    blur: float
    vignette: float
    noise: float

    @classmethod
    def of_patient(cls, rng: np.random.Generator) -> "Stain":
        """Draws the traits of one patient's slide."""
        # Mostly one colour with a little of the others, as slides differ.
        colour = rng.dirichlet(np.full(len(_CELL_COLOURS), 0.4)) @ _CELL_COLOURS
        lamp = np.array((236, 224, 216)) * rng.normal(1, 0.02, 3)
        absorbance = np.log(lamp / colour) * rng.uniform(0.85, 1.2)
        return cls(
            lamp=tuple((lamp * rng.uniform(0.88, 1.04)).tolist()),
            absorbance=tuple(np.maximum(absorbance, 0.02).tolist()),
            parasite=tuple((rng.uniform(0.88, 1.08) * rng.normal(1, 0.06, 3)).tolist()),
            pallor=rng.uniform(0.05, 0.45),
            radius=rng.uniform(50, 66),
            blur=rng.uniform(0.015, 0.04),
            vignette=rng.uniform(0.01, 0.06),
            noise=rng.uniform(0.6, 2.0),
        )


@dataclass(frozen=True)
class _Mark:
    """A kind of small elliptical thing on a cell. Ranges are (low, high) of a uniform draw.

    Attributes:
        absorbance: Its absorbance at full strength, in R, G, B.
        radius: Its larger radius, in radii of the cell.
        strength: Factor on the absorbance.
        hollow: Share of the radius that is open, for a ring; zeros for a solid mark.
        blur: Softness of its edges in its own radii, beside the slide's.
    """

    absorbance: Triple
    radius: Range
    strength: Range = (0.8, 1.05)
    hollow: Range = (0.0, 0.0)
    blur: float = 0.0


# A parasite takes green and leaves red and blue, as nothing else of its size does: purple.
_COMPACT: Final = _Mark((0.30, 1.15, 0.14), radius=(0.09, 0.135))
_RING: Final = _Mark((0.18, 0.60, 0.07), radius=(0.14, 0.22), hollow=(0.6, 0.75))
_RING_DOT: Final = _Mark((0.30, 1.15, 0.14), radius=(0.06, 0.09))
_HARMLESS: Final = (
    # Grains of dirt and of stain: dark and compact like a parasite, but brown or rust.
    _Mark((0.75, 0.85, 1.05), radius=(0.04, 0.12), strength=(0.4, 1.0)),
    _Mark((0.40, 0.75, 1.20), radius=(0.04, 0.12), strength=(0.4, 1.0)),
    # What a drying drop leaves: a parasite's ring without its colour.
    _Mark((0.34, 0.44, 0.46), radius=(0.08, 0.22), strength=(0.2, 0.6), hollow=(0.55, 0.8)),
    # A platelet above the cell: pale blue, out of focus.
    _Mark((0.42, 0.32, 0.06), radius=(0.10, 0.20), strength=(0.2, 0.5), blur=0.25),
    # A pool of eosin that was not washed off: wide, faint and pink.
    _Mark((0.12, 0.80, 0.25), radius=(0.30, 0.60), strength=(0.1, 0.35), blur=0.4),
    # Where the cell is thin or its stain was washed off.
    _Mark((-0.16, -0.22, -0.20), radius=(0.05, 0.20), strength=(0.2, 0.7)),
)


@dataclass(frozen=True)
class _Drawing:
    """A crop in the making. Lengths are in radii of the cell, from its middle.

    Attributes:
        reach: float64 (angles,), the distance of the cell's edge at each of ``_ANGLES``.
        x: float64 (width,), where the columns of pixels lie.
        y: float64 (height,), where the rows of pixels lie.
        light: float32 (3, height, width), 0-255, what reaches the camera; marks darken it.
        blur: Softness of every edge.
    """

    reach: Floats
    x: Floats
    y: Floats
    light: Floats
    blur: float

    def add(
        self,
        rng: np.random.Generator,
        mark: _Mark,
        tint: Floats,
        middle: tuple[float, float] | None = None,
    ) -> tuple[float, float, float]:
        """Adds a mark, anywhere inside the cell unless told where, and returns x, y and radius."""
        radius = rng.uniform(*mark.radius)
        middle_x, middle_y = middle or self._place(rng, radius)
        soft = self.blur / radius + mark.blur
        extent = radius * (1 + 2 * soft)  # beyond it lies less than a fiftieth
        left, right = self.x.searchsorted((middle_x - extent, middle_x + extent))
        top, bottom = self.y.searchsorted((middle_y - extent, middle_y + extent))
        x = self.x[left:right] - middle_x
        y = self.y[top:bottom, None] - middle_y
        turn, squash = rng.uniform(0, math.pi), rng.uniform(1, 1.5)
        along = math.cos(turn) * x + math.sin(turn) * y
        aside = (math.cos(turn) * y - math.sin(turn) * x) * squash
        distance = np.hypot(along, aside) / radius
        cover = _fade((distance - 1) / soft)
        if mark.hollow[1]:
            cover = cover - _fade((distance - rng.uniform(*mark.hollow)) / soft)
        absorbance = (tint * mark.absorbance)[:, None, None] * cover
        self.light[:, top:bottom, left:right] *= np.exp(-absorbance)
        return middle_x, middle_y, radius

    def _place(self, rng: np.random.Generator, radius: float) -> tuple[float, float]:
        index = rng.integers(len(_ANGLES))
        # The root spreads the places evenly over the area.
        distance = max(self.reach[index] - radius, 0.2) * 0.85 * math.sqrt(rng.random())
        return distance * math.cos(_ANGLES[index]), distance * math.sin(_ANGLES[index])


def draw_cell(rng: np.random.Generator, stain: Stain, *, parasitized: bool) -> Image.Image:
    """Draws one segmented red blood cell.

    From the same state of ``rng`` comes the same cell, with or without a parasite.

    Args:
        rng: Where all that differs between the cells of one patient comes from.
        stain: The patient's slide.
        parasitized: Whether the cell holds a parasite.

    Returns:
        An RGB image of 90 to 180 pixels a side: the cell reaches to the borders, and what is not
        cell is black, (0, 0, 0).
    """
    reach = _draw_outline(rng)
    points_per_radius = stain.radius * rng.normal(1, 0.09) / _STEP
    x = _pixel_grid(reach * np.cos(_ANGLES), points_per_radius)
    y = _pixel_grid(reach * np.sin(_ANGLES), points_per_radius)
    depth = _depth(reach, _coarse(x), _coarse(y))
    light = _draw_body(rng, stain, depth, _coarse(x), _coarse(y))
    drawing = _Drawing(reach, x, y, light, stain.blur)
    for _ in range(1 + rng.poisson(0.6)):
        mark = _HARMLESS[rng.integers(len(_HARMLESS))]
        drawing.add(rng, mark, np.full(3, rng.uniform(*mark.strength)))
    noise = rng.standard_normal((len(y), len(x)), np.float32) * np.float32(stain.noise)
    # The parasite draws from rng last, so that all else is the same without it.
    if parasitized:
        _draw_parasite(rng, drawing, stain)
    # Black means "no cell": no pixel of a cell is quite black.
    pixels = np.clip(light + noise, 1, 255).astype(np.uint8)
    pixels *= (depth < 1).repeat(_STEP, axis=0).repeat(_STEP, axis=1)
    return Image.fromarray(pixels.transpose(1, 2, 0))


def _draw_outline(rng: np.random.Generator) -> Floats:
    """Gives the distance of an oval, slightly uneven edge at each of ``_ANGLES``."""
    orders = np.arange(2, 9)
    sizes = rng.normal(0, 0.07, len(orders)) / (orders - 1)
    phases = rng.uniform(0, 2 * np.pi, len(orders))
    reach: Floats = 1 + sizes @ np.cos(orders[:, None] * _ANGLES + phases[:, None])
    return reach


def _pixel_grid(edge: Floats, points_per_radius: float) -> Floats:
    """Spreads pixels over the extent of an edge, as many as a crop may have."""
    low, high = edge.min(), edge.max()
    count = min(max(round((high - low) * points_per_radius), _MIN_SIDE), _MAX_SIDE) * _STEP
    grid: Floats = low + (np.arange(count) + 0.5) / count * (high - low)
    return grid


def _coarse(grid: Floats) -> Floats:
    return grid[_STEP // 2 :: _STEP]


def _depth(reach: Floats, x: Floats, y: Floats) -> Floats:
    """Tells how far out points are: 0 in the cell's middle, 1 on its edge, more outside."""
    edge = np.interp(np.arctan2(y[:, None], x), _ANGLES, reach, period=2 * np.pi)
    depth: Floats = np.hypot(x, y[:, None]) / edge
    return depth


def _draw_body(
    rng: np.random.Generator, stain: Stain, depth: Floats, x: Floats, y: Floats
) -> Floats:
    """Gives the light through the cell alone: float32 (3, height, width), 0-255.

    The cell is pale in its middle, unevenly stained, and bright at its edge. ``depth``, ``x`` and
    ``y`` are those of the coarse grid.
    """
    pallor_x, pallor_y = rng.normal(0, 0.12, 2)
    distance = np.hypot(x - pallor_x, y[:, None] - pallor_y) / rng.uniform(0.25, 0.6)
    # A higher power gives the pallor an edge, which it has in some cells.
    thickness = 1 - stain.pallor * rng.uniform(0.1, 1.5) * np.exp(-(distance ** rng.choice((2, 4))))
    # The optics bend light at the edge, which lets the colour of the lamp in.
    thickness -= 0.35 * _fade((0.97 - depth) / 0.03)
    thickness *= rng.normal(1, 0.1)
    absorbance = np.multiply.outer(thickness, stain.absorbance)
    # The dyes take unevenly, or a cell's mean colour would give its parasite away.
    for dye in (stain.absorbance, _EOSIN, _AZURE):
        patches = rng.normal(rng.normal(0, 0.06), rng.uniform(0, 0.18), (3, 3))
        patches = np.maximum(patches, -0.09)  # much less dye would look green
        patch_image = Image.fromarray(patches.astype(np.float32))
        uneven = patch_image.resize((len(x), len(y)), _BICUBIC)
        absorbance += np.multiply.outer(np.asarray(uneven), dye)

    across, down = rng.normal(0, stain.vignette, 2)
    light = np.exp(-absorbance) * stain.lamp * (1 + across * x + down * y[:, None])[:, :, None]
    coarse = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
    fine = coarse.resize((coarse.width * _STEP, coarse.height * _STEP), _BICUBIC)
    return np.asarray(fine).transpose(2, 0, 1).astype(np.float32, order="C")


def _draw_parasite(rng: np.random.Generator, drawing: _Drawing, stain: Stain) -> None:
    """Adds a compact purple dot, or a purple ring with one or two dots of chromatin on it."""
    tint = np.array(stain.parasite) * rng.uniform(*_COMPACT.strength)
    if rng.random() < 0.5:
        drawing.add(rng, _COMPACT, tint)
        return
    x, y, radius = drawing.add(rng, _RING, tint)
    for _ in range(rng.integers(1, 3)):
        angle = rng.uniform(0, 2 * math.pi)
        on_ring = (x + 0.75 * radius * math.cos(angle), y + 0.75 * radius * math.sin(angle))
        drawing.add(rng, _RING_DOT, tint, on_ring)


def _fade(x: Floats) -> Floats:
    """Goes smoothly from 1, far below 0, to 0, far above it."""
    faded: Floats = 0.5 - 0.5 * np.tanh(x)
    return faded


def write_drawn_cells(
    target: Path, *, count: int = 1500, patients: int = 30, seed: int = 0
) -> None:
    """Writes a zip of drawn cells, laid out and named like the NLM's malaria data set.

    Cells come in pairs, a parasitised and an uninfected one, and the patients take turns, so every
    patient has as many of each. The same arguments give the same bytes, with the same NumPy and
    Pillow, and a larger ``count`` only adds cells.

    Args:
        target: The zip file; one that is there is replaced.
        count: How many cells: even, and at least two for each patient.
        patients: How many patients.
        seed: What the drawings depend on; not negative.

    Raises:
        UsageError: The numbers do not fit together.
        StorageError: The file could not be written.
    """
    if patients < 1 or count < 2 * patients or count % 2 or seed < 0:
        raise UsageError(
            f"{count} cells of {patients} patients with the seed {seed} cannot be drawn; expected "
            "at least one patient, an even number of cells that is at least twice the number of "
            "patients, and a seed of 0 or more."
        )
    stains = [Stain.of_patient(np.random.default_rng((seed, 0, k))) for k in range(patients)]
    with replacing(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for index in range(count):
            patient = index // 2 % patients
            parasitized = index % 2 == 0
            rng = np.random.default_rng((seed, 1, index))
            image = draw_cell(rng, stains[patient], parasitized=parasitized)
            folder = "Parasitized" if parasitized else "Uninfected"
            name = f"C{patient + 1}P{patient + 1}ThinF_IMG_drawn_cell_{index + 1}.png"
            archive.writestr(_entry(f"cell_images/{folder}/{name}"), _png(image))


def _entry(name: str) -> zipfile.ZipInfo:
    """Describes a stored file with a fixed date and system, so that the zip is reproducible."""
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, whatever it is written on
    entry.external_attr = 0o644 << 16
    return entry


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    # Noise hardly compresses: higher levels take several times as long and save little.
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
