"""Sets of labelled images: a folder of class folders, or a zip of one that is read in place.

The name of a class folder is the label of every image below it. The same set gives the same names,
labels and patients as a folder, as a zip, with folders around it or without.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from edgecell_runtime.class_folders import ClassFolders, find_class_folders
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.image_sources import ImageFiles, open_image_files
from edgecell_runtime.patients import (
    MAPPING_PATTERN,
    parse_patient_mappings,
    patient_of_name,
    read_patient_mappings,
)

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class LabelledImage:
    """One image of a set.

    Attributes:
        name: Its path inside the set, from the class folder on, with forward slashes.
        label: Its class: the first folder of the name.
        patient: Who it comes from, where that is known.
    """

    name: str
    label: str
    patient: str | None


class LabelledImages:
    """The images of an open set, sorted by name; made by ``open_labelled``.

    Attributes:
        location: The folder or zip.
        labels: The classes, sorted.
        notes: Sentences about what was ignored.
    """

    def __init__(
        self,
        files: ImageFiles,
        images: Mapping[LabelledImage, str],
        notes: tuple[str, ...],
    ) -> None:
        """Takes the open files, the file behind each image, and the notes."""
        self._files = files
        self._images = tuple(sorted(images, key=lambda image: image.name))
        self._by_name = {image.name: image for image in self._images}
        self._file_names = {image.name: file_name for image, file_name in images.items()}
        self.location = files.location
        self.labels = tuple(sorted({image.label for image in self._images}))
        self.notes = notes

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self._images)

    def get(self, name: str) -> LabelledImage | None:
        """Finds an image by its name."""
        return self._by_name.get(name)

    def read(self, image: LabelledImage) -> bytes:
        """Reads the original file of an image; may be called from several threads.

        Raises:
            ImageError: It is not of this set, cannot be read, is damaged or is too large.
        """
        file_name = self._file_names.get(image.name)
        if file_name is None:
            raise ImageError(
                f"There is no image {image.name} in {self.location}; expected one of its "
                f"{len(self):,}. Check that it is the same set."
            )
        return self._files.read(file_name)

    def close(self) -> None:
        """Closes the zip, where it is one; nothing can be read afterwards."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_labelled(path: Path, *, minimum_labels: int = 2) -> LabelledImages:
    """Opens a set of labelled images and finds out each one's class and patient.

    No image is read. The patient is the one in the file name, or else in NLM's mapping files, which
    may lie in the set above its class folders, or beside the folder or zip.

    Args:
        path: A folder of class folders, or a zip of one. Folders around the class folders are
            stripped; folders inside them belong to the class.
        minimum_labels: How many classes there must be.

    Returns:
        The open set, to be closed, or used in a ``with`` statement.

    Raises:
        DataError: It is no such set, it is damaged or refused, it has too few classes, or its
            patients contradict each other.
    """
    files = open_image_files(path)
    try:
        folders = find_class_folders(files.names, str(path))
        patients = _mapped_patients(files, folders)
        images = {
            LabelledImage(name, name.partition("/")[0], _patient(name, patients, path)): file_name
            for name, file_name in folders.images.items()
        }
        labelled = LabelledImages(files, images, folders.notes)
        _require_labels(labelled, minimum_labels)
    except BaseException:
        files.close()
        raise
    return labelled


def data_sha256(hashes: Iterable[tuple[str, str]]) -> str:
    r"""Hashes a whole set of images, whatever order they come in.

    Args:
        hashes: For each image the SHA-256 of its original file and its name, in this order.

    Returns:
        The SHA-256 of the sorted lines ``sha256  name\n``, in hexadecimal.

    Raises:
        ValueError: A hash is not 64 hexadecimal digits in lower case.
    """
    lines = []
    for sha256, name in hashes:
        if _SHA256.fullmatch(sha256) is None:
            raise ValueError(f"expected a SHA-256 and a name, in this order, but got {sha256!r}.")
        lines.append(f"{sha256}  {name}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _mapped_patients(files: ImageFiles, folders: ClassFolders) -> dict[str, str]:
    inside = []
    for name in folders.mappings:
        try:
            inside.append((f"{name} in {files.location}", files.read(name)))
        except ImageError as error:
            raise DataError(f"The patient mapping of the set cannot be read: {error}") from error
    patients = parse_patient_mappings(inside)
    beside = sorted(files.location.absolute().parent.glob(MAPPING_PATTERN))
    for name, patient in read_patient_mappings(beside).items():
        if patients.setdefault(name, patient) != patient:
            raise DataError(
                f"The patient mapping in {files.location} says that {name} comes from patient "
                f"{patients[name]}, and the one beside it says {patient}; expected one patient a "
                "file. Remove the mapping that is wrong."
            )
    return patients


def _patient(name: str, patients: Mapping[str, str], path: Path) -> str | None:
    file_name = name.rpartition("/")[2]
    named = patient_of_name(file_name)
    mapped = patients.get(file_name)
    if named is not None and mapped is not None and named != mapped:
        raise DataError(
            f"{name} in {path} comes from patient {named} by its name, but from {mapped} by the "
            "patient mapping; expected both to agree. Mend or remove the mapping."
        )
    return named or mapped


def _require_labels(labelled: LabelledImages, minimum: int) -> None:
    found = len(labelled.labels)
    if found < minimum:
        only = ", ".join(labelled.labels)
        noun = "class" if found == 1 else "classes"
        raise DataError(
            f"{labelled.location} holds images of {found} {noun} only ({only}); expected at least "
            f"{minimum} class folders with images in them. Check that the path is the folder that "
            "holds the class folders."
        )
