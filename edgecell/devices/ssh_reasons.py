"""What OpenSSH says when it fails, as sentences: what happened, and what to do."""

import re
from dataclasses import dataclass
from typing import Final

from edgecell.devices.address import Address
from edgecell_runtime.printable import printable_name


@dataclass(frozen=True)
class Reason:
    """Why there is no connection.

    Attributes:
        words: The sentence.
        final: Whether trying again cannot help.
    """

    words: str
    final: bool


_REASONS: Final = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED",
        True,
        "{host} shows another host key than the one known here: it was set up anew, or another "
        "machine answers in its place. Find out which; where it was set up anew, forget the old "
        "key with `ssh-keygen -R {known}` and connect once by hand: {hand}",
    ),
    (
        r"Host key verification failed|No .* host key is known|host key is known for",
        True,
        "The host key of {host} is not known here, so another machine could answer in its place. "
        "Connect once by hand and compare its fingerprint: {hand}",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE",
        True,
        "ssh does not use your key for {host}, because others may read its file. Take the "
        "permission away with chmod 600, then try: {hand}",
    ),
    (
        r"Permission denied|Too many authentication failures|no mutual signature",
        True,
        "{host} refused your key. A key is needed that works without a question: add it there with "
        "ssh-copy-id, or here to the agent with ssh-add, then try: {hand}",
    ),
    (
        r"Could not resolve hostname",
        True,
        "There is no host {host}: its name cannot be resolved. Check its spelling and the network, "
        "then try: {hand}",
    ),
    (
        r"Connection refused",
        False,
        "{host} runs no SSH server at port {port}. Start it there, or give the port as in "
        "ssh://user@host:2222.",
    ),
    (
        r"timed out|No route to host|unreachable|Host is down",
        False,
        "{host} does not answer. Check that it is on and in the same network, then try: {hand}",
    ),
    (
        r"[Bb]ad (owner|configuration)|terminating, .* bad configuration|Can't open user config",
        True,
        "ssh cannot read its configuration: {last}. Mend it, then try: {hand}",
    ),
    (
        r"closed by|reset by peer|Connection reset|kex_exchange|Broken pipe|closed",
        False,
        "{host} closed the connection. Look into its SSH server's log, then try: {hand}",
    ),
)


def reason_of(address: Address, text: str) -> Reason:
    """The sentence for what ``ssh`` printed to its standard error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    last = printable_name(lines[-1])[:300].rstrip(".") if lines else "it says nothing"
    known = f"'[{address.host}]:{address.port}'" if address.port not in (0, 22) else address.host
    for pattern, final, words in _REASONS:
        if re.search(pattern, text):
            sentence = words.format(
                host=address.host,
                hand=address.by_hand,
                known=known,
                last=last,
                port=address.port or 22,
            )
            return Reason(sentence, final)
    return Reason(
        f"ssh could not connect to {address.host}: {last}. Try: {address.by_hand}", final=False
    )
