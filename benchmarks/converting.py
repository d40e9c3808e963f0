"""Runs conversions in processes of their own, and remembers what each of them took."""

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from peer import Peer
from peer_conversions import PEERS
from process_memory import tree_memory_bytes

import edgecell_export
from edgecell import console
from edgecell_runtime import codec
from edgecell_runtime.errors import ManifestError
from edgecell_runtime.files import write_text
from edgecell_train.runs import Run

_HERE = Path(__file__).parent
_LIMIT_S: Final = 1800
_LOOK_S: Final = 0.1


@dataclass(frozen=True)
class Cost:
    """What a process took.

    Attributes:
        seconds: From its start to its end, the interpreter's start and all imports included.
        peak_memory_bytes: The most that it held, by its own ``VmHWM``; where it starts processes,
            the most that all together were seen to hold, if that is more. None where the kernel
            does not say.
    """

    seconds: float
    peak_memory_bytes: int | None

    def after(self, other: "Cost") -> "Cost":
        """The cost of two processes, one after the other."""
        peaks = [one.peak_memory_bytes for one in (self, other) if one.peak_memory_bytes]
        return Cost(self.seconds + other.seconds, max(peaks, default=None))


@dataclass(frozen=True)
class Outcome:
    """How a conversion ended.

    Attributes:
        cost: Of it and of those that it starts from; None where there is no file.
        failure: Why there is no file; empty where there is one.
    """

    cost: Cost | None = None
    failure: str = ""


@dataclass(frozen=True)
class _Remembered:
    """Beside a converted file: its cost, and what it was made from."""

    cost: Cost
    made_from: str


def run_child(script: str, arguments: Sequence[str]) -> Outcome:
    """Runs a script of this folder whose last line of output is its peak memory in bytes."""
    command = [sys.executable, str(_HERE / script), *arguments]
    began = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdout=out, stderr=messages)
        try:
            peak = _watch(process)
        finally:
            process.kill()  # does nothing to one that ended
            status = process.wait()
        seconds = time.monotonic() - began
        printed, said = _last_line(out), _last_line(messages)
    if status:
        late = f" after {seconds:.0f} s" if seconds > _LIMIT_S else ""
        return Outcome(failure=f"exit status {status}{late}: {said or printed}")
    return Outcome(Cost(seconds, max(peak, int(printed)) or None))


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Waits for the end or the time limit; gives the most memory that was seen, in bytes."""
    peak = 0
    for _ in range(round(_LIMIT_S / _LOOK_S)):
        try:
            process.wait(_LOOK_S)
            break
        except subprocess.TimeoutExpired:
            peak = max(peak, tree_memory_bytes(process.pid))
    return peak


def _last_line(file: IO[bytes]) -> str:
    file.seek(0)
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


class Conversions:
    """Converts each peer once; a file that is there from an earlier call is taken as it is.

    It is not taken where the weights, the calibration images, a tool's version or the code changed.

    Args:
        run: With the trained model.
        data: Where its images are now, if elsewhere.
        work: The folder for the files; ``calibration`` in it has the images.
        tools: Versions of the libraries.
        fresh: Convert again what is there.
    """

    def __init__(
        self, run: Run, data: Path | None, work: Path, tools: Mapping[str, str], *, fresh: bool
    ) -> None:
        self._run, self._data, self._work, self._fresh = run, data, work, fresh
        self._outcomes: dict[str, Outcome] = {}
        words = f"{run.record.weights_sha256} {sorted(tools.items())}"
        self._words = words.encode()

    def outcome(self, peer: Peer) -> Outcome:
        """Converts a peer, and before it what it starts from."""
        if peer.file not in self._outcomes:
            self._outcomes[peer.file] = self._convert(peer)
        return self._outcomes[peer.file]

    def _convert(self, peer: Peer) -> Outcome:
        before = Cost(0.0, None)
        if peer.base:
            base = self.outcome(PEERS[peer.base])
            if base.cost is None:
                return Outcome(failure=f"{peer.base} is missing: {base.failure}")
            before = base.cost
        record = self._work / f"{peer.file}.json"
        cost = None if self._fresh else self._remembered(peer, record)
        if cost is None:
            console.say(f"Converting: {peer.file} ({peer.tool}) ...")
            for path in (record, self._work / peer.file):  # neither outlives a failure
                path.unlink(missing_ok=True)
            data = "" if self._data is None else str(self._data)
            done = run_child(
                "convert_one.py", [peer.file, str(self._run.folder), data, str(self._work)]
            )
            if done.cost is None:
                return done
            cost = done.cost
            made_from = self._made_from(peer)
            write_text(record, codec.dumps(_Remembered(cost, made_from), indent=2))
        return Outcome(cost.after(before))

    def _remembered(self, peer: Peer, record: Path) -> Cost | None:
        if not (self._work / peer.file).is_file() or not record.is_file():
            return None
        try:
            found = codec.loads(_Remembered, record.read_bytes(), record.name)
        except ManifestError:
            return None
        return found.cost if found.made_from == self._made_from(peer) else None

    def _made_from(self, peer: Peer) -> str:
        """A hash of everything that decides what comes out."""
        paths = [self._work / "calibration", _HERE / "peer_conversions.py", _HERE / "stock.py"]
        if peer.of_edgecell:
            paths += sorted(Path(edgecell_export.__path__[0]).rglob("*.py"))
        digest = hashlib.sha256(self._words)
        for path in paths:
            digest.update(path.read_bytes())
        return digest.hexdigest()
