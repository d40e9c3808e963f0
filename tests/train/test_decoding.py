"""Decoding keeps the order, hashes the original files, and counts what it leaves out."""

import errno
import hashlib
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.pictures import encoded, gradient

from edgecell_runtime.errors import DataError, StorageError
from edgecell_runtime.labelled import LabelledImage, LabelledImages, open_labelled
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_runtime.stored_images import StoredImage, image_sha256
from edgecell_train import decoding, pixel_target
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
    with open_labelled(_write(tmp_path / "set", each=100)) as images:
        decode(images, SPEC, lambda done, total: told.append((done, total)))
    assert told == sorted(set(told))
    assert told[-1] == (200, 200)
    assert len(told) > 2


def test_pixels_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        _decode(_write(tmp_path / "set")).pixels[0] = 0


def test_pixels_are_the_same_mapped_from_a_temporary_file_when_they_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _write(tmp_path / "set")
    in_memory = _decode(folder)
    monkeypatch.setattr(decoding, "free_memory_bytes", lambda: 2 * 24 * 8 * 8 * 3 - 1)
    mapped = _decode(folder)
    assert not isinstance(in_memory.pixels, np.memmap)
    assert isinstance(mapped.pixels, np.memmap)
    np.testing.assert_array_equal(mapped.pixels, in_memory.pixels)
    assert mapped.sha256 == in_memory.sha256
    assert mapped.notes == ()


def test_bound_that_the_user_sets_goes_before_the_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "free_memory_bytes", lambda: 0)
    with open_labelled(_write(tmp_path / "set")) as images:
        decoded = decode(images, SPEC, lambda done, total: None, memory_mb=1)
    assert not isinstance(decoded.pixels, np.memmap)


def test_pixels_are_refused_when_they_fit_neither_in_memory_nor_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decoding, "free_memory_bytes", lambda: 0)
    monkeypatch.setattr(pixel_target.tempfile, "TemporaryFile", no_space)
    with pytest.raises(StorageError, match=r"4,608 bytes, fit neither .*: No space left"):
        _decode(_write(tmp_path / "set"))


def test_rows_of_arrays_are_decoded_with_the_hashes_that_they_are_known_by(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "set.npz", x=rows, y=[0, 1, 0, 1, 0, 1])
    decoded = _decode(tmp_path / "set.npz")
    np.testing.assert_array_equal(decoded.pixels, rows[[0, 2, 4, 1, 3, 5]])
    assert decoded.sha256[1] == image_sha256(rows[2])


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

    def slow_read(images: LabelledImages, image: LabelledImage) -> StoredImage:
        if image.name not in ("none/00.png", "none/01.png"):
            first.wait(60)
        names.append(image.name)
        return read(images, image)

    def interrupt(done: int, total: int) -> None:
        first.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(LabelledImages, "read", slow_read)
    monkeypatch.setattr(decoding, "allowed_cpus", lambda: 2)
    monkeypatch.setattr(decoding, "_MOST_IN_BATCH", 2)
    with open_labelled(_write(tmp_path / "set")) as images:
        with pytest.raises(KeyboardInterrupt):
            decode(images, SPEC, interrupt)
        assert len(names) < len(images)
