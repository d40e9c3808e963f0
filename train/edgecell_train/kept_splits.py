"""Splits kept beside the decoded images, so that a second training need not import scikit-learn.

A split follows from labels, patients, seed and rule alone. An entry is looked up by all of them,
by the code that deals and by the library's version, so that none is found that would now be dealt
otherwise; it is held to its checksum.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgecell_train import dealing, split
from edgecell_train.decoded_cache import UNFINISHED, DecodedCache

_NAME: Final = "split-"
_PARTS: Final = "parts.txt"


@dataclass(frozen=True)
class Dealt:
    """All that a split follows from.

    Attributes:
        labels: One an image.
        patients: One an image, None where it is unknown.
        given: The part that the set brings along, one an image, or None.
        options: What else there is: seed, rule, fold.
    """

    labels: Sequence[str]
    patients: Sequence[str | None]
    given: Sequence[str | None]
    options: tuple[str | int | None, ...]

    @property
    def key(self) -> str:
        """What it is looked up by."""
        code = [
            hashlib.sha256(Path(str(module.__file__)).read_bytes()).hexdigest()
            for module in (split, dealing)
        ]
        versions = [metadata.version("scikit-learn"), np.__version__]
        facts = [code, versions, self.labels, self.patients, self.given, self.options]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def kept_split(
    cache: DecodedCache | None, dealt: Dealt, deal: Callable[[], NDArray[np.str_]]
) -> NDArray[np.str_]:
    """A split from the cache, or dealt and put there.

    Args:
        cache: None keeps none.
        dealt: What it follows from.
        deal: Gives str (images,), the part of each.
    """
    if cache is None:
        return deal()
    key = dealt.key
    folder = cache.folder / f"{_NAME}{key[:32]}"
    parts = _read(folder, key, len(dealt.labels))
    if parts is None:
        parts = deal()
        with contextlib.suppress(OSError):  # it is dealt again the next time
            _write(folder, key, parts)
    return parts


def _read(folder: Path, key: str, count: int) -> NDArray[np.str_] | None:
    try:
        data = (folder / _PARTS).read_bytes()
        os.utime(folder)  # the ones used last stay longest
    except OSError:
        return None
    digits = data.partition(b"\n")[0]
    if data != _sealed(digits, key) or len(digits) != count:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    numbers = np.frombuffer(digits, np.uint8) - ord("0")
    parts: NDArray[np.str_] = np.array(split.PARTS, "<U10")[numbers]
    return parts


def _write(folder: Path, key: str, parts: NDArray[np.str_]) -> None:
    digits = "".join(str(split.PARTS.index(part)) for part in parts.tolist()).encode()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    try:
        (temporary / _PARTS).write_bytes(_sealed(digits, key))
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sealed(digits: bytes, key: str) -> bytes:
    """With a checksum of the parts and of what they follow from, whole."""
    return digits + b"\n" + hashlib.sha256(digits + key.encode()).hexdigest().encode()
