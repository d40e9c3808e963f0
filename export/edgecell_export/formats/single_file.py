"""What the formats that are one file share: sealing."""

from pathlib import Path

from edgecell_export.formats.base import Converter
from edgecell_runtime.containers import container_of
from edgecell_runtime.manifest import Manifest


class SingleFileConverter(Converter):
    """A format whose artifact is one file."""

    def seal(self, model: Path, manifest: Manifest, artifact: Path) -> None:
        """Puts the manifest behind the model's bytes."""
        artifact.write_bytes(container_of(self.format).seal(model.read_bytes(), manifest))
