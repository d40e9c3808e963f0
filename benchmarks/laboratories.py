"""What other laboratories may do otherwise: the rows of ``other_laboratories.py``."""

from collections.abc import Mapping
from typing import Final

import slides

BACKGROUNDS: Final[Mapping[str, slides.Change]] = {
    "as it is, on black": slides.masked,
    "white": slides.plain(255),
    "grey 200": slides.plain(200),
    "slide, a third as dense as the cell": slides.slide(0.35),
    "slide, two thirds": slides.slide(0.65),
    "slide, a third, another cell beside": slides.neighbour(0.35),
    "slide, a third, margin of 20 %": slides.loose(0.2, slides.slide(0.35)),
    "black, margin of 20 %": slides.loose(0.2, slides.masked),
}

CHANGES: Final[Mapping[str, slides.Change]] = {
    "light x 0.6": slides.light(0.6),
    "light x 0.8": slides.light(0.8),
    "light x 1.2": slides.light(1.2),
    "gamma 0.7": slides.gamma(0.7),
    "gamma 1.4": slides.gamma(1.4),
    "white balance, warm": slides.balance(1.12, 1.0, 0.88),
    "white balance, cold": slides.balance(0.88, 1.0, 1.12),
    "hue -30 degrees": slides.hue(-30),
    "hue -15 degrees": slides.hue(-15),
    "hue +15 degrees": slides.hue(15),
    "hue +30 degrees": slides.hue(30),
    "stains x 0.6": slides.stain(0.6, 0.6, 0.6),
    "stains x 0.8": slides.stain(0.8, 0.8, 0.8),
    "stains x 1.3": slides.stain(1.3, 1.3, 1.3),
    "stains x 1.6": slides.stain(1.6, 1.6, 1.6),
    "first stain x 1.3": slides.stain(1.3, 1.0, 1.0),
    "second stain x 0.7": slides.stain(1.0, 0.7, 1.0),
    "defocus 0.7 pixels": slides.defocus(0.7),
    "defocus 1.0": slides.defocus(1.0),
    "defocus 1.5": slides.defocus(1.5),
    "defocus 2.0": slides.defocus(2.0),
    "32 pixels a side": slides.coarse(32),
    "24 pixels a side": slides.coarse(24),
    "16 pixels a side": slides.coarse(16),
    "JPEG 75 at 150 pixels": slides.jpeg(75, 3),
    "JPEG 30 at 150 pixels": slides.jpeg(30, 3),
    "JPEG 90 at 50 pixels": slides.jpeg(90, 1),
    "JPEG 75 at 50 pixels": slides.jpeg(75, 1),
    "JPEG 50 at 50 pixels": slides.jpeg(50, 1),
    "noise 5": slides.noise(5),
    "noise 10": slides.noise(10),
    "noise 20": slides.noise(20),
}
