"""Converters run in a process of their own: an abort in one must not end the user's program."""

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.output_capture import TAIL, converter_output
from edgecell_runtime.errors import ConversionError, EdgecellError, UsageError
from edgecell_runtime.manifest import Format
from edgecell_runtime.measure import peak_memory_bytes

_GRACE_SECONDS = 2.0


@dataclass(frozen=True)
class Converted:
    """What a conversion took.

    Attributes:
        seconds: From the request being read to the file being written; with the import of
            TensorFlow, where it was the process's first.
        peak_memory_bytes: The most physical memory that the converting process held at once, up to
            the end of this conversion; None where the system does not say.
    """

    seconds: float
    peak_memory_bytes: int | None


class ConversionRunner(Protocol):
    """Where converters run."""

    def run(self, form: Format, conversion: Conversion, path: Path) -> Converted:
        """Writes a model, without a manifest yet.

        Args:
            form: Name of the format.
            conversion: What to convert.
            path: Of the file, or the folder of a SavedModel.

        Raises:
            ConversionError: The converter failed.
            OSError: The file could not be written.
        """


class ConvertHere:
    """Runs converters in this process, which an abort in one of them would end.

    For debugging, for tests, and inside the process that ``ConversionProcess`` starts.
    """

    def run(self, form: Format, conversion: Conversion, path: Path) -> Converted:
        """See ``ConversionRunner``."""
        converter = CONVERTERS[form]
        began = time.perf_counter()
        with converter_output() as output:
            try:
                converter.convert(conversion, path)
            except (EdgecellError, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - converters raise of every kind
                failure = error
            else:
                return Converted(time.perf_counter() - began, peak_memory_bytes())
        raise ConversionError(
            f"Converting to {form} failed: {failure!r}. {_printed(output[0])}"
        ) from failure


class ConversionProcess:
    """Runs converters in a child process, one conversion after another, for one thread.

    The child is started at once. It lives in a session of its own, so that Ctrl-C reaches only this
    process, and ends when this one closes it or dies.

    Args:
        warm: Whether the child imports TensorFlow at once, while this process does something else,
            and not only when a conversion needs it.

    Raises:
        ConversionError: There is no Python to start it with.
    """

    def __init__(self, *, warm: bool = False) -> None:
        self._warm = warm
        self._closed = False
        self._child: _Child | None = _Child(warm=warm)

    @property
    def pid(self) -> int | None:
        """The child's process id; None where it died, or was closed."""
        return None if self._child is None else self._child.process.pid

    def run(self, form: Format, conversion: Conversion, path: Path) -> Converted:
        """See ``ConversionRunner``.

        After the death of a child, which is a ``ConversionError``, the next call starts another.

        Raises:
            EdgecellError: The converter's own.
            ConversionError: It failed, or ended its process.
            OSError: The file could not be written.
            UsageError: ``close`` was called.
        """
        if self._closed:
            raise UsageError(
                "The process that converts was closed; make a new ConversionProcess or Exporter."
            )
        self._child = child = self._child or _Child(warm=self._warm)
        try:
            answer = child.ask((form, conversion, path.absolute()))
        except (EOFError, ConnectionError):
            raise _death(form, *self._end_child(_GRACE_SECONDS)) from None
        except BaseException:  # such as Ctrl-C: an answer to come would be taken for the next one's
            self._end_child(0)
            raise
        if isinstance(answer, Converted):
            return answer
        raise answer

    def close(self) -> None:
        """Ends the child; again is nothing."""
        self._closed = True
        self._end_child(_GRACE_SECONDS)

    def _end_child(self, grace_seconds: float) -> tuple[int, str]:
        child, self._child = self._child, None
        return (0, "") if child is None else child.end(grace_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Child:
    """One child: messages are pickles over a pipe; what it prints goes to a file."""

    def __init__(self, *, warm: bool) -> None:
        if not sys.executable:
            raise ConversionError(
                "This Python does not know its own program (sys.executable is empty), as when it "
                "is built into another one; expected it, to start the process that converts. Set "
                "sys.executable, or give Exporter a ConvertHere()."
            )
        # Files that a dead child did not remove go with this folder.
        self._folder = tempfile.TemporaryDirectory(prefix="edgecell-")
        self._output = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - until the child ends
        self._channel, theirs = Pipe()
        # -P: modules in the user's current folder must not stand in for the library's.
        # -u: what was printed before an abort is in the file.
        command = [sys.executable, "-P", "-u", "-m", "edgecell_export.conversion_child"]
        try:
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), *(["warm"] if warm else [])],
                env=os.environ | self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError as error:
            self._release()
            raise ConversionError(
                f"{sys.executable} could not be started to convert in: {error.strerror}."
            ) from error
        except BaseException:
            self._release()
            raise
        finally:
            theirs.close()

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": os.pathsep.join(os.path.abspath(part) for part in sys.path),  # noqa: PTH100
            "TMPDIR": self._folder.name,
            # The converters are TensorFlow's, whatever Keras trained with.
            "KERAS_BACKEND": "tensorflow",
            # Converters need no GPU, and this process may hold all of its memory.
            "CUDA_VISIBLE_DEVICES": "-1",
        }

    def ask(self, request: object) -> Any:
        """Sends a request and waits for the answer: a ``Converted``, or an exception.

        Raises:
            EOFError, ConnectionError: The child died.
        """
        self._channel.send_bytes(pickle.dumps(request, protocol=5))
        return pickle.loads(self._channel.recv_bytes())

    def end(self, grace_seconds: float) -> tuple[int, str]:
        """Ends the child, whatever it does.

        Returns:
            Its exit status, negative for a signal's number, and the end of what it printed.
        """
        self._channel.close()
        try:
            status = self.process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        except BaseException:  # Ctrl-C again
            self.process.kill()
            self.process.wait()
            raise
        finally:
            printed = self._tail()
            self._release()
        return status, printed

    def _tail(self) -> str:
        size = os.fstat(self._output.fileno()).st_size
        start = max(0, size - 4 * TAIL)  # a character is at most four bytes
        data = os.pread(self._output.fileno(), size - start, start)
        return data.decode(errors="replace")[-TAIL:].strip()

    def _release(self) -> None:
        self._channel.close()
        self._output.close()
        self._folder.cleanup()


def _death(form: str, status: int, printed: str) -> ConversionError:
    advice = (
        "Convert to another format or recipe, and report this with what was printed."
        if status != -signal.SIGKILL
        else "Linux does this to a process when memory runs out: free some, then export again."
    )
    return ConversionError(
        f"The process that converts to {form} {_ending(status)}; expected a converted model. "
        f"Nothing was written. {advice} {_printed(printed)}"
    )


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        return f"was ended by the signal {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal has no name
        return f"was ended by the signal {-status}"


def _printed(text: str) -> str:
    return f"It printed: {text}" if text else "It printed nothing."
