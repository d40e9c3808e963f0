import errno
import os
from pathlib import Path

import pytest

from edgecell_runtime.errors import StorageError
from edgecell_runtime.files import (
    adding,
    check_folder,
    replacing,
    storage_errors,
    write_bytes,
    write_text,
)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("old", [None, b"old"])
def test_write_bytes_leaves_the_file_and_nothing_else(tmp_path: Path, old: bytes | None) -> None:
    target = tmp_path / "file"
    if old is not None:
        target.write_bytes(old)
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert names(tmp_path) == {"file"}


def test_write_text_writes_utf8(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "größe\n")
    assert (tmp_path / "file").read_bytes() == "größe\n".encode()


def test_write_bytes_makes_the_folders_above(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "file", b"new")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"new"


def test_target_stays_as_it_was_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with replacing(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
        assert temporary.stat().st_dev == target.stat().st_dev
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_old_file_stays_and_no_litter_when_the_body_is_interrupted(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(kind), replacing(target) as temporary:  # noqa: PT012
        temporary.write_bytes(b"half")
        raise kind
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_old_file_stays_and_a_sentence_is_said_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="file could not be written: No space left on device"):
        write_bytes(target, b"new")
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == {"file"}


def test_storage_error_is_said_when_the_folder_above_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="could not be written"):
        write_bytes(tmp_path / "file" / "below", b"new")


def test_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    (target / "below").mkdir(parents=True)
    (target / "below" / "old").write_bytes(b"old")
    with replacing(target) as temporary:
        temporary.mkdir()
        (temporary / "new").write_bytes(b"new")
        assert (target / "below" / "old").is_file()
    assert names(target) == {"new"}
    assert names(tmp_path) == {"model"}


def test_old_folder_stays_when_the_body_is_interrupted(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(target) as temporary:  # noqa: PT012
        temporary.mkdir()
        raise KeyboardInterrupt
    assert names(target) == {"old"}
    assert names(tmp_path) == {"model"}


def test_old_folder_stays_when_the_body_has_written_nothing(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_bytes(b"old")
    with pytest.raises(StorageError, match="could not be written"), replacing(target):
        pass
    assert names(target) == {"old"}
    assert names(tmp_path) == {"model"}


@pytest.mark.parametrize("kind", [KeyboardInterrupt, OSError])
def test_old_folder_comes_back_when_its_replacement_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_bytes(b"old")

    def fail(path: Path, other: Path) -> None:
        raise kind

    monkeypatch.setattr(Path, "replace", fail)
    expected = StorageError if kind is OSError else kind
    with pytest.raises(expected), replacing(target) as temporary:
        temporary.mkdir()
    assert names(target) == {"old"}
    assert names(tmp_path) == {"model"}


def test_link_is_replaced_and_what_it_names_is_left_alone(tmp_path: Path) -> None:
    original = tmp_path / "original"
    original.write_bytes(b"original")
    link = tmp_path / "link"
    link.symlink_to(original)
    write_bytes(link, b"new")
    assert (link.is_symlink(), link.read_bytes()) == (False, b"new")
    assert original.read_bytes() == b"original"


def test_file_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    write_bytes(target / "kept", b"kept")
    with pytest.raises(StorageError, match="is a folder; expected a file"):
        write_bytes(target, b"new")
    assert names(target) == {"kept"}
    assert names(tmp_path) == {"folder"}


def test_folder_to_write_to_is_checked_without_making_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_folder(tmp_path / "a" / "b")
    assert names(tmp_path) == set()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="file is no folder"):
        check_folder(tmp_path / "file" / "b")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(StorageError, match="no permission to write"):
        check_folder(tmp_path / "a" / "b")


def test_storage_errors_say_what_could_not_be_done_and_nothing_of_what_is_left(
    tmp_path: Path,
) -> None:
    with pytest.raises(StorageError) as written, storage_errors(tmp_path / "log"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(written.value) == (
        f"{tmp_path / 'log'} could not be written: No space left on device. Check the free space "
        "and the permissions, then run the command again."
    )
    with pytest.raises(StorageError) as read, storage_errors(tmp_path / "log", "read"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert str(read.value) == (
        f"{tmp_path / 'log'} could not be read: Input/output error. Check its permissions, then "
        "run the command again."
    )


def test_added_folder_takes_the_first_free_place_and_replaces_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("old")
    told: list[Path] = []
    with adding((tmp_path / name for name in "abc"), told.append) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert told == [tmp_path / "a", tmp_path / "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    assert (tmp_path / "a" / "old").read_text() == "old"
    assert (tmp_path / "b" / "new").read_text() == "new"


def test_added_folder_takes_the_place_of_no_empty_folder_either(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with adding([tmp_path / "a", tmp_path / "b"], lambda _: None) as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert list((tmp_path / "a").iterdir()) == []
    assert (tmp_path / "b" / "new").exists()


def test_nothing_is_added_when_the_body_fails(tmp_path: Path) -> None:
    def body() -> None:
        with adding([tmp_path / "a"], lambda _: None) as temporary:
            temporary.mkdir()
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StorageError, match="a could not be written: No space left"):
        body()
    assert list(tmp_path.iterdir()) == []
