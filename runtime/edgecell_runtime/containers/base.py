"""What every single-file container shares: its interface and the seal over its bytes."""

import hashlib
from collections.abc import Callable

from edgecell_runtime.errors import IntegrityError, ManifestError
from edgecell_runtime.manifest import Manifest
from edgecell_runtime.records import dataclass

DIGEST_LENGTH = 64
"""Hexadecimal digits of a SHA-256."""

BLANK_DIGEST = b"0" * DIGEST_LENGTH


@dataclass(frozen=True)
class Container:
    """How one format carries a manifest.

    Attributes:
        attach: Appends a manifest to a converter's model; the result ends in a blank digest.
        find_manifest: The manifest's JSON in a sealed file.
        refuse_hostile: Raises ``FormatError`` where a sealed file asks more of an engine than to
            compute, such as to read another file. Whoever can seal a file can write anything.
        seal_marker: The bytes that stand right before the digest.
    """

    attach: Callable[[bytes, Manifest], bytes]
    find_manifest: Callable[[bytes], bytes]
    refuse_hostile: Callable[[bytes], None]
    seal_marker: bytes

    def seal(self, model: bytes, manifest: Manifest) -> bytes:
        """Puts the manifest into a model file.

        Args:
            model: The file as its converter wrote it.
            manifest: What the artifact says of itself.

        Returns:
            The artifact: the model's bytes, unchanged, then the manifest and the digest.
        """
        unsealed = self.attach(model, manifest)
        body = memoryview(unsealed)[:-DIGEST_LENGTH]
        return b"".join((body, hashlib.sha256(body).hexdigest().encode()))

    def read(self, data: bytes) -> Manifest:
        """Checks the seal, then what lies under it, then reads the manifest.

        Raises:
            IntegrityError: The bytes are not the ones that were sealed.
            FormatError: The model is one that no engine may see.
            ManifestError: There is no seal, or the manifest is malformed.
        """
        check_seal(data, self.seal_marker)
        self.refuse_hostile(data)
        return Manifest.from_json(self.find_manifest(data))


def check_seal(data: bytes, marker: bytes) -> None:
    """Compares the digest at the end with the bytes before it, without a copy of them.

    Raises:
        ManifestError: There is no seal at the end.
        IntegrityError: The digest is of other bytes.
    """
    length = max(0, len(data) - DIGEST_LENGTH)
    if not data.endswith(marker, 0, length):
        raise ManifestError(
            "The file carries no edgecell manifest, or its end was cut off or written over; "
            "expected an artifact as `edgecell export` writes it. Copy or export it again."
        )
    found = hashlib.sha256(memoryview(data)[:length]).hexdigest().encode()
    written = data[length:]
    if found != written:
        raise IntegrityError(
            "The file is damaged: its bytes hash to "
            f"{found[:12].decode()}..., it was sealed as {written[:12].decode('latin-1')!a}"
            "... . Copy or export it again."
        )
