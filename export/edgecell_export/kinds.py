"""The words that options take; nothing heavy, so that the command line can read them."""

from typing import Literal

Target = Literal["any", "x86", "x86-vnni", "arm64"]
"""The processor family that an artifact is made for; ``x86`` is one without VNNI."""

RangeRule = Literal["min-max", "percentile", "mse"]
"""How a range follows from the values that calibration saw."""

Masking = Literal["slide"]
"""What is painted with the background before the graph; see ``PreprocessSpec``."""

GraphEnd = Literal["logits", "probabilities"]
"""What a graph answers: logits for a head outside of it, or a head's probabilities."""
