"""Images that lie in a set more than once, and patients whose names hardly differ.

A copy of a training image among the test images makes figures too good just as a patient in both
does, so that the split keeps copies in one part.
"""

from collections.abc import Sequence
from typing import Final

from edgecell_runtime.wording import counted
from edgecell_train.dealing import COPIES
from edgecell_train.split import Part, require_apart

_SHOWN: Final = 3


def kept_together(
    patients: Sequence[str | None], sha256: Sequence[str], given: Sequence[Part | None]
) -> list[str | None]:
    """What must not be divided: patients, and images that are byte for byte the same.

    Patients that share an image become one group, which has the name of the first in the alphabet.
    Copies without a patient become a group of their own, or part of the patient's that has one.
    Without copies, these are the patients as they were. Images of a part that the set brings along
    stay as they are: they cannot be moved.

    Args:
        patients: One an image, None where it is unknown or does not count.
        sha256: Of each image.
        given: The part that the set says each is of, or None; see ``split``.

    Returns:
        One an image: the group's name, None where an image is on its own.

    Raises:
        DataError: A patient is in two of the parts that the set brings along.
    """
    require_apart([part or "training" for part in given], patients)
    free = [i for i, part in enumerate(given) if part in (None, "training")]
    rows = _copies([sha256[i] for i in free])
    if not rows:
        return list(patients)
    joined = _Joined()
    found = list(patients)
    for places in rows:
        images = [free[place] for place in places]
        names = [name for image in images if (name := patients[image]) is not None]
        name = names[0] if names else f"{COPIES}{images[0]}"
        for other in names[1:]:
            joined.join(name, other)
        for image in images:
            found[image] = found[image] or name
    return [None if name is None else joined.first(name) for name in found]


def copies_note(
    sha256: Sequence[str],
    labels: Sequence[str],
    patients: Sequence[str | None],
    parts: Sequence[str],
) -> str:
    """Says how many images are copies of others, and what was made of them; else empty.

    Args:
        sha256: Of each image.
        labels: One an image.
        patients: One an image, None where it is unknown.
        parts: The part of the split of each.
    """
    groups = _copies(sha256)
    if not groups:
        return ""
    copies = sum(len(rows) - 1 for rows in groups)
    verb = "is" if copies == 1 else "are"
    said = f"{counted(copies, 'image')} {verb} byte for byte the same as another one"
    if any(len({parts[row] for row in rows}) > 1 for rows in groups):
        said += ", also across the parts that the set brings along: the figures may be too good"
    else:
        said += ", and stayed with it in one part of the split"
    shared = sum(len({patients[row] for row in rows} - {None}) > 1 for rows in groups)
    if shared:
        said += f"; {counted(shared, 'image')} of several patients, who were dealt as one"
    torn = sum(len({labels[row] for row in rows}) > 1 for rows in groups)
    if torn:
        said += f"; {counted(torn, 'image')} under two labels, which contradict each other"
    return f"{said}."


def alike_patients_note(patients: Sequence[str | None]) -> str:
    """Warns of patients whose names differ in case or surrounding spaces alone; else empty.

    Args:
        patients: One an image, None where it is unknown.
    """
    spelled: dict[str, set[str]] = {}
    for patient in patients:
        if patient is not None:
            spelled.setdefault(" ".join(patient.split()).casefold(), set()).add(patient)
    alike = [sorted(names) for _, names in sorted(spelled.items()) if len(names) > 1]
    if not alike:
        return ""
    shown = "; ".join(" and ".join(map(repr, names)) for names in alike[:_SHOWN])
    more = f" and {len(alike) - _SHOWN:,} more" if len(alike) > _SHOWN else ""
    return (
        f"Patients whose names differ in case or spaces alone count as different ones: {shown}"
        f"{more}. Where they are the same person, the figures are too good: write the names alike."
    )


def _copies(sha256: Sequence[str]) -> list[list[int]]:
    """The places of each image that is there more than once."""
    if len(set(sha256)) == len(sha256):
        return []
    found: dict[str, list[int]] = {}
    for place, digest in enumerate(sha256):
        found.setdefault(digest, []).append(place)
    return [places for places in found.values() if len(places) > 1]


class _Joined:
    """Names that mean the same group, directly or through others."""

    def __init__(self) -> None:
        self._lower: dict[str, str] = {}

    def first(self, name: str) -> str:
        """The first of the alphabet of all that a name is joined with."""
        while name in self._lower:
            name = self._lower[name]
        return name

    def join(self, one: str, other: str) -> None:
        low, high = sorted((self.first(one), self.first(other)))
        if low != high:
            self._lower[high] = low
