"""Hostile input for whatever reads a file that travels: manifests, artifacts, images.

The targets are shared by ``tests/runtime/test_fuzzing.py``, which makes inputs by strategies, and
by ``scripts/fuzz``, which lets atheris look for inputs that reach new lines of code.
"""

import argparse
import contextlib
import hashlib
import importlib.util
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from edgecell_runtime import images
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.containers import container_of
from edgecell_runtime.containers.base import DIGEST_LENGTH
from edgecell_runtime.errors import ArtifactError, EdgecellError, ImageError, ManifestError
from edgecell_runtime.manifest import Format, Manifest

SLOW_SECONDS: Final = 1.0
HANG_SECONDS: Final = 10


class HangError(BaseException):
    """An input took far too long; no ``except Exception`` of the code under test stops it."""


@contextlib.contextmanager
def watchdog(seconds: int = HANG_SECONDS) -> Iterator[None]:
    """Breaks off what hangs, where the system has alarms.

    Raises:
        HangError: The body ran longer.
    """
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise HangError(f"one input took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def reseal(body: bytes) -> bytes:
    """A right digest for whatever someone wrote before it."""
    return body + hashlib.sha256(body).hexdigest().encode()


def forged(data: bytes, artifact_format: Format) -> bytes:
    """The file with its seal put right again, so that the parser behind it is reached."""
    marker = container_of(artifact_format).seal_marker
    body = data[:-DIGEST_LENGTH]
    return reseal(body if body.endswith(marker) else data + marker)


def read_manifest(data: bytes) -> bool:
    """True where the manifest was accepted; then it comes back from its own bytes."""
    try:
        manifest = Manifest.from_json(data)
    except ManifestError:
        return False
    text = manifest.to_json()
    # A number may be written longer than it was read, and pass the limit of size.
    with contextlib.suppress(ManifestError):
        assert Manifest.from_json(text) == manifest
    return True


def read_file(data: bytes, path: Path) -> bool:
    """True where the file was accepted; then its bytes are the ones that were sealed.

    Args:
        data: The file.
        path: Where it is written; its suffix promises the format.
    """
    path.write_bytes(data)
    try:
        artifact = read_artifact(path)
    except ArtifactError:
        return False
    assert artifact.data == data
    assert reseal(data[:-DIGEST_LENGTH]) == data
    assert artifact.manifest.format == path.suffix[1:]
    return True


def read_image(data: bytes) -> bool:
    """True where the image was accepted; then it is 8-bit RGB or grey, of an allowed size."""
    try:
        image = images.open_image(data)
    except ImageError:
        return False
    assert image.mode in {"RGB", "L"}
    assert min(image.size) >= images.MIN_SIDE
    return True


def _read_tflite(data: bytes, folder: Path) -> bool:
    path = folder / "model.tflite"
    return read_file(data, path) | read_file(forged(data, "tflite"), path)


def _read_onnx(data: bytes, folder: Path) -> bool:
    path = folder / "model.onnx"
    return read_file(data, path) | read_file(forged(data, "onnx"), path)


TARGETS: Final[dict[str, Callable[[bytes, Path], bool]]] = {
    "manifest": lambda data, folder: read_manifest(data),
    "tflite": _read_tflite,
    "onnx": _read_onnx,
    "image": lambda data, folder: read_image(data),
}
"""By name: takes bytes and a scratch folder, tells whether they were accepted."""


def seeds(target: str) -> list[bytes]:
    """Valid inputs of a target, which the fuzzer varies."""
    # The graphs are made with the onnx package, which images need not wait for.
    from support import artifacts, pictures

    manifests = [artifacts.tiny_manifest(), artifacts.full_manifest()]
    if target == "manifest":
        return [manifest.to_json() for manifest in manifests]
    if target == "tflite":
        model = artifacts.tiny_model("tflite")
        return [container_of("tflite").seal(model, manifest) for manifest in manifests]
    if target == "onnx":
        return [artifacts.tiny_artifact("onnx"), artifacts.tiny_artifact("onnx", 1)]
    picture = pictures.gradient()
    return [
        pictures.encoded(picture.convert(mode), image_format)
        for image_format in images.FORMATS
        for mode in ("RGB", "L", "P", "1")
        if mode != "P" or image_format in {"PNG", "BMP", "TIFF", "GIF"}
    ]


def _words() -> list[str]:
    """Words of a manifest, for the fuzzer's dictionary."""
    from support import artifacts

    text = artifacts.full_manifest().to_json().decode()
    return sorted(set(text.replace("\\", "").split('"')[1::2]))


@dataclass
class Watch:
    """What became of the inputs so far.

    Attributes:
        name: Of the target.
        folder: Where inputs are saved that show a fault.
        seconds: How long to try, from the first input on.
        alone: Whether one saved input is tried, without the fuzzer.
        until: When the time is over, by ``time.monotonic``.
        tried: Number of inputs.
        accepted: Number of them that were valid.
        slowest: Longest time that an input took, in seconds; counting lines makes it longer.
        scratch: For files that a target writes.
    """

    name: str
    folder: Path
    seconds: float
    alone: bool = False
    until: float = math.inf
    tried: int = 0
    accepted: int = 0
    slowest: float = 0.0
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="edgecell-fuzz-")))

    def try_input(self, data: bytes) -> None:
        """Tries one input; ends the process at a fault, and when the time is over."""
        target = TARGETS[self.name]
        if not self.tried:
            self.until = time.monotonic() + self.seconds
        try:
            seconds, accepted = self._timed(target, data)
            if seconds > SLOW_SECONDS:  # another process may have had the processor meanwhile
                seconds = min(seconds, *(self._timed(target, data)[0] for _ in range(2)))
        except (Exception, HangError) as error:  # noqa: BLE001 - whatever comes out is the find
            self._fault(data, f"{type(error).__name__}: {error}")
        self.tried += 1
        self.accepted += accepted
        self.slowest = max(self.slowest, seconds)
        if seconds > SLOW_SECONDS and (self.alone or self._slow_alone(data)):
            self._fault(data, f"it took {seconds:.2f} s")
        if time.monotonic() > self.until:
            self._end(0)

    def _timed(self, target: Callable[[bytes, Path], bool], data: bytes) -> tuple[float, bool]:
        start = time.perf_counter()
        try:
            accepted = target(data, self.scratch)
        except EdgecellError:
            accepted = False
        return time.perf_counter() - start, accepted

    def _slow_alone(self, data: bytes) -> bool:
        """Whether it is slow, or anything else, in a process where no line is counted."""
        path = self._save(data)
        command = [sys.executable, "-m", "support.fuzzing", self.name, "--again", str(path)]
        done = subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
        if done.returncode == 0:
            path.unlink()
        return done.returncode != 0

    def _save(self, data: bytes) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{self.name}-{hashlib.sha256(data).hexdigest()[:12]}"
        path.write_bytes(data)
        return path

    def _fault(self, data: bytes, reason: str) -> NoReturn:
        print(f"{self.name}: {reason}\nThe input is saved: {self._save(data)}", flush=True)
        self._end(1)

    def _end(self, status: int) -> NoReturn:
        print(
            f"{self.name}: {self.tried:,} inputs tried, {self.accepted:,} accepted, "
            f"the slowest took {self.slowest * 1000:.0f} ms",
            flush=True,
        )
        shutil.rmtree(self.scratch, ignore_errors=True)
        os._exit(status)  # the fuzzer's loop has no other end


def main() -> int:
    """Fuzzes one target; 1 where a fault was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS])
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try one saved input, and end")
    parser.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="for the finds")
    chosen = parser.parse_args()
    # Slow shall mean a slow reader, not a large image: 2**26 pixels take seconds by themselves.
    images.MAX_PIXELS = 1 << 20  # type: ignore[misc]
    watch = Watch(chosen.target, chosen.folder, chosen.seconds)
    if chosen.again is not None:
        watch.seconds, watch.alone = -1.0, True
        watch.try_input(chosen.again.read_bytes())
    return _fuzz(watch)


def _fuzz(watch: Watch) -> int:
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed; install it with `.venv/bin/python -m pip install --group "
            "fuzz` (it has wheels for some versions of Python only).",
            file=sys.stderr,
        )
        return 1
    import atheris

    corpus = watch.scratch / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds(watch.name)):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = watch.scratch / "words"
    words.write_text("".join(f'"{word}"\n' for word in _words() if word.isascii() and word))
    watch.folder.mkdir(parents=True, exist_ok=True)
    atheris.instrument_all()
    arguments = [
        f"-dict={words}",
        f"-timeout={HANG_SECONDS}",
        f"-artifact_prefix={watch.folder}/{watch.name}-",
        "-max_len=20000",
        "-rss_limit_mb=3000",
        "-verbosity=0",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], watch.try_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
