"""Folders and zips as sets of images come in them: damaged, hostile, or merely odd."""

import os
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgecell_runtime.errors import DataError, EdgecellError, ImageError
from edgecell_runtime.labelled import LabelledImages, data_sha256, open_labelled

PARASITIZED = "Parasitized/C100P61ThinF_IMG_1_cell_1.png"
UNINFECTED = "Uninfected/C5NThinF_IMG_1_cell_1.png"
UNKNOWN = "Uninfected/plain.jpg"
SET = (PARASITIZED, UNINFECTED, UNKNOWN)


def content(name: str) -> bytes:
    return f"bytes of {name.rpartition('/')[2]}".encode()


def as_folder(path: Path, names: Iterable[str]) -> Path:
    for name in names:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(name))
    return path


def as_zip(path: Path, names: Iterable[str]) -> Path:
    path = path.with_suffix(".zip")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name in names:
            archive.writestr(name, content(name))
    return path


def names_of(labelled: LabelledImages) -> tuple[str, ...]:
    return tuple(image.name for image in labelled)


def patch(path: Path, signature: bytes, offset: int, value: bytes) -> None:
    """Overwrites a field of the first header with this signature."""
    data = bytearray(path.read_bytes())
    start = data.index(signature) + offset
    data[start : start + len(value)] = value
    path.write_bytes(data)


def declare_size(path: Path, size: int) -> None:
    patch(path, b"PK\x01\x02", 24, struct.pack("<I", size))


# Folders


def test_folder_is_refused_when_it_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_folder(tmp_path / "cells", SET)

    def refuse(folder: str) -> None:
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed.*Permission denied"):
        open_labelled(path)


def test_folder_is_refused_when_a_link_leads_in_circles(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "cells", SET)
    (path / "Uninfected" / "again").symlink_to(path, target_is_directory=True)

    with pytest.raises(DataError, match=r"again is a link to a folder that holds it"):
        open_labelled(path)


def test_folder_gives_images_when_a_class_is_a_link(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "cells", ["a/x.png"])
    as_folder(tmp_path / "elsewhere", ["y.png"])
    (path / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)

    with open_labelled(path) as labelled:
        assert names_of(labelled) == ("a/x.png", "b/y.png")


def test_read_is_refused_when_a_file_is_a_broken_link_or_gone(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "cells", ["a/x.png", "b/y.png"])
    (path / "b" / "z.png").symlink_to(tmp_path / "nowhere")

    with open_labelled(path) as labelled:
        (path / "a" / "x.png").unlink()
        gone, _, broken = labelled
        for image in (gone, broken):
            with pytest.raises(ImageError, match="There is no file"):
                labelled.read(image)


def test_folder_gives_printable_names_when_a_name_is_not_utf8(tmp_path: Path) -> None:
    path = as_folder(tmp_path / "cells", SET)
    raw = os.fsencode(path) + b"/Uninfected/caf\xe9.png"
    try:
        Path(os.fsdecode(raw)).write_bytes(b"coffee")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")

    with open_labelled(path) as labelled:
        image = labelled.get(r"Uninfected/caf\udce9.png")
        assert image is not None
        assert labelled.read(image) == b"coffee"
        assert data_sha256([("0" * 64, image.name)])


# Zips


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9])
def test_zip_is_refused_when_it_is_truncated(tmp_path: Path, keep: float) -> None:
    path = as_zip(tmp_path / "cells", SET)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])

    with pytest.raises(DataError, match="damaged or truncated zip"):
        open_labelled(path)


@pytest.mark.parametrize(
    "name",
    [
        "../Parasitized/x.png",
        "Parasitized/../../x.png",
        "Parasitized/..",
        "/Parasitized/x.png",
        "C:/Parasitized/x.png",
        "c:x.png",
        "Parasitized\\x.png",
        "..\\x.png",
    ],
)
def test_zip_is_refused_when_a_member_climbs_out(tmp_path: Path, name: str) -> None:
    path = as_zip(tmp_path / "cells", [*SET, name])

    with pytest.raises(DataError) as caught:
        open_labelled(path)
    assert f"cells.zip is refused: its member {name!r}" in str(caught.value)


def test_zip_is_refused_when_a_name_holds_a_zero_byte(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "cells", [*SET, "a/x.png@.txt"])
    path.write_bytes(path.read_bytes().replace(b"a/x.png@.txt", b"a/x.png\0.txt"))

    with pytest.raises(DataError, match="zero byte"):
        open_labelled(path)


@pytest.mark.parametrize("name", ["a/\x1b.png", "a/x\r.png", "a\n/", "a/\x9b.png", "a/\u202e.png"])
def test_zip_is_refused_when_a_name_holds_a_control_character(tmp_path: Path, name: str) -> None:
    path = tmp_path / "cells.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, b"")

    with pytest.raises(DataError, match="a control character in its name") as caught:
        open_labelled(path)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("again", [UNKNOWN, f"./{UNKNOWN}"])
def test_zip_is_refused_when_a_name_comes_twice(tmp_path: Path, again: str) -> None:
    with pytest.raises(DataError, match=r"two members named 'Uninfected/plain\.jpg'"):
        open_labelled(as_zip(tmp_path / "cells", [*SET, again]))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO])
def test_zip_is_refused_when_a_member_is_no_plain_file(tmp_path: Path, kind: int) -> None:
    path = as_zip(tmp_path / "cells", SET)
    link = zipfile.ZipInfo("Uninfected/link.png")
    link.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")

    with pytest.raises(DataError, match=r"'Uninfected/link\.png' is a link or a special file"):
        open_labelled(path)


def test_zip_is_refused_when_a_member_is_encrypted(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "cells", SET)
    patch(path, b"PK\x01\x02", 8, b"\x01\x00")

    with pytest.raises(DataError, match="is encrypted; expected a zip without a password"):
        open_labelled(path)


def test_zip_is_refused_when_its_compression_is_unusual(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "cells", SET)
    patch(path, b"PK\x01\x02", 10, struct.pack("<H", zipfile.ZIP_LZMA))

    with pytest.raises(DataError, match="expected stored or deflated"):
        open_labelled(path)


def test_zip_is_refused_when_it_has_too_many_members(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgecell_runtime.image_sources.MAX_MEMBERS", 2)

    with pytest.raises(DataError, match="has 3 members; at most 2 are opened"):
        open_labelled(as_zip(tmp_path / "cells", SET))


def test_read_is_refused_when_the_declared_size_is_too_large(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "cells", SET)
    declare_size(path, (256 << 20) + 1)

    with open_labelled(path) as labelled:
        first, second, _ = labelled
        with pytest.raises(ImageError, match="has 268,435,457 bytes; image files are read up to"):
            labelled.read(first)
        assert labelled.read(second) == content(second.name)


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_read_is_refused_when_the_declared_size_is_wrong(tmp_path: Path, size: int) -> None:
    path = as_zip(tmp_path / "cells", SET)
    declare_size(path, size)

    with open_labelled(path) as labelled, pytest.raises(ImageError, match=r"cells\.zip"):
        labelled.read(next(iter(labelled)))


def test_read_is_refused_when_the_checksum_does_not_match(tmp_path: Path) -> None:
    path = as_zip(tmp_path / "cells", SET)
    path.write_bytes(path.read_bytes().replace(content(PARASITIZED), content("x/" + "?" * 24), 1))

    with open_labelled(path) as labelled, pytest.raises(ImageError, match="cannot be read"):
        labelled.read(next(iter(labelled)))


def test_read_is_refused_when_the_set_is_closed(tmp_path: Path) -> None:
    with open_labelled(as_zip(tmp_path / "cells", SET)) as labelled:
        pass

    with pytest.raises(ImageError, match="closed"):
        labelled.read(next(iter(labelled)))


def test_zip_is_read_from_several_threads(tmp_path: Path) -> None:
    path = tmp_path / "cells.zip"
    names = [f"{label}/{number}.png" for label in "ab" for number in range(200)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, name * 500)

    with open_labelled(path) as labelled, ThreadPoolExecutor(8) as pool:
        assert list(pool.map(labelled.read, labelled)) == [
            (image.name * 500).encode() for image in labelled
        ]


@settings(max_examples=300)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_zip_leaks_no_foreign_error_when_a_byte_is_damaged(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    path = as_zip(tmp_path_factory.getbasetemp() / "damaged", SET)
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    path.write_bytes(data)

    try:
        with open_labelled(path, minimum_labels=1) as labelled:
            read = {image.name: labelled.read(image) for image in labelled}
    except EdgecellError:
        return
    assert {content(name) for name in SET} >= set(read.values())
