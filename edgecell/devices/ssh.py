"""A device that is reached by the system's OpenSSH: ``ssh://user@host[:port]``."""

import contextlib
import hashlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from edgecell.devices import payload
from edgecell.devices.address import parse_address
from edgecell.devices.base import (
    ANSWERS_FILE,
    RESULT_FILE,
    DeviceError,
    DeviceSettings,
    Errand,
    Manners,
)
from edgecell.devices.payload import Entry, PortableJob
from edgecell.devices.ssh_calls import (
    MARK,
    There,
    after_mark,
    begin_command,
    check_python,
    failure,
    lines_of,
    parse,
    program,
    progress_words,
    read_result,
)
from edgecell.devices.ssh_connection import ConnectionLostError, Feed, SshConnection
from edgecell.devices.ssh_feeds import feed_beats, feed_bytes, feed_files
from edgecell_runtime import codec
from edgecell_runtime.errors import EdgecellError, UsageError
from edgecell_runtime.files import write_bytes
from edgecell_runtime.printable import printable_name

_RETRY_SECONDS: Final = 2.0
_MOST_BYTES: Final = 1 << 30
"""Of a result; a device that says more is not believed."""

T = TypeVar("T")


class SshDevice:
    """A Linux machine with Python and an SSH server."""

    def __init__(self, settings: DeviceSettings, manners: Manners) -> None:
        self._settings, self._manners = settings, manners
        self._address = parse_address(settings.url)
        self._line: SshConnection | None = None
        if settings.venv and (settings.wheelhouse or settings.python):
            raise UsageError(
                f"{settings.name} names a virtual environment, which is used as it is, and what "
                "makes one (a Python or a wheelhouse); leave one of them out."
            )
        wheelhouse = settings.wheelhouse
        if wheelhouse is not None and not any(wheelhouse.glob("*.whl")):
            raise UsageError(
                f"The wheelhouse {wheelhouse} holds no wheels; expected a folder with .whl files, "
                "as pip download makes one."
            )

    @property
    def name(self) -> str:
        """What people call it."""
        return self._settings.name

    @property
    def place(self) -> str:
        """Where it is; another configuration may mean another host by the same name."""
        return f"{self._address.url} {self._settings.ssh_config or ''}"

    def check(self, job: Path) -> None:
        """Refuses a job that may not, or cannot, go there."""
        payload.check_images(payload.read_job(job), allowed=self._manners.send_images)
        payload.portable(job)

    def run(self, errand: Errand) -> None:
        """See ``Device``."""
        self.check(errand.job)
        portable = payload.portable(errand.job)
        settings = self._settings
        with SshConnection(self._address, self._manners, errand, settings.ssh_config) as line:
            self._line = line
            _Visit(settings, self._manners, errand, line).run(portable)

    def abandon(self) -> None:
        """See ``Device``."""
        if self._line is not None:
            self._line.abandon()


class _Visit:
    """One benchmark on a device, from the first call to the last."""

    def __init__(
        self, settings: DeviceSettings, manners: Manners, errand: Errand, line: SshConnection
    ) -> None:
        self._settings, self._manners = settings, manners
        self._errand, self._line = errand, line
        self._name = f"edgecell-{secrets.token_hex(6)}"
        self._there: There | None = None
        self._offset = 0
        self._engines: tuple[str, ...] = ()

    def run(self, portable: PortableJob) -> None:
        say = self._say
        try:
            self._engines = payload.engine_requirements(portable.job)
            there = self._there = self._steadily(self._begin)
            entries = self._entries(portable, there)
            size = payload.total_size(entries)
            say(f"copying {size / 1e6:,.1f} MB ...")
            self._steadily(
                lambda: self._ask(there.command("receive", str(size)), feed_files(entries))
            )
            self._steadily(lambda: self._ask(there.command("go")))
            self._steadily(lambda: self._follow(there))
            result = self._steadily(lambda: self._fetch(there, RESULT_FILE))
            self._keep_result(portable, result)
            with contextlib.suppress(FileNotFoundError):
                answers = self._steadily(lambda: self._fetch(there, ANSWERS_FILE))
                write_bytes(self._errand.out / ANSWERS_FILE, answers)
        finally:
            self._finish()

    def _say(self, words: str) -> None:
        self._errand.say(printable_name(words))  # the device may have said some of them

    def _steadily(self, step: Callable[[], T]) -> T:
        """Does a step, again where the connection broke: each may be done twice.

        Raises:
            DeviceError: The connection did not come back in time.
        """
        lost_since: float | None = None
        while True:
            try:
                return step()
            except ConnectionLostError as error:
                if not self._line.was_reached:
                    raise
                now = time.monotonic()
                lost_since = now if lost_since is None else lost_since
                if now - lost_since > self._manners.lost_seconds:
                    raise DeviceError(self._lost(error)) from error
                if now == lost_since:
                    self._say("the connection was lost; connecting again ...")
                self._errand.stopped.wait(_RETRY_SECONDS)

    def _lost(self, error: EdgecellError) -> str:
        folder = self._there.folder if self._there else "its folder"
        left = (
            f"it stops by itself, and keeps {folder}"
            if self._manners.keep
            else f"it stops and removes {folder} by itself"
        )
        return (
            f"The connection to {self._settings.name} was lost and did not come back within "
            f"{self._manners.lost_seconds:.0f} s; what it measured is lost, and {left} "
            f"after {self._manners.lease_seconds / 60:.0f} minutes. {error}"
        )

    def _begin(self) -> There:
        manners, settings = self._manners, self._settings
        keep = "keep" if manners.keep else "remove"
        command = begin_command(settings, self._name, manners.lease_seconds, keep)
        source = program("agent.py")
        before = bytearray()
        with self._called(command, feed_bytes(source), before) as chunks:
            line = next(lines_of(chunks), None)
        check_python(bytes(before), settings)
        answer = self._checked(line)
        words = {key: str(answer.get(key)) for key in ("folder", "python", "version")}
        return There(**words, machine=str(answer.get("machine")), libc=str(answer.get("libc")))

    @contextlib.contextmanager
    def _called(
        self, command: str, feed: Feed | None = None, before: bytearray | None = None
    ) -> Iterator[Iterator[bytes]]:
        """What a call answers; what stands before that is put into ``before``."""
        with contextlib.closing(self._line.call(command, feed)) as chunks:
            yield after_mark(chunks, bytearray() if before is None else before)

    def _ask(self, command: str, feed: Feed | None = None) -> Mapping[str, codec.Json]:
        """A call that answers with one line."""
        with self._called(command, feed) as chunks:
            lines = list(lines_of(chunks))
        return self._checked(lines[0] if lines else None)

    def _checked(self, line: bytes | None) -> Mapping[str, codec.Json]:
        if line is None:
            raise DeviceError(
                f"{self._settings.name} did not answer as expected: its login shell may not run "
                "commands. It has to be a Linux machine whose shell does; try it by hand: "
                f"{parse_address(self._settings.url).by_hand} true"
            )
        answer = parse(line, f"the answer of {self._settings.name}")
        if "error" in answer:
            raise self._failure(answer, "error")
        return answer

    def _failure(self, answer: Mapping[str, codec.Json], key: str) -> DeviceError:
        words = str(answer.get("words", ""))
        return failure(str(answer[key]), words, self._settings, self._there, self._engines)

    def _entries(self, portable: PortableJob, there: There) -> list[Entry]:
        settings = self._settings
        wheels = settings.wheelhouse
        task = {
            "venv": f"{settings.venv}/bin/python" if settings.venv else "",
            "base": payload.BASE_REQUIREMENTS,
            "engines": self._engines,
            "wheelhouse": wheels is not None,
        }
        return [
            Entry("work.py", program("work.py")),
            Entry("work.json", codec.dumps(task).encode()),
            *payload.runtime_entries(),
            *portable.files,
            *(payload.wheel_entries(wheels, there.machine) if wheels is not None else ()),
        ]

    def _follow(self, there: There) -> None:
        """Passes on what happens there until it ended, from where it was left."""
        command = there.command("follow", str(self._offset))
        with self._called(command, feed_beats) as chunks:
            lines = lines_of(chunks)
            self._checked(next(lines, None))
            for line in lines:
                if line in (b"", MARK.strip()):  # the program there failed: its answer follows
                    continue
                event = parse(line, f"an event of {self._settings.name}")
                self._offset += len(line) + 1
                if event.get("end") == "done":
                    return
                if "error" in event:
                    raise self._failure(event, "error")
                if "end" in event:
                    raise self._failure(event, "end")
                self._tell(event)
        raise ConnectionLostError(f"{self._settings.name} stopped talking.")

    def _tell(self, event: Mapping[str, codec.Json]) -> None:
        if "lacking" in event:
            self._say(f"there is no wheel of {event['lacking']} for it; what needs it is left out")
        elif "stage" in event:
            self._say(f"{event['stage']} ...")
        elif "progress" in event:
            self._say(progress_words(str(event["progress"])))

    def _fetch(self, there: There, name: str) -> bytes:
        """One file of the results, whole.

        Raises:
            FileNotFoundError: There is none of that name.
            DeviceError: It did not arrive as it was sent.
        """
        data = bytearray()
        with self._called(there.command("fetch", name)) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > _MOST_BYTES:
                    raise DeviceError(f"{self._settings.name} sends a {name} without an end.")
        line, _, body = bytes(data).partition(b"\n")
        if b'"gone"' in line:
            if name == ANSWERS_FILE:
                raise FileNotFoundError(name)
            words = f"it wrote no {name}"
            raise failure("bench_failed", words, self._settings, there)
        answer = self._checked(line)
        if answer.get("sha256") != hashlib.sha256(body).hexdigest():
            raise ConnectionLostError(f"{name} did not arrive whole.")
        return body

    def _keep_result(self, portable: PortableJob, data: bytes) -> None:
        found = read_result(data, self._settings.name)
        text = codec.dumps(portable.at_home(found), indent=2) + "\n"
        write_bytes(self._errand.out / RESULT_FILE, text.encode())

    def _finish(self) -> None:
        """Tidies up, also after Ctrl-C; the device does it alone where it is not reached."""
        if not self._line.was_reached:
            return
        with self._line.tidying():
            try:
                self._tidy_up()
            except (
                ConnectionLostError
            ):  # it may have been lost before, and this is the first to see
                with contextlib.suppress(EdgecellError):
                    self._tidy_up()
            except EdgecellError:
                if self._there is not None:
                    self._say(
                        f"could not tidy up: {self._there.folder} goes by itself after "
                        f"{self._manners.lease_seconds / 60:.0f} minutes"
                    )

    def _tidy_up(self) -> None:
        # Where beginning was interrupted, the folder may be there: beginning again finds it.
        there = self._there or self._begin()
        keep = "keep" if self._manners.keep else "remove"
        ended = self._ask(there.finish_command(keep), feed_bytes(program("agent.py")))
        if ended.get("left"):
            self._say(f"left there: {there.folder}")
