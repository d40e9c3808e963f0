import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgecell import download as download_module
from edgecell.commands import data
from edgecell.data_sets import DATA_SETS, Download
from edgecell.download import RetryPolicy, fetch
from edgecell_runtime.errors import DownloadError, EdgecellError, StorageError, UsageError

BODY = bytes(hashlib.shake_256(b"a small archive").digest(300_000))
HALF = len(BODY) // 2
AT_ONCE = RetryPolicy(delays_s=(0.0, 0.0))
"""Three attempts, no waiting."""


@dataclass
class Server:
    """What the local server serves, and what it was asked for and sent."""

    body: bytes = BODY
    status: int = 200
    cut_after: list[int] = field(default_factory=list)
    """How many bytes each answer sends before the line breaks; whole once the list is empty."""
    ranges: bool = True
    endless: bool = False
    etags: list[str] = field(default_factory=list)
    """The ETag of each answer; the last one stays."""
    heeds_if_range: bool = True
    location: str | None = None
    content_range: str | None = None
    url: str = ""
    requests: list[tuple[str | None, str | None]] = field(default_factory=list)
    """The Range and If-Range headers of each request."""
    sent_bytes: list[int] = field(default_factory=list)
    """The length of each body; an endless one repeats it."""


class Handler(BaseHTTPRequestHandler):
    timeout = 10
    scenario: Server

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        scenario = self.scenario
        wanted, condition = self.headers["Range"], self.headers["If-Range"]
        scenario.requests.append((wanted, condition))
        etag = scenario.etags[0] if scenario.etags else None
        if len(scenario.etags) > 1:
            scenario.etags.pop(0)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        changed = scenario.heeds_if_range and condition not in (None, etag)
        if not scenario.ranges or changed:
            start = 0
        size = len(scenario.body)
        if start and start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.end_headers()
            return
        self.send_response(206 if start and scenario.status == 200 else scenario.status)
        if etag is not None:
            self.send_header("ETag", etag)
        if scenario.location is not None:
            self.send_header("Location", scenario.location)
        if start:
            span = scenario.content_range or f"bytes {start}-{size - 1}/{size}"
            self.send_header("Content-Range", span)
        if not scenario.endless:
            self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.send_body(scenario.body[start:])

    def send_body(self, rest: bytes) -> None:
        if self.scenario.cut_after:
            rest = rest[: self.scenario.cut_after.pop(0)]
        # Noted first: once the client has the last byte, nothing waits for this thread.
        self.scenario.sent_bytes.append(len(rest))
        with contextlib.suppress(OSError):  # the client has hung up
            for _ in range(1000 if self.scenario.endless else 1):
                self.wfile.write(rest)


@contextlib.contextmanager
def serving(scenario: Server) -> Iterator[Server]:
    handler = type("ScenarioHandler", (Handler,), {"scenario": scenario})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = False  # so that closing waits for them
        scenario.url = f"http://127.0.0.1:{http.server_port}/cells.zip"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield scenario
        finally:
            http.shutdown()
            thread.join(10)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with serving(Server()) as scenario:
        yield scenario


@pytest.fixture
def wanted(server: Server) -> Download:
    return Download(server.url, "cells.zip", len(BODY), hashlib.sha256(BODY).hexdigest())


def ignore(_here: int, _total: int | None) -> None: ...


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_fetch_writes_the_whole_file_into_a_new_folder(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    path = fetch(wanted, tmp_path / "new" / "folder", ignore, AT_ONCE)
    assert path == tmp_path / "new" / "folder" / "cells.zip"
    assert path.read_bytes() == BODY
    assert names(path.parent) == ["cells.zip"]
    assert server.requests == [(None, None)]


def test_fetch_reports_growing_progress_up_to_the_total(wanted: Download, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    fetch(wanted, tmp_path, lambda here, total: seen.append((here, total)), AT_ONCE)
    assert seen[0] == (0, len(BODY))
    assert seen[-1] == (len(BODY), len(BODY))
    assert seen == sorted(seen)
    assert len(seen) > 2


def test_fetch_resumes_within_one_call_when_the_line_is_cut(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.cut_after, server.etags = [HALF], ['"v1"']
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.requests == [(None, None), (f"bytes={HALF}-", '"v1"')]
    assert server.sent_bytes == [HALF, len(BODY) - HALF]


def test_fetch_keeps_the_part_when_every_attempt_is_cut_and_the_next_call_resumes(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.cut_after = [1000, 500, 250]
    with pytest.raises(DownloadError, match=r"after 3 attempts.*running the command again resumes"):
        fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert names(tmp_path) == ["cells.zip.part"]
    assert (tmp_path / "cells.zip.part").read_bytes() == BODY[:1750]
    server.sent_bytes.clear()
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.sent_bytes == [len(BODY) - 1750]
    assert names(tmp_path) == ["cells.zip"]


def test_fetch_starts_over_when_the_server_knows_no_ranges(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.cut_after, server.ranges = [HALF], False
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.sent_bytes == [HALF, len(BODY)]


def test_fetch_starts_over_when_the_file_changes_between_attempts(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.cut_after, server.etags = [HALF], ['"v1"', '"v2"']
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.sent_bytes == [HALF, len(BODY)]


def test_fetch_starts_over_when_the_server_ignores_that_the_file_has_changed(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.cut_after, server.etags, server.heeds_if_range = [HALF], ['"v1"', '"v2"'], False
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.requests[2:] == [(None, None)]


def test_fetch_does_not_trust_a_weak_etag(wanted: Download, server: Server, tmp_path: Path) -> None:
    server.cut_after, server.etags = [HALF], ['W/"v1"']
    fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert server.requests[1] == (f"bytes={HALF}-", None)


@pytest.mark.parametrize("span", ["bytes 7-9/300000", "nonsense", "bytes 150000-9/12"])
def test_fetch_starts_over_when_the_server_sends_another_range(
    span: str, wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.cut_after, server.content_range = [HALF], span
    wanted = replace(wanted, size_bytes=None)
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert [range_ for range_, _ in server.requests] == [None, f"bytes={HALF}-", None]


def test_fetch_asks_nothing_when_the_part_is_already_complete(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "cells.zip.part").write_bytes(BODY)
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.requests == []


@pytest.mark.parametrize("part", [BODY, BODY + b"more"])
def test_fetch_understands_416_when_the_size_is_unknown(
    part: bytes, wanted: Download, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "cells.zip.part").write_bytes(part)
    path = fetch(replace(wanted, size_bytes=None), tmp_path, ignore, AT_ONCE)
    assert path.read_bytes() == BODY
    assert len(server.requests) == (1 if part == BODY else 2)


def test_fetch_discards_a_part_that_is_longer_than_the_file(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "cells.zip.part").write_bytes(BODY + b"more")
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.requests == [(None, None)]


def test_fetch_leaves_nothing_when_the_hash_is_wrong(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.body = BODY[:-1] + b"?"
    found = hashlib.sha256(server.body).hexdigest()
    with pytest.raises(DownloadError, match=f"{found}, expected {wanted.sha256}.*--sha256"):
        fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert names(tmp_path) == []


def test_fetch_says_that_an_old_part_may_be_to_blame_when_the_hash_is_wrong(
    wanted: Download, tmp_path: Path
) -> None:
    (tmp_path / "cells.zip.part").write_bytes(b"older version")
    with pytest.raises(DownloadError, match="first 13 bytes came from an earlier call"):
        fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY


def test_fetch_refuses_a_file_of_another_size_before_it_is_sent(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.body = BODY + b"more"
    with pytest.raises(DownloadError, match="has 300,004 bytes, expected 300,000"):
        fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert names(tmp_path) == []
    assert len(server.requests) == 1


def test_fetch_never_writes_beyond_the_size_when_the_server_sends_endlessly(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.body, server.endless = b"?" * 100_000, True
    seen: list[int] = []
    with pytest.raises(DownloadError, match="is not the file that was expected"):
        fetch(wanted, tmp_path, lambda here, _total: seen.append(here), AT_ONCE)
    assert max(seen) == len(BODY)
    assert seen.count(len(BODY)) == 1, "it went on reading"
    assert names(tmp_path) == []


def test_fetch_refuses_a_server_that_gives_no_size_when_none_is_known(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.endless = True
    with pytest.raises(DownloadError, match="does not say how large"):
        fetch(replace(wanted, size_bytes=None), tmp_path, ignore, AT_ONCE)
    assert names(tmp_path) == []


def test_fetch_downloads_nothing_when_the_file_is_already_there(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "cells.zip").write_bytes(BODY)
    assert fetch(wanted, tmp_path, ignore, AT_ONCE) == tmp_path / "cells.zip"
    assert server.requests == []


def test_fetch_leaves_a_different_file_of_that_name_alone(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "cells.zip").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="left as it is"):
        fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert (tmp_path / "cells.zip").read_bytes() == b"mine"
    assert server.requests == []


@pytest.mark.parametrize(("status", "attempts"), [(404, 1), (403, 1), (302, 1), (503, 3), (429, 3)])
def test_fetch_repeats_only_what_may_pass(
    status: int, attempts: int, wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.status = status
    with pytest.raises(DownloadError, match=f"answered {status}"):
        fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert len(server.requests) == attempts
    assert names(tmp_path) == []


def test_fetch_says_so_when_the_connection_is_refused(wanted: Download, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        port = closed.server_port
    with pytest.raises(DownloadError, match=r"after 3 attempts.*refused.*Nothing arrived"):
        fetch(replace(wanted, url=f"http://127.0.0.1:{port}/"), tmp_path, ignore, AT_ONCE)
    assert names(tmp_path) == []


def test_fetch_gives_up_at_once_when_the_host_cannot_be_looked_up(
    wanted: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(download_module, "sleep", lambda _: pytest.fail("it waited"))
    with pytest.raises(DownloadError, match=r"cannot be reached.*Check the connection"):
        fetch(replace(wanted, url="http://somewhere.invalid/"), tmp_path, ignore, AT_ONCE)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "cells.zip", "http://", "http://[::1"])
def test_fetch_refuses_an_address_that_is_none(url: str, wanted: Download, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a usable address"):
        fetch(replace(wanted, url=url), tmp_path, ignore, AT_ONCE)


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "/again", "http://..x/"])
def test_fetch_gives_up_at_once_when_it_is_led_astray(
    location: str, wanted: Download, server: Server, tmp_path: Path
) -> None:
    server.status, server.location = 302, location
    with pytest.raises(DownloadError, match="Check the address"):
        fetch(wanted, tmp_path, ignore, AT_ONCE)
    assert names(tmp_path) == []


def test_fetch_follows_a_redirect(wanted: Download, server: Server, tmp_path: Path) -> None:
    moved = Server(status=302, location=server.url)
    with serving(moved):
        path = fetch(replace(wanted, url=moved.url), tmp_path, ignore, AT_ONCE)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "SSL_CERT_FILE"])
def test_fetch_says_so_when_the_environment_is_wrong(
    variable: str, wanted: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "nowhere://[::")
    with pytest.raises(EdgecellError, match=variable):
        fetch(wanted, tmp_path, ignore, AT_ONCE)


def test_fetch_keeps_the_part_when_interrupted(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    def interrupt(here: int, _total: int | None) -> None:
        if here >= HALF:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(wanted, tmp_path, interrupt, AT_ONCE)
    kept = (tmp_path / "cells.zip.part").read_bytes()
    assert len(kept) >= HALF
    assert kept == BODY[: len(kept)]
    assert fetch(wanted, tmp_path, ignore, AT_ONCE).read_bytes() == BODY
    assert server.requests[1][0] == f"bytes={len(kept)}-"


def test_fetch_asks_nothing_when_the_disk_is_too_small(
    wanted: Download, server: Server, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="too little space"):
        fetch(replace(wanted, size_bytes=10**17), tmp_path, ignore, AT_ONCE)
    assert server.requests == []


def test_fetch_raises_a_storage_error_when_the_folder_cannot_be_made(
    wanted: Download, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(StorageError, match="taken"):
        fetch(wanted, tmp_path / "taken", ignore, AT_ONCE)


def test_malaria_is_the_complete_public_set() -> None:
    malaria = DATA_SETS["malaria"]
    assert malaria.url == "https://data.lhncbc.nlm.nih.gov/public/Malaria/cell_images.zip"
    assert malaria.size_bytes == 353_452_851
    assert malaria.sha256.startswith("0a949556b2414159")


@pytest.fixture
def registered(wanted: Download, monkeypatch: pytest.MonkeyPatch) -> Download:
    monkeypatch.setitem(DATA_SETS, "malaria", wanted)
    return wanted


def test_data_download_says_what_to_run_next(registered: Download, tmp_path: Path) -> None:
    result = CliRunner().invoke(data.app, ["download", "malaria", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f"edgecell train --data {tmp_path / 'cells.zip'}" in result.stdout
    assert (tmp_path / "cells.zip").read_bytes() == BODY


def test_data_download_prints_one_json_document(registered: Download, tmp_path: Path) -> None:
    arguments = ["download", "malaria", "--out", str(tmp_path), "--json"]
    documents = [json.loads(CliRunner().invoke(data.app, arguments).stdout) for _ in range(2)]
    expected = {
        "path": str(tmp_path / "cells.zip"),
        "sha256": registered.sha256,
        "bytes": len(BODY),
    }
    assert documents == [expected | {"downloaded": True}, expected | {"downloaded": False}]


def test_data_download_says_when_the_file_is_already_there(
    registered: Download, tmp_path: Path
) -> None:
    (tmp_path / "cells.zip").write_bytes(BODY)
    result = CliRunner().invoke(data.app, ["download", "malaria", "--out", str(tmp_path)])
    assert "nothing was downloaded" in result.stdout


def test_data_download_takes_a_changed_file_by_its_hash_from_a_mirror(
    registered: Download, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = BODY + b"a new version"
    dead = replace(registered, url="http://127.0.0.1:1/")
    monkeypatch.setitem(DATA_SETS, "malaria", dead)
    sha256 = hashlib.sha256(server.body).hexdigest().upper()
    arguments = ["download", "malaria", "--out", str(tmp_path), "--sha256", sha256]
    result = CliRunner().invoke(data.app, [*arguments, "--url", server.url])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "cells.zip").read_bytes() == server.body


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["malariae"], "The known ones are: malaria"),
        (["malaria", "--sha256", "0a94"], "64 hexadecimal digits"),
        (["malaria", "--url", "cells.zip"], "not a usable address"),
    ],
)
def test_data_download_refuses_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(data.app, ["download", *arguments, "--out", str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert names(tmp_path) == []
