"""Public data sets fetched whole: resumed after a cut, named only once their hash is right.

What arrives is written to ``<name>.part``. The final name appears in one step, after the sha256 of
the whole file has been compared; so a file with that name is always the one that was asked for.
"""

import contextlib
import hashlib
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep

import httpx

from edgecell.data_sets import Download
from edgecell_runtime.errors import DownloadError, StorageError, UsageError

ProgressCallback = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes of the whole file, ``None`` while unknown."""

_TIMEOUT = httpx.Timeout(30.0, connect=15.0)
_WORTH_RETRYING = frozenset({408, 425, 429, 500, 502, 503, 504})

_HOPELESS = (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL, httpx.StreamError)


@dataclass(frozen=True)
class RetryPolicy:
    """How often a cut connection is taken up again within one call.

    Attributes:
        delays_s: The pause before each further attempt; there are as many as there are pauses.
    """

    delays_s: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)


_DEFAULT_RETRY = RetryPolicy()


def fetch(
    download: Download,
    folder: Path,
    progress: ProgressCallback,
    retry: RetryPolicy = _DEFAULT_RETRY,
) -> Path:
    """Brings one file into ``folder``, or finds that it is already there.

    A cut connection is taken up where it broke, a few times. When that does not help, and on
    Ctrl-C, ``<name>.part`` stays, and the next call goes on from it.

    Args:
        download: What to fetch.
        folder: Where it goes; created if missing.
        progress: Told how far it is. The count falls back when the server starts over.
        retry: The pauses between attempts.

    Returns:
        The path of the whole, checked file.

    Raises:
        UsageError: The address is none that can be fetched.
        DownloadError: It did not arrive whole, is another file than expected, or another file
            already has its name.
        StorageError: No space, no permission, or another failure of the disk.
    """
    _check_url(download.url)
    target = folder / download.file_name
    if is_present(download, folder):
        return target
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{download.file_name}.part"
    transfer = _Transfer(download, part, progress)
    from_earlier_bytes = transfer.size_here()
    transfer.run(retry)
    _check_hash(download, part, from_earlier_bytes)
    with _storing(part):
        part.replace(target)
    return target


def is_present(download: Download, folder: Path) -> bool:
    """Whether the file is already in ``folder``, whole and unchanged.

    Raises:
        DownloadError: Something else has its name.
        StorageError: What is there cannot be read.
    """
    target = folder / download.file_name
    with _storing(target):
        if not target.exists():
            return False
        found = _sha256(target) if target.is_file() else "none, because it is not a file"
    if found != download.sha256:
        raise DownloadError(
            f"{target} is already there and is not the file to be fetched: its sha256 is {found}, "
            f"expected {download.sha256}. It was left as it is: move it away or choose another "
            "folder with --out."
        )
    return True


class _CutError(Exception):
    """An attempt ended early; another one may help."""


class _Transfer:
    """The growing ``.part`` of one call, and what the server said about the file."""

    def __init__(self, download: Download, part: Path, progress: ProgressCallback) -> None:
        self._download = download
        self._part = part
        self._progress = progress
        # Kept in memory only: across calls the hash at the end is what guards against a mixture.
        self._etag: str | None = None
        self._reached = False

    def size_here(self) -> int:
        with _storing(self._part):
            return self._part.stat().st_size if self._part.exists() else 0

    def run(self, retry: RetryPolicy) -> None:
        """Attempts until the ``.part`` has the file's size."""
        size = self._download.size_bytes
        if size is not None:
            if self.size_here() > size:
                self._discard()
            self._check_space(size)
        if self.size_here() == size:
            return
        with _client() as client:
            for delay_s in (*retry.delays_s, None):
                try:
                    self._attempt(client)
                    break
                except _CutError as cut:
                    if delay_s is None:
                        raise self._given_up(cut, len(retry.delays_s) + 1) from cut
                    sleep(delay_s)

    def _attempt(self, client: httpx.Client) -> None:
        """One request, from where the ``.part`` ends."""
        offset = self.size_here()
        # Compressed on the way, a byte range would mean something else.
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if self._etag is not None:
                headers["If-Range"] = self._etag
        try:
            with client.stream("GET", self._download.url, headers=headers) as response:
                self._reached = True
                self._take(response, offset)
        except (*_HOPELESS, UnicodeError) as error:  # a host name that cannot be one
            raise self._refused(str(error).rstrip(".")) from error
        except httpx.ConnectError as error:
            if not self._reached and _is_unknown_host(error):
                raise DownloadError(
                    f"{self._download.url} cannot be reached: {error}. Check the connection and "
                    "the address, or give another one with --url. What had arrived before is kept."
                ) from error
            raise _CutError(str(error).rstrip(".") or type(error).__name__) from error
        except httpx.HTTPError as error:
            raise _CutError(str(error).rstrip(".") or type(error).__name__) from error

    def _take(self, response: httpx.Response, offset: int) -> None:
        """Decides by the status what the answer's bytes are."""
        status = f"{response.status_code} {response.reason_phrase}".strip()
        content_range = response.headers.get("Content-Range", "")
        if response.status_code == 200:
            # Also the answer of a server that knows no ranges: start over.
            self._etag = _strong_etag(response)
            self._receive(response, 0, self._total(response.headers.get("Content-Length", "")))
        elif response.status_code == 206 and offset:
            span = re.fullmatch(r"bytes (\d{1,18})-\d+/(\S+)", content_range)
            etag = _strong_etag(response)
            changed = self._etag is not None and etag is not None and etag != self._etag
            if span is None or int(span[1]) != offset or changed:
                self._discard()
                raise _CutError("the server sent another part of the file than the one asked for")
            self._receive(response, offset, self._total(span[2]))
        elif response.status_code == 416 and offset:
            span = re.fullmatch(r"bytes \*/(\d{1,18})", content_range)
            if span is not None and self._total(span[1]) == offset:
                return
            self._discard()
            raise _CutError(f"the server has nothing beyond the first {offset:,} bytes")
        elif response.status_code in _WORTH_RETRYING:
            raise _CutError(f"the server answered {status}")
        else:
            raise self._refused(f"the server answered {status}")

    def _total(self, announced: str) -> int:
        """The file's size, on which the registry and the server must agree."""
        expected = self._download.size_bytes
        total = int(announced) if re.fullmatch(r"\d{1,18}", announced) else expected
        if total is None:
            raise self._refused("the server does not say how large the file is")
        if expected is not None and total != expected:
            raise DownloadError(
                f"{self._download.url} is another file than expected: it has {total:,} bytes, "
                f"expected {expected:,}. Use another address with --url, or, if the publisher "
                "changed the file, give its new hash with --sha256."
            )
        return total

    def _receive(self, response: httpx.Response, start: int, total: int) -> None:
        """Appends to the ``.part`` (or starts it over) until ``total``, and never beyond."""
        if start > total:
            self._discard()
            raise _CutError(f"the file has {total:,} bytes, and {start:,} were already here")
        self._check_space(total)
        here = start
        self._progress(here, total)
        with _storing(self._part), self._part.open("ab" if start else "wb") as file:
            for chunk in response.iter_raw():
                here += file.write(chunk[: total - here])
                self._progress(here, total)
                if here == total:
                    return
        if here < total:
            raise _CutError(f"the connection ended after {here:,} of {total:,} bytes")

    def _check_space(self, total: int) -> None:
        missing = total - self.size_here()
        with _storing(self._part):
            free = shutil.disk_usage(self._part.parent).free
        if missing > free:
            raise StorageError(
                f"There is too little space in {self._part.parent}: {missing:,} bytes are still "
                f"to come, {free:,} are free. Make room or choose another folder with --out, then "
                "run the command again."
            )

    def _discard(self) -> None:
        with _storing(self._part):
            self._part.unlink(missing_ok=True)
        self._etag = None

    def _refused(self, reason: str) -> DownloadError:
        return DownloadError(
            f"{self._download.url} could not be downloaded: {reason}; expected the file "
            f"{self._download.file_name}. Check the address, or give another one with --url."
        )

    def _given_up(self, cut: _CutError, attempts: int) -> DownloadError:
        here = self.size_here()
        kept = (
            f"The first {here:,} bytes are kept in {self._part}, and running the command again "
            "resumes there."
            if here
            else "Nothing arrived; try again later, or give another address with --url."
        )
        return DownloadError(
            f"{self._download.url} did not arrive whole after {attempts} attempts: {cut}. Check "
            f"the connection. {kept}"
        )


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
        fetchable = parsed.scheme in {"http", "https"} and parsed.host != ""
    except (httpx.InvalidURL, UnicodeError) as error:
        raise UsageError(f"{url!r} is not a usable address: {error}.") from error
    if not fetchable:
        raise UsageError(f"{url!r} is not a usable address: expected https://... or http://...")


def _client() -> httpx.Client:
    try:
        return httpx.Client(timeout=_TIMEOUT, follow_redirects=True)
    except (httpx.InvalidURL, OSError, ValueError, ImportError) as error:
        # Proxies and certificates are taken from the environment.
        raise DownloadError(
            f"No connection can be made with the proxy or certificates that the environment names: "
            f"{error}. Check HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR."
        ) from error


def _is_unknown_host(error: BaseException | None) -> bool:
    """Whether a name could not be looked up, which is how a machine without a network fails."""
    while error is not None and not isinstance(error, socket.gaierror):
        error = error.__cause__ or error.__context__
    return error is not None


def _check_hash(download: Download, part: Path, from_earlier_bytes: int) -> None:
    with _storing(part):
        found = _sha256(part)
        if found == download.sha256:
            return
        part.unlink()
    mixed = (
        f"Its first {from_earlier_bytes:,} bytes came from an earlier call and may belong to "
        "another version; run the command again to fetch all of it. "
        if from_earlier_bytes
        else ""
    )
    raise DownloadError(
        f"{download.url} is not the file that was expected: its sha256 is {found}, expected "
        f"{download.sha256}. It was removed. {mixed}If the publisher changed the file, check the "
        "new hash with them and give it with --sha256; otherwise use another address with --url."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _strong_etag(response: httpx.Response) -> str | None:
    etag = response.headers.get("ETag")
    return etag if etag is not None and etag.startswith('"') else None  # W/"..." proves no bytes


@contextlib.contextmanager
def _storing(path: Path) -> Iterator[None]:
    """As ``files.storage_errors``, for a file that is kept when something fails."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} could not be read or written: {error.strerror or error}. What had arrived is "
            "kept; check the free space and the permissions, then run the command again."
        ) from error
