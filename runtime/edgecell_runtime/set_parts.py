"""The parts of a split that a set of images brings along, and how people spell them."""

from typing import Final, Literal

Part = Literal["training", "validation", "test"]
"""A part of a split."""

PART_WORDS: Final[dict[Part, tuple[str, ...]]] = {
    "training": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""How each is spelt, in small letters."""

_SET: Final = ("_set", "-set", " set")


def part_of_folder(name: str) -> Part | None:
    """The part that a folder's name means, such as ``train``, ``Valid`` or ``test_set``."""
    word = name.casefold()
    for ending in _SET:
        word = word.removesuffix(ending)
    return next((part for part, words in PART_WORDS.items() if word in words), None)
