"""Decoding keeps the order, hashes the original files, and counts what it leaves out."""

import hashlib
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.pictures import encoded, gradient

from edgecell_runtime.errors import DataError
from edgecell_runtime.labelled import LabelledImage, LabelledImages, open_labelled
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.decoding import Decoded, decode

SPEC = PreprocessSpec(8, 8)
BAD = ("ring/04.png", "ring/07.png")


def _write(folder: Path, *, each: int = 12) -> Path:
    """Two classes of images of falling sizes, two of them damaged."""
    for shift, label in enumerate(("ring", "none")):
        (folder / label).mkdir(parents=True)
        for i in range(each):
            data = encoded(gradient(16 + shift, max(200 - 9 * i, 4)), "PNG")
            name = f"{label}/{i:02}.png"
            (folder / name).write_bytes(data[: len(data) // 2] if name in BAD else data)
    return folder


def _decode(path: Path) -> Decoded:
    with open_labelled(path) as images:
        return decode(images, SPEC, lambda done, total: None)


def test_rows_stand_in_the_order_of_the_images_with_their_hashes(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set")
    decoded = _decode(folder)
    names = [image.name for image in decoded.images]
    assert names == sorted(names)
    assert len(names) == len(decoded.pixels) == len(decoded.sha256) == 22
    for name, row, sha256 in zip(names, decoded.pixels, decoded.sha256, strict=True):
        data = (folder / name).read_bytes()
        np.testing.assert_array_equal(row, SPEC.apply(data))
        assert sha256 == hashlib.sha256(data).hexdigest()


def test_unreadable_images_are_left_out_and_named_with_the_reason(tmp_path: Path) -> None:
    decoded = _decode(_write(tmp_path / "set"))
    assert tuple(name for name, _ in decoded.unreadable) == BAD
    assert all("truncated" in reason for _, reason in decoded.unreadable)
    assert not set(BAD) & {image.name for image in decoded.images}


def test_progress_counts_every_image_unreadable_ones_too(tmp_path: Path) -> None:
    told = []
    with open_labelled(_write(tmp_path / "set")) as images:
        decode(images, SPEC, lambda done, total: told.append((done, total)))
    assert told == [(i, 24) for i in range(1, 25)]


def test_class_without_a_readable_image_is_refused_with_its_own_reason(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set")
    (folder / "none-at-all").mkdir()  # sorted before none/, and begins with its name
    (folder / "none-at-all" / "0.png").write_bytes(encoded(gradient(), "PNG"))
    (folder / "none-at-all" / "empty.png").write_bytes(b"")
    for path in (folder / "none").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"image of none in .*set can be read; .* none/00\.png"):
        _decode(folder)


def test_data_hash_is_the_same_for_a_folder_and_a_zip_of_it(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png"), reverse=True):
            archive.write(path, Path("around") / path.relative_to(folder))
    of_folder, of_zip = _decode(folder), _decode(tmp_path / "set.zip")
    assert of_folder.data_sha256 == of_zip.data_sha256
    assert [name for name, _ in of_zip.unreadable] == list(BAD)


def test_data_hash_changes_with_a_byte_and_with_a_name(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set")
    hashes = {_decode(folder).data_sha256}
    (folder / "none" / "00.png").rename(folder / "none" / "renamed.png")
    hashes.add(_decode(folder).data_sha256)
    renamed = folder / "none" / "renamed.png"
    renamed.write_bytes(renamed.read_bytes() + b"\0")
    hashes.add(_decode(folder).data_sha256)
    assert len(hashes) == 3


def test_decoding_reads_no_further_when_it_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, first = LabelledImages.read, threading.Event()
    names = []

    def slow_read(images: LabelledImages, image: LabelledImage) -> bytes:
        if names:
            first.wait(60)
        names.append(image.name)
        return read(images, image)

    def interrupt(done: int, total: int) -> None:
        first.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(LabelledImages, "read", slow_read)
    with open_labelled(_write(tmp_path / "set", each=300)) as images:
        with pytest.raises(KeyboardInterrupt):
            decode(images, SPEC, interrupt)
        assert len(names) < len(images)
