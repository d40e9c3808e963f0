"""Where a device is: ``ssh://user@host:port``, ``adb://serial``."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from edgecell_runtime.errors import UsageError
from edgecell_runtime.printable import printable_name

_EXPECTED: Final = "expected ssh://user@host, ssh://user@host:port or adb://serial"
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@%:-]*")  # a leading dash would be an option


@dataclass(frozen=True)
class Address:
    """A device's address.

    Attributes:
        scheme: ``ssh`` or ``adb``.
        host: Or an alias of the SSH configuration, or an Android device's serial number.
        user: Empty takes the SSH configuration's.
        port: 0 takes the SSH configuration's.
    """

    scheme: str
    host: str
    user: str = ""
    port: int = 0

    @property
    def url(self) -> str:
        """The address, written in one way."""
        port = f":{self.port}" if self.port else ""
        host = f"[{self.host}]" if self.port and ":" in self.host else self.host
        return f"{self.scheme}://{f'{self.user}@' if self.user else ''}{host}{port}"

    @property
    def by_hand(self) -> str:
        """The command by which a user tries the connection out."""
        port = f" -p {self.port}" if self.port else ""
        return f"ssh{port} {f'{self.user}@' if self.user else ''}{self.host}"


def parse_address(url: str) -> Address:
    """Reads a device's address.

    Raises:
        UsageError: It is none, or holds what an address has no use for.
    """
    shown = printable_name(url)
    if shown != url:  # urlsplit leaves some of them out without a word
        raise UsageError(f"{shown} is no device: it holds a control character; {_EXPECTED}.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{shown} is no device: {error}; {_EXPECTED}.") from error
    if parts.scheme not in ("ssh", "adb") or not parts.netloc:
        raise UsageError(f"{shown} is no device; {_EXPECTED}.")
    if port == 0:
        raise UsageError(f"{shown} names port 0, which is none; {_EXPECTED}.")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"{shown} has something after the host; {_EXPECTED}.")
    if parts.scheme == "adb":
        return Address("adb", _checked(parts.netloc, shown))  # a serial may be host:port
    if parts.password is not None:
        raise UsageError(
            f"The address of {parts.hostname} holds a password; ssh takes keys: leave it out, and "
            "add a key there with ssh-copy-id."
        )
    user = _checked(parts.username, shown) if parts.username else ""
    # urlsplit lowers the case of a host, but an alias of the configuration keeps it.
    host = parts.netloc.rpartition("@")[2]
    host = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    return Address("ssh", _checked(host, shown), user, port or 0)


def _checked(name: str, shown: str) -> str:
    if not (_NAME.fullmatch(name) or re.fullmatch(r"[0-9A-Fa-f:]+(%\w+)?", name)):
        raise UsageError(f"{shown} is no device: {printable_name(name)!r} is no name; {_EXPECTED}.")
    return name
