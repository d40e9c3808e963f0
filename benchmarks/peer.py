"""What a conversion that is compared consists of, and what it is given."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgecell_export.pixels import PixelFile
from edgecell_train.runs import Run


@dataclass(frozen=True)
class Job:
    """What a conversion is given.

    Attributes:
        run: With the trained model.
        data: Where the run's images are now; None where the run found them.
        calibration: The images that all tools calibrate with.
        base: The file to start from, of a peer that starts from another's.
        target: The file to write.
    """

    run: Run
    data: Path | None
    calibration: PixelFile
    base: Path
    target: Path

    @cached_property
    def model(self) -> Any:
        """The trained Keras model."""
        return self.run.source_model().model

    @property
    def pixels(self) -> Any:
        """The calibration images, uint8 (n, height, width, channels), 0-255."""
        return self.calibration.first(len(self.calibration))


@dataclass(frozen=True)
class Peer:
    """A file to compare.

    Attributes:
        file: Its name.
        tool: What makes it, with what is said to it.
        recipe: How it stores numbers; files of one recipe and engine are compared.
        convert: Writes it.
        base: Name of the file that it starts from; empty for the trained model.
        needs: Distributions without which it is left out.
        calibrated: Whether calibration images set its ranges.
        openvino: Whether OpenVINO runs it too.
    """

    file: str
    tool: str
    recipe: str
    convert: Callable[[Job], None]
    base: str = ""
    needs: tuple[str, ...] = ()
    calibrated: bool = False
    openvino: bool = False

    @property
    def of_edgecell(self) -> bool:
        """Whether edgecell wrote it, so that it carries a manifest."""
        return self.tool.startswith("edgecell")
