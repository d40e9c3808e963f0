"""A set is decoded once; what is damaged, changed or too large never reaches a training."""

import contextlib
import errno
import multiprocessing
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pictures import encoded, gradient

from edgecell_runtime.errors import DataError, StorageError
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train import decoded_cache, decoding
from edgecell_train.decoded_cache import DecodedCache, cache_folder
from edgecell_train.decoded_entry import EntryWriter
from edgecell_train.decoding import Decoded, decode

SPEC = PreprocessSpec(8, 8)
BAD = "none/03.png"


@pytest.fixture
def cache(tmp_path: Path) -> DecodedCache:
    return DecodedCache(tmp_path / "cache")


def write_set(folder: Path) -> Path:
    """Two classes of six images, one of which is damaged."""
    for shift, label in enumerate(("none", "ring")):
        (folder / label).mkdir(parents=True)
        for i in range(6):
            data = encoded(gradient(16 + shift, 20 + i), "PNG")
            name = f"{label}/{i:02}.png"
            (folder / name).write_bytes(data[:60] if name == BAD else data)
    return folder


def write_zip(tmp_path: Path) -> Path:
    folder = write_set(tmp_path / "set")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    return tmp_path / "set.zip"


def write_npz(tmp_path: Path) -> Path:
    rows = np.random.default_rng(0).integers(0, 256, (8, 9, 9, 3), np.uint8)
    np.savez(tmp_path / "set.npz", x=rows, y=[0, 1] * 4)
    return tmp_path / "set.npz"


def run(path: Path, cache: DecodedCache | None, spec: PreprocessSpec = SPEC) -> Decoded:
    with open_labelled(path) as images:
        return decode(images, spec, lambda done, total: None, cache=cache)


def the_entry(cache: DecodedCache) -> Path:
    (entry,) = cache.folder.iterdir()
    return entry


def require_same(first: Decoded, second: Decoded) -> None:
    assert second.images == first.images
    assert second.sha256 == first.sha256
    assert second.data_sha256 == first.data_sha256
    assert second.unreadable == first.unreadable
    np.testing.assert_array_equal(second.pixels, first.pixels)


# What is found again


@pytest.mark.parametrize("write", [lambda path: write_set(path / "set"), write_zip, write_npz])
def test_second_call_gives_what_the_first_gave_and_reads_no_image(
    tmp_path: Path,
    cache: DecodedCache,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Path], Path],
) -> None:
    path = write(tmp_path)
    first = run(path, cache)
    assert not first.from_cache
    monkeypatch.setattr(decoding, "_read", None)
    second = run(path, cache)
    assert second.from_cache
    assert isinstance(second.pixels, np.memmap)
    require_same(first, second)
    require_same(run_plain(path, monkeypatch), second)


def run_plain(path: Path, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    monkeypatch.undo()
    return run(path, None)


def test_pixels_of_the_cache_cannot_be_written_to(tmp_path: Path, cache: DecodedCache) -> None:
    path = write_zip(tmp_path)
    run(path, cache)
    with pytest.raises(ValueError, match="read-only"):
        run(path, cache).pixels[0] = 0


def test_kept_pixels_are_a_plain_npy_file(tmp_path: Path, cache: DecodedCache) -> None:
    first = run(write_zip(tmp_path), cache)
    np.testing.assert_array_equal(np.load(the_entry(cache) / "pixels.npy"), first.pixels)


def test_progress_ends_at_once_when_the_set_is_in_the_cache(
    tmp_path: Path, cache: DecodedCache
) -> None:
    path = write_zip(tmp_path)
    run(path, cache)
    told = []
    with open_labelled(path) as images:
        decode(images, SPEC, lambda done, total: told.append((done, total)), cache=cache)
    assert told == [(12, 12)]


def test_first_call_maps_the_entry_when_pixels_do_not_fit_in_memory(
    tmp_path: Path, cache: DecodedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path)
    monkeypatch.setattr(decoding, "free_memory_bytes", lambda: 0)
    first = run(path, cache)
    assert isinstance(first.pixels, np.memmap)
    require_same(run(path, None), first)


# What is decoded anew


def _touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


@pytest.mark.parametrize("change", [_touch, _grow])
@pytest.mark.parametrize("kind", ["folder", "zip", "npz"])
def test_set_is_decoded_anew_when_a_file_was_changed(
    tmp_path: Path, cache: DecodedCache, change: Callable[[Path], None], kind: str
) -> None:
    path = {"folder": tmp_path / "set", "zip": tmp_path / "set.zip", "npz": tmp_path / "set.npz"}
    write_zip(tmp_path)
    write_npz(tmp_path)
    run(path[kind], cache)
    change(path[kind] / "ring" / "02.png" if kind == "folder" else path[kind])
    assert not run(path[kind], cache).from_cache


def test_set_is_decoded_anew_when_a_file_has_its_old_size_and_time_but_other_bytes(
    tmp_path: Path, cache: DecodedCache
) -> None:
    folder = write_set(tmp_path / "set")
    file = folder / "ring" / "02.png"
    first, status = run(folder, cache), file.stat()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # of the checksum of the last chunk, which is empty
    file.write_bytes(data)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = run(folder, cache)
    assert not second.from_cache
    assert second.data_sha256 != first.data_sha256


def test_set_is_decoded_anew_for_another_preprocessing(tmp_path: Path, cache: DecodedCache) -> None:
    path = write_zip(tmp_path)
    run(path, cache)
    for spec in (PreprocessSpec(8, 9), PreprocessSpec(8, 8, "L"), PreprocessSpec(9, 8)):
        assert not run(path, cache, spec).from_cache
    assert run(path, cache).from_cache


@pytest.mark.parametrize("what", ["edgecell", "Pillow"])
def test_set_is_decoded_anew_by_another_version(
    tmp_path: Path, cache: DecodedCache, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    path = write_zip(tmp_path)
    run(path, cache)
    if what == "Pillow":
        monkeypatch.setattr(decoded_cache.PIL, "__version__", "0")
    else:
        monkeypatch.setattr(decoded_cache.metadata, "version", lambda name: "0")
    assert not run(path, cache).from_cache


def test_set_is_not_kept_when_it_changes_while_it_is_decoded(
    tmp_path: Path, cache: DecodedCache
) -> None:
    folder = write_set(tmp_path / "set")
    with open_labelled(folder) as images:
        decode(
            images,
            SPEC,
            lambda done, total: _grow(folder / "ring" / "05.png"),
            cache=cache,
        )
    assert not run(folder, cache).from_cache


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)


def _cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


@pytest.mark.parametrize("damage", [_flip, _cut])
@pytest.mark.parametrize("at", [0, 40, 200, -1])
@pytest.mark.parametrize("name", ["pixels.npy", "images.txt", "entry.txt"])
def test_damaged_entry_is_thrown_away_and_the_set_decoded_anew(
    tmp_path: Path, cache: DecodedCache, damage: Callable[[Path, int], None], at: int, name: str
) -> None:
    path = write_zip(tmp_path)
    first = run(path, cache)
    damage(the_entry(cache) / name, at)
    second = run(path, cache)
    assert not second.from_cache
    require_same(first, second)
    assert run(path, cache).from_cache, "and it is kept again"


@pytest.mark.parametrize("name", ["pixels.npy", "images.txt", "entry.txt"])
def test_entry_without_one_of_its_files_is_thrown_away(
    tmp_path: Path, cache: DecodedCache, name: str
) -> None:
    path = write_zip(tmp_path)
    first = run(path, cache)
    (the_entry(cache) / name).unlink()
    second = run(path, cache)
    assert not second.from_cache
    require_same(first, second)


# What is not kept


def test_nothing_is_kept_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "cache"))
    run(write_zip(tmp_path), None)
    assert not (tmp_path / "cache").exists()


def test_nothing_is_kept_when_decoding_is_interrupted(tmp_path: Path, cache: DecodedCache) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with open_labelled(write_zip(tmp_path)) as images, pytest.raises(KeyboardInterrupt):
        decode(images, SPEC, interrupt, cache=cache)
    assert list(cache.folder.iterdir()) == []


def test_nothing_is_kept_of_a_set_that_is_refused(tmp_path: Path, cache: DecodedCache) -> None:
    folder = write_set(tmp_path / "set")
    for path in (folder / "ring").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match="Not one image of ring"):
        run(folder, cache)
    assert list(cache.folder.iterdir()) == []


def test_training_goes_on_with_a_note_when_the_cache_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = write_zip(tmp_path)
    decoded = run(path, DecodedCache(tmp_path / "file"))
    require_same(run(path, None), decoded)
    (note,) = decoded.notes
    assert note.startswith("The decoded images could not be kept in ")
    assert "The next training decodes them again." in note


@pytest.mark.parametrize("method", ["append", "finish"])
def test_training_goes_on_with_a_note_when_the_disk_is_full(
    tmp_path: Path, cache: DecodedCache, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write_zip(tmp_path)
    monkeypatch.setattr(EntryWriter, method, no_space)
    decoded = run(path, cache)
    require_same(run(path, None), decoded)
    (note,) = decoded.notes
    assert "No space left on device" in note
    assert list(cache.folder.iterdir()) == []


@pytest.mark.parametrize("method", ["append", "finish"])
def test_full_disk_is_an_error_when_pixels_do_not_fit_in_memory_either(
    tmp_path: Path, cache: DecodedCache, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(EntryWriter, method, no_space)
    monkeypatch.setattr(decoding, "free_memory_bytes", lambda: 0)
    with pytest.raises(StorageError, match=r"fit neither in the memory .* No space left"):
        run(write_zip(tmp_path), cache)
    assert list(cache.folder.iterdir()) == []


def test_set_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = DecodedCache(tmp_path / "cache", limit_bytes=100)
    (note,) = run(write_zip(tmp_path), cache).notes
    assert "2,304 bytes are more than the 100 that it may have" in note
    assert not [file for file in cache.folder.rglob("*") if file.is_file()]


# What leaves


def test_entries_that_were_not_used_for_longest_leave_first(tmp_path: Path) -> None:
    path = write_zip(tmp_path)
    sizes = [PreprocessSpec(8, width) for width in (8, 9, 10)]
    cache = DecodedCache(tmp_path / "cache", limit_bytes=9_000)
    for age, spec in zip((3, 2), sizes, strict=False):
        before = set(cache.folder.iterdir()) if cache.folder.exists() else set()
        run(path, cache, spec)
        (entry,) = set(cache.folder.iterdir()) - before
        os.utime(entry, (1e9 - age, 1e9 - age))
    assert run(path, cache, sizes[0]).from_cache, "now the second was not used for longest"
    run(path, cache, sizes[2])
    assert sum(f.stat().st_size for f in cache.folder.rglob("*") if f.is_file()) <= 9_000
    assert run(path, cache, sizes[0]).from_cache
    assert not run(path, cache, sizes[1]).from_cache


def test_what_an_ended_process_left_leaves_after_a_day(tmp_path: Path, cache: DecodedCache) -> None:
    for name, age in (("old", 90_000), ("new", 100)):
        left = cache.folder / f".unfinished-{name}"
        left.mkdir(parents=True)
        (left / "pixels.npy").write_bytes(b"x")
        when = left.stat().st_mtime - age
        os.utime(left, (when, when))
    run(write_zip(tmp_path), cache)
    assert not (cache.folder / ".unfinished-old").exists()
    assert (cache.folder / ".unfinished-new").exists(), "it may still be written"


def test_mapped_pixels_stay_when_their_entry_leaves(tmp_path: Path, cache: DecodedCache) -> None:
    if sys.platform == "win32":
        pytest.skip("there a mapped file cannot be removed")
    path = write_zip(tmp_path)
    first = run(path, cache)
    second = run(path, cache)
    shutil.rmtree(cache.folder)
    require_same(first, second)


# Two processes


def _decode_in_a_process(path: Path, folder: Path, barrier: Any, answers: Any) -> None:
    barrier.wait(60)
    decoded = run(path, DecodedCache(folder))
    answers.put((decoded.data_sha256, int(decoded.pixels.sum(dtype=np.int64)), decoded.notes))


def test_processes_that_decode_the_same_set_at_once_all_get_it(tmp_path: Path) -> None:
    path, cache = write_zip(tmp_path), DecodedCache(tmp_path / "cache")
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(3), context.Queue()
    arguments = (path, tmp_path / "cache", barrier, answers)
    processes = [context.Process(target=_decode_in_a_process, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    found = [answers.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(60)
    plain = run(path, None)
    assert found == [(plain.data_sha256, int(plain.pixels.sum(dtype=np.int64)), ())] * 3
    assert run(path, cache).from_cache
    assert the_entry(cache)


def test_entry_of_the_process_that_was_first_is_kept(tmp_path: Path, cache: DecodedCache) -> None:
    path = write_zip(tmp_path)
    with open_labelled(path) as images:
        decode(images, SPEC, lambda done, total: _run_once(path, cache), cache=cache)
    assert run(path, cache).from_cache
    assert the_entry(cache)


def _run_once(path: Path, cache: DecodedCache) -> None:
    with contextlib.suppress(OSError):
        run(path, cache)


# Where it is


def test_folder_is_the_one_that_the_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGECELL_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    assert DecodedCache().folder.is_relative_to(tmp_path / "here")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_folder_is_the_users_own_for_caches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGECELL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "edgecell"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "edgecell"
