"""Finding the class folders among the paths of a set of images, however it was packed."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgecell_runtime.errors import DataError
from edgecell_runtime.images import SUFFIXES
from edgecell_runtime.patients import MAPPING_PATTERN
from edgecell_runtime.set_parts import Part, part_of_folder
from edgecell_runtime.volumes import VOLUME_SUFFIX

_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
_MAC_FOLDER = "__MACOSX"

_Parts = tuple[str, ...]


@dataclass(frozen=True)
class ClassFolders:
    """How a set of images is laid out.

    Attributes:
        images: The file behind each image; the key begins with the class folder, the value is the
            path as it was given.
        parts: The part of a split that each image is of; empty where the set brings none along.
        mappings: Paths of NLM's patient mapping files that belong to the set.
        notes: Sentences about what was ignored.
    """

    images: dict[str, str]
    parts: dict[str, Part]
    mappings: tuple[str, ...]
    notes: tuple[str, ...]


def find_class_folders(names: Iterable[str], where: str) -> ClassFolders:
    """Finds the classes: the first folders that are not common to all images.

    1. Hidden files and what operating systems leave behind are passed over.
    2. Folders that hold the whole set and no image of their own are stripped.
    3. Where all the folders are then parts of a split (``train``, ``val``, ``test``), the class
       folders are those inside them, and an image's name has the part behind its class.
    4. A folder beside the class folders that holds the same class folders and images once more
       (the usual download of NLM's cells has one) is ignored.

    Args:
        names: Paths of files with forward slashes.
        where: The folder or zip, for messages.

    Returns:
        The images by their names below the stripped folders.

    Raises:
        DataError: There are no images, some lie outside class folders, or a second set of class
            folders holds other images than the first.
    """
    images, mappings, others = _sorted_out(names)
    if not images:
        raise DataError(
            f"{where} holds no images; expected one folder for each class with images in it, such "
            "as Parasitized/ and Uninfected/. Check the path."
        )
    depth = _common_depth(images)
    root = images[0][:depth]
    _refuse_loose_images(images, depth, where)
    inner = {image[depth:]: image for image in images}
    parts = _parts(inner, where)
    copies: dict[str, int] = {}
    if parts:
        inner = {_class_first(name): image for name, image in inner.items()}
        notes = [_parts_note(parts)]
    else:
        copies = _second_copies(list(inner), where)
        notes = [_copy_note(folder, count) for folder, count in sorted(copies.items())]
    used = [mapping for mapping in mappings if mapping[:-1] == root[: len(mapping) - 1]]
    ignored = others + [mapping for mapping in mappings if mapping not in used]
    if ignored:
        notes.append(_other_note([_joined(parts) for parts in ignored]))
    return ClassFolders(
        images={
            _joined(name): _joined(image) for name, image in inner.items() if name[0] not in copies
        },
        parts={_joined(name): parts[name[1]] for name in inner} if parts else {},
        mappings=tuple(_joined(mapping) for mapping in used),
        notes=tuple(notes),
    )


def _sorted_out(names: Iterable[str]) -> tuple[list[_Parts], list[_Parts], list[_Parts]]:
    """Sorts paths into images, patient mappings and other files; drops hidden ones.

    Where there are no images, volumes take their place.
    """
    images: list[_Parts] = []
    volumes: list[_Parts] = []
    mappings: list[_Parts] = []
    others: list[_Parts] = []
    for name in names:
        parts = tuple(name.split("/"))
        file_name = parts[-1].lower()
        if name.startswith(".") or "/." in name or _MAC_FOLDER in parts:
            continue
        if file_name in _SYSTEM_FILES:
            continue
        _, dot, ending = file_name.rpartition(".")
        if dot + ending in SUFFIXES:
            images.append(parts)
        elif file_name.endswith(VOLUME_SUFFIX):
            volumes.append(parts)
        elif fnmatch.fnmatchcase(parts[-1], MAPPING_PATTERN):
            mappings.append(parts)
        else:
            others.append(parts)
    # Beside images, arrays are something else, such as features of these.
    return (images, mappings, others + volumes) if images else (volumes, mappings, others)


def _common_depth(images: Sequence[_Parts]) -> int:
    """Counts the leading folders that hold every image, and none directly."""
    depth = 0
    while len({image[depth] for image in images}) == 1 and all(
        len(image) > depth + 2 for image in images
    ):
        depth += 1
    return depth


def _refuse_loose_images(images: Sequence[_Parts], depth: int, where: str) -> None:
    loose = [_joined(image) for image in images if len(image) == depth + 1]
    if loose:
        raise DataError(
            f"{where} holds {_counted(len(loose), 'image')} outside any class folder, such as "
            f"{min(loose)}; expected each image in a folder named after its class, such as "
            "Parasitized/ and Uninfected/. Move or remove them, or name the folder above."
        )


def _parts(inner: Iterable[_Parts], where: str) -> dict[str, Part]:
    """The part that each outer folder is; empty unless they are of at least two parts.

    Raises:
        DataError: Other folders stand beside the parts.
    """
    names = list(inner)
    parts = {folder: part_of_folder(folder) for folder in {name[0] for name in names}}
    known = {folder: part for folder, part in parts.items() if part is not None}
    if len(set(known.values())) < 2:
        return {}
    strays = sorted(set(parts) - set(known))
    if strays:
        raise DataError(
            f"{where} holds {' and '.join(f'{folder}/' for folder in sorted(known))}, the parts of "
            f"a split, and beside them {strays[0]}/, which is none; expected parts alone, or class "
            "folders alone. Move it away."
        )
    _refuse_loose_images(names, 1, where)
    return known


def _class_first(name: _Parts) -> _Parts:
    part, label, *rest = name
    return (label, part, *rest)


def _second_copies(images: Sequence[_Parts], where: str) -> dict[str, int]:
    """Finds folders that repeat the set they lie in; gives the images of each."""
    by_folder: dict[str, list[_Parts]] = {}
    for image in images:
        by_folder.setdefault(image[0], []).append(image[1:])
    repeated: dict[str, set[_Parts]] = {}
    for folder, inner in by_folder.items():
        depth = _common_depth(inner)
        classes = {image[depth] for image in inner}
        if len(classes) >= 2 and classes <= by_folder.keys() - {folder}:
            repeated[folder] = {image[depth:] for image in inner}
    first = {image for image in images if image[0] not in repeated}
    for folder, inner_images in sorted(repeated.items()):
        missing = inner_images - first
        if missing:
            raise DataError(
                f"{where} holds the same class folders twice, the second time in {folder}/, where "
                f"{_counted(len(missing), 'image')}, such as {_joined(min(missing))}, are not "
                "among the first; expected one set, or an exact copy. Move one of the two away."
            )
    return {folder: len(inner_images) for folder, inner_images in repeated.items()}


def _copy_note(folder: str, count: int) -> str:
    return (
        f"Ignored {_counted(count, 'image')} in {folder}/, which repeats the class folders that it "
        "lies beside."
    )


def _parts_note(parts: Mapping[str, Part]) -> str:
    words = [f"{folder}/ for {parts[folder]}" for folder in sorted(parts)]
    return f"The set brings its own split along: {', '.join(words)}."


def _other_note(names: list[str]) -> str:
    verb = "is" if len(names) == 1 else "are"
    kind = "an image" if len(names) == 1 else "images"
    counted = _counted(len(names), "file")
    return f"Ignored {counted} that {verb} not {kind} by suffix, such as {min(names)}."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _joined(parts: _Parts) -> str:
    return "/".join(parts)
