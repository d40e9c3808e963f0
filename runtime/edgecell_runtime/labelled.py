"""Sets of labelled images: a folder of class folders, a zip of one, or arrays in an ``.npz``.

The name of a class folder is the label of every image below it. The same set gives the same names,
labels and patients as a folder, as a zip, with folders around it or without. Arrays: see
``array_sets``.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from edgecell_runtime.array_images import NPZ_SUFFIX, ArrayFile, ArrayStore, NpzFile
from edgecell_runtime.array_sets import find_rows
from edgecell_runtime.class_folders import ClassFolders, find_class_folders
from edgecell_runtime.errors import DataError, ImageError
from edgecell_runtime.image_sources import ImageFiles, open_image_files
from edgecell_runtime.image_tables import patients_of
from edgecell_runtime.patients import (
    MAPPING_PATTERN,
    parse_patient_mappings,
    patient_of_name,
    read_patient_mappings,
)
from edgecell_runtime.set_parts import Part
from edgecell_runtime.stored_images import ImageStore, StoredImage

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class LabelledImage:
    """One image of a set.

    Attributes:
        name: Its path inside the set, from the class folder on, with forward slashes.
        label: Its class: the first folder of the name.
        patient: Who it comes from, where that is known.
        part: Of the split, where the set brings one along: what is marked ``test`` is tested on,
            and ``training`` is what training and, where nothing is marked so, validation are taken
            from.
    """

    name: str
    label: str
    patient: str | None
    part: Part | None = None


class LabelledImages:
    """The images of an open set, sorted by name; made by ``open_labelled``.

    Attributes:
        location: The folder or file.
        labels: The classes, sorted.
        notes: Sentences about what was ignored.
        in_arrays: Whether images are read as arrays and not as the bytes of files.
    """

    def __init__(
        self,
        store: ImageStore,
        images: Sequence[tuple[LabelledImage, str]],
        notes: tuple[str, ...],
    ) -> None:
        """Takes where the images lie, each image with its name there, and the notes."""
        self._store = store
        self._images = tuple(sorted((image for image, _ in images), key=lambda image: image.name))
        self._by_name = {image.name: image for image in self._images}
        self._stored_names = {image.name: stored for image, stored in images}
        self.in_arrays = isinstance(store, ArrayStore)
        self.location = store.location
        self.labels = tuple(sorted({image.label for image in self._images}))
        self.notes = notes

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self._images)

    def get(self, name: str) -> LabelledImage | None:
        """Finds an image by its name."""
        return self._by_name.get(name)

    def tested_on(self) -> tuple[LabelledImage, ...]:
        """The images of the test part; all of them where the set brings none along."""
        return tuple(image for image in self if image.part == "test") or self._images

    def read(self, image: LabelledImage) -> StoredImage:
        """Reads an image as it is stored; may be called from several threads.

        Returns:
            The bytes of its file, or in a set of arrays uint8 (height, width, channels). Either is
            an ``ImageSource``, and ``image_sha256`` hashes it.

        Raises:
            ImageError: It is not of this set, cannot be read, is damaged or is too large.
            DataError: It is of a set of arrays none of which can be read.
        """
        stored = self._stored_names.get(image.name)
        if stored is None:
            raise ImageError(
                f"There is no image {image.name} in {self.location}; expected one of its "
                f"{len(self):,}. Check that it is the same set."
            )
        return self._store.read(stored)

    def stamp(self) -> str:
        """Sizes and times of the files, hashed: it changes when one of them is changed.

        Raises:
            DataError: A file is gone.
        """
        return self._store.stamp()

    def close(self) -> None:
        """Closes the file, where it is one; nothing can be read afterwards."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_labelled(
    path: Path, *, patients: Path | None = None, minimum_labels: int = 2
) -> LabelledImages:
    """Opens a set of labelled images and finds out each one's class and patient.

    No image is read. The patient is the one in the file name, or else in NLM's mapping files, which
    may lie in the set above its class folders, or beside the folder or zip; or in a table that is
    given.

    Args:
        path: A folder of class folders, a zip of one, or an ``.npz`` of images and labels. Folders
            around the class folders are stripped; folders inside them belong to the class.
        patients: A CSV that names each image's patient; see ``image_tables``.
        minimum_labels: How many classes there must be.

    Returns:
        The open set, to be closed, or used in a ``with`` statement.

    Raises:
        DataError: It is no such set, it is damaged or refused, it has too few classes, or its
            patients contradict each other.
    """
    if path.suffix.lower() == NPZ_SUFFIX and path.is_file():
        return labelled_rows(NpzFile(path), patients=patients, minimum_labels=minimum_labels)
    files = open_image_files(path)
    try:
        folders = find_class_folders(files.names, str(path))
        mapped = _mapped_patients(files, folders)
        images = [
            (
                LabelledImage(
                    name,
                    name.partition("/")[0],
                    _patient(name, mapped, path),
                    folders.parts.get(name),
                ),
                file_name,
            )
            for name, file_name in folders.images.items()
        ]
        return _labelled(files, images, folders.notes, patients, minimum_labels)
    except BaseException:
        files.close()
        raise


def labelled_rows(
    file: ArrayFile, *, patients: Path | None = None, minimum_labels: int = 2
) -> LabelledImages:
    """The labelled images of an open file of arrays, which belongs to them from here on.

    Args:
        file: Open; it is closed where this fails.
        patients: A CSV that names each image's patient.
        minimum_labels: How many classes there must be.

    Raises:
        DataError: It is unclear which arrays are images and labels, or they cannot be used.
    """
    try:
        pairs, notes = find_rows(file)
        images = [
            (LabelledImage(name, label, patient, pair.part), name)
            for pair in pairs
            for name, label, patient in zip(pair.names(), pair.labels, pair.patients, strict=True)
        ]
        return _labelled(ArrayStore(file, pairs), images, notes, patients, minimum_labels)
    except BaseException:
        file.close()
        raise


def _labelled(
    store: ImageStore,
    images: list[tuple[LabelledImage, str]],
    notes: tuple[str, ...],
    patients: Path | None,
    minimum_labels: int,
) -> LabelledImages:
    if patients is not None:
        said = patients_of(patients, {image.name: image.patient for image, _ in images})
        images = [(replace(image, patient=said[image.name]), name) for image, name in images]
    labelled = LabelledImages(store, images, notes)
    _require_labels(labelled, minimum_labels)
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
        if labelled.in_arrays:
            raise DataError(
                f"{labelled.location} holds images of {found} {noun} only ({only}); expected at "
                f"least {minimum}. Check its labels."
            )
        raise DataError(
            f"{labelled.location} holds images of {found} {noun} only ({only}); expected at least "
            f"{minimum} class folders with images in them. Check that the path is the folder that "
            "holds the class folders."
        )
