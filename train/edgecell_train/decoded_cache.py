"""Decoded images kept on disk, so that a set is decoded once and not by every training.

An entry (see ``decoded_entry``) is looked up by what the set's files are called, how large they are
and when they were changed, and by all else that the pixels depend on (preprocessing, versions of
edgecell and Pillow). What is found is held to its checksums, all of it, before it is used; what
does not hold is thrown away, and the images are decoded anew.

Entries are written under another name and then renamed, so that none is ever half there; of two
processes that decode the same set, the first to finish keeps its entry.
"""

import contextlib
import hashlib
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

import PIL

from edgecell_runtime import codec
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.decoded_entry import PIXELS, CachedImages, EntryWriter, open_entry

VARIABLE: Final = "EDGECELL_CACHE"
"""Environment variable: the folder to cache in."""

LIMIT_BYTES: Final = 8_000_000_000
"""What all entries together may have; the ones that were not used for longest leave first."""

_VERSION: Final = 1
UNFINISHED: Final = ".unfinished-"
"""What names begin with that an ended process may have left; the cache sweeps them away."""

_DAY_SECONDS: Final = 86_400


def cache_folder() -> Path:
    """Where decoded images are kept: ``$EDGECELL_CACHE``, else the user's folder for caches."""
    told = os.environ.get(VARIABLE)
    if told:
        return Path(told)
    import platformdirs

    return platformdirs.user_cache_path("edgecell")


class DecodedCache:
    """A folder of decoded sets.

    Attributes:
        folder: Where the entries are.
        limit_bytes: What they may have together.
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        """Takes the folder, which is made when something is kept; None takes ``cache_folder()``."""
        self.folder = (folder or cache_folder()) / "decoded"
        self.limit_bytes = limit_bytes

    def find(self, key: str) -> CachedImages | None:
        """Looks an entry up and checks every byte of it; a damaged one is thrown away."""
        folder = self.folder / key
        try:
            found = open_entry(folder)
        except FileNotFoundError:
            if not folder.exists():
                return None
            found = None
        except (OSError, ValueError, ManifestError):
            found = None
        if found is None:
            self._throw_away(folder)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)  # the ones used last stay longest
        return found

    @contextlib.contextmanager
    def writing(self, key: str, shape: tuple[int, ...]) -> Iterator[EntryWriter]:
        """Writes an entry, which is there when the body has finished it and ended.

        Args:
            key: Of the entry.
            shape: Of the pixels if no image is left out.

        Raises:
            OSError: It cannot be written, or is too large; nothing was left.
        """
        size = math.prod(shape)
        if size > self.limit_bytes:
            raise OSError(f"{size:,} bytes are more than the {self.limit_bytes:,} that it may have")
        self.folder.mkdir(parents=True, exist_ok=True)
        if size > shutil.disk_usage(self.folder).free:
            raise OSError("not enough space is free")
        temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
        try:
            with (temporary / PIXELS).open("w+b") as file:
                writer = EntryWriter(temporary, file, shape)
                yield writer
            if writer.finished:
                with contextlib.suppress(OSError):  # another process was first
                    temporary.rename(self.folder / key)
                self._make_room(key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _entries(self) -> list[tuple[Path, int, float]]:
        """Path, size and time of last use of each entry and of what an ended process left."""
        found = []
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    size = sum(file.stat().st_size for file in path.iterdir())
                    found.append((path, size, path.stat().st_mtime))
        return found

    def _make_room(self, kept: str) -> None:
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        total = sum(size for _, size, _ in entries)
        yesterday = time.time() - _DAY_SECONDS
        for path, size, used in entries:
            unfinished = path.name.startswith(UNFINISHED)
            if used < yesterday if unfinished else total > self.limit_bytes and path.name != kept:
                self._throw_away(path)
                total -= size

    def _throw_away(self, folder: Path) -> None:
        """Under another name first, so that nobody finds it half removed."""
        with contextlib.suppress(OSError):
            aside = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self.folder))
            try:
                folder.rename(aside / folder.name)
            finally:
                shutil.rmtree(aside, ignore_errors=True)


def entry_key(location: Path, stamp: str, spec: PreprocessSpec) -> str:
    """What a set's decoded images are looked up by.

    Args:
        location: Of the set.
        stamp: Of its files; see ``LabelledImages.stamp``.
        spec: The preprocessing.
    """
    versions = f"{_VERSION} {metadata.version('edgecell')} {PIL.__version__}"
    text = "\n".join((versions, codec.dumps(spec), str(location.resolve()), stamp))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
