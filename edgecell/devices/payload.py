"""What travels to a device: the runtime, the job with its artifacts, wheels where wanted."""

import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import IO, Final

import edgecell_runtime
from edgecell_runtime import codec
from edgecell_runtime.bench.plan import Job, Target
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import storage_errors
from edgecell_runtime.printable import printable_name

BASE_REQUIREMENTS: Final = ("numpy>=2.0", "pillow>=11.0")
"""Of the runtime, as ``pyproject.toml`` has them."""

ENGINE_REQUIREMENTS: Final[Mapping[str, str]] = {
    "litert": "ai-edge-litert>=2.1",
    "onnxruntime": "onnxruntime>=1.23",
    "openvino": "openvino>=2026.4",
}
"""Of each engine, by its name, likewise."""

_FIRST_ENGINE: Final = {".tflite": "litert", ".onnx": "onnxruntime"}
_JOB_FILE: Final = "job.json"
_PRIVATE_KINDS: Final = ("held-out", "known", "given")
_DISK_BLOCK: Final = 4096
_GLIBC_TAGS: Final = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_26", "manylinux2014")
"""What the wheels in question are built for; pip takes no older tag by itself."""


@dataclass(frozen=True)
class Entry:
    """A file of the payload.

    Attributes:
        name: Its path there, relative to the private folder.
        source: Where it is here, or its bytes.
    """

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size


@dataclass(frozen=True)
class PortableJob:
    """A job as it travels: its artifacts lie in its folder.

    Attributes:
        job: With the artifacts' paths as they are there.
        files: All that it needs, under ``job/``.
        artifacts: The paths as they are here, by those there.
    """

    job: Job
    files: tuple[Entry, ...]
    artifacts: Mapping[str, str]

    def at_home(self, benchmark: Benchmark) -> Benchmark:
        """A result of this job with the artifacts' paths as they are here."""
        return replace(
            benchmark,
            rows=tuple(replace(row, target=self._here(row.target)) for row in benchmark.rows),
            skipped=tuple(replace(s, target=self._here(s.target)) for s in benchmark.skipped),
        )

    def _here(self, target: Target) -> Target:
        # A device may say another path, such as an absolute one; its last parts are ours.
        for travelled, here in self.artifacts.items():
            there = printable_name(travelled)  # as texts of results are
            if target.artifact == there or target.artifact.endswith(f"/{there}"):
                return replace(target, artifact=here)
        return target


def read_job(folder: Path) -> Job:
    """Reads a prepared job.

    Raises:
        StorageError: There is none.
        ManifestError: It is none.
    """
    file = folder / _JOB_FILE
    with storage_errors(file, "read"):
        return codec.loads(Job, file.read_bytes(), f"job {file}")


def check_images(job: Job, *, allowed: bool) -> None:
    """Refuses to send images of patients, or of the user, unless the user said so.

    Raises:
        UsageError: The job holds such images and ``allowed`` is False.
    """
    if job.kind in _PRIVATE_KINDS and not allowed:
        kind = "images you gave" if job.kind == "given" else "images of a run"
        raise UsageError(
            f"The benchmark holds {kind}, which may be patients': they do not leave this machine "
            "unless you say so with --data. Without it, drawn cells or the artifact's own test "
            "patterns are measured on."
        )


def portable(folder: Path) -> PortableJob:
    """Collects a prepared job and all that it needs from where it is.

    Args:
        folder: ``job.json``, the inputs, and artifacts by absolute or relative path.

    Raises:
        UsageError: An artifact is missing or none that a device runs; inputs lie elsewhere.
        StorageError: The job could not be read.
        ManifestError: ``job.json`` is no job.
    """
    job = read_job(folder)
    there: dict[str, str] = {}
    entries = []
    for target in job.targets:
        if target.artifact not in there:
            source = folder / target.artifact  # an absolute path stays as it is
            _check_artifact(source)
            there[target.artifact] = f"artifacts/{len(there)}/{source.name}"
            entries.append(Entry(f"job/{there[target.artifact]}", source))
    moved = replace(
        job,
        targets=tuple(replace(t, artifact=there[t.artifact]) for t in job.targets),
    )
    entries += _input_entries(folder, job.inputs)
    entries.append(Entry(f"job/{_JOB_FILE}", codec.dumps(moved).encode()))
    return PortableJob(moved, tuple(entries), {value: key for key, value in there.items()})


def _check_artifact(source: Path) -> None:
    if source.is_dir():
        raise UsageError(
            f"{source} is a SavedModel, which needs TensorFlow; a device runs TFLite and ONNX. "
            "Export the run to one of them, or leave it out."
        )
    if not source.is_file():
        raise UsageError(f"There is no artifact {source}; name one that exists.")
    if source.suffix not in _FIRST_ENGINE:
        raise UsageError(f"{source} is no artifact that a device runs; expected .tflite or .onnx.")


def _input_entries(folder: Path, inputs: str) -> list[Entry]:
    root = (folder / inputs).resolve()
    if not root.is_relative_to(folder.resolve()):
        raise UsageError(f"The job's inputs lie in {root}; expected a folder inside {folder}.")
    with storage_errors(root, "read"):
        files = sorted(path for path in root.rglob("*") if path.is_file())
    relative = Path(inputs).as_posix()
    return [Entry(f"job/{relative}/{f.relative_to(root).as_posix()}", f) for f in files]


def engine_requirements(job: Job) -> tuple[str, ...]:
    """What pip installs there so that every target finds its engine."""
    names = {t.engine or _FIRST_ENGINE[Path(t.artifact).suffix] for t in job.targets}
    return tuple(ENGINE_REQUIREMENTS[name] for name in ENGINE_REQUIREMENTS if name in names)


def runtime_entries() -> tuple[Entry, ...]:
    """The package ``edgecell_runtime``, pure Python, as it is installed here."""
    root = Path(edgecell_runtime.__file__).parent
    files = sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)
    entries = [Entry(f"runtime/{root.name}/{f.relative_to(root).as_posix()}", f) for f in files]
    try:
        version = metadata.version("edgecell")
    except metadata.PackageNotFoundError:
        return tuple(entries)
    about = f"Metadata-Version: 2.1\nName: edgecell\nVersion: {version}\n".encode()
    name = f"runtime/edgecell-{version}.dist-info/METADATA"  # the result names the version
    return (*entries, Entry(name, about))


def wheel_entries(wheelhouse: Path, machine: str) -> tuple[Entry, ...]:
    """The wheels of a folder that a kind of machine may take.

    Raises:
        UsageError: There is none.
    """
    wheels = [
        Entry(f"wheels/{path.name}", path)
        for path in sorted(wheelhouse.glob("*.whl"))
        if path.stem.endswith(("-any", f"_{machine}"))
    ]
    if not wheels:
        raise UsageError(
            f"The wheelhouse {wheelhouse} has no wheel for {machine}. Fill it where there is a "
            f"network: {download_command(machine, '3.11', 'glibc', BASE_REQUIREMENTS)}"
        )
    return tuple(wheels)


def download_command(
    machine: str, version: str, libc: str, requirements: Iterable[str], folder: str = "wheels"
) -> str:
    """The command that fills a wheelhouse for another kind of machine.

    Args:
        machine: As wheels name it, such as ``aarch64``.
        version: Of its Python.
        libc: ``glibc`` or ``musl``.
        requirements: What pip is to fetch.
        folder: The wheelhouse.
    """
    tags = ("musllinux_1_2",) if libc == "musl" else _GLIBC_TAGS
    platforms = " ".join(f"--platform {tag}_{machine}" for tag in tags)
    short = ".".join(version.split(".")[:2])
    names = " ".join(f"'{requirement}'" for requirement in requirements)
    return (
        f"pip download --only-binary :all: --python-version {short} {platforms} -d {folder} {names}"
    )


def total_size(entries: Iterable[Entry]) -> int:
    """Bytes that files take when they are unpacked, in whole blocks."""
    return sum(-(-entry.size // _DISK_BLOCK) * _DISK_BLOCK for entry in entries)


def write_archive(entries: Iterable[Entry], stream: IO[bytes]) -> None:
    """Writes files as a tar archive into a stream that cannot go back.

    Raises:
        StorageError: One of them could not be read.
        BrokenPipeError: Nobody reads the stream any more.
    """
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.mode = 0o600
            if isinstance(entry.source, bytes):
                info.size = len(entry.source)
                archive.addfile(info, io.BytesIO(entry.source))
                continue
            with entry.source.open("rb") as file:
                info.size = os.fstat(file.fileno()).st_size
                archive.addfile(info, file)
