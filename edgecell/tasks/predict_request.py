"""What the user of ``predict`` asked for, and which of it makes no sense."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell.tasks.image_inputs import STANDARD_INPUT
from edgecell.tasks.result_rows import LOG_SUFFIXES
from edgecell_runtime.containers import SUFFIXES as ARTIFACT_SUFFIXES
from edgecell_runtime.errors import UsageError
from edgecell_runtime.files import check_folder
from edgecell_runtime.printable import printable_name

OUTPUT_SUFFIXES: Final = (*LOG_SUFFIXES, ".json", ".md", ".html")


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    Attributes:
        images: See ``open_inputs``.
        model: The artifact; None takes one of the latest run.
        threads: For the engine; None takes the CPUs that this process may use.
        strict: Stop at the first image that cannot be read.
        watch: A folder whose images are classified as they come, instead of ``images``.
        settle: Seconds that an unreadable image is waited for there.
        as_json: Print one document at the end.
        json_lines: Print one document an image.
        output: Also written, by its suffix.
        resume: Go on with what stands in ``output``.
        null: A path on standard input ends in a zero byte.
    """

    images: tuple[str, ...] = ()
    model: Path | None = None
    threads: int | None = None
    strict: bool = False
    watch: Path | None = None
    settle: float = 5.0
    as_json: bool = False
    json_lines: bool = False
    output: Path | None = None
    resume: bool = False
    null: bool = False

    @property
    def logged(self) -> bool:
        """Whether the output is written as answers come."""
        return self.output is not None and self.output.suffix in LOG_SUFFIXES

    @property
    def held(self) -> bool:
        """Whether all answers are needed at once."""
        return self.as_json or (self.output is not None and not self.logged)


def check(request: Request) -> None:
    """Refuses what makes no sense, before the slow part.

    Raises:
        UsageError: Options contradict each other, or the output has another suffix.
        StorageError: The output's folder cannot be made or written to.
    """
    if bool(request.images) == (request.watch is not None):
        raise UsageError("Name images, or a folder with --watch; one of them is expected.")
    _check_images(request)
    if request.as_json and request.json_lines:
        raise UsageError("--json and --json-lines contradict each other; choose one.")
    if request.watch is not None and request.held:
        raise UsageError(
            "--watch has no end at which a whole document could be written; take --json-lines, or "
            f"an --output that ends in {' or '.join(LOG_SUFFIXES)}."
        )
    if request.resume and not request.logged:
        raise UsageError(
            f"--resume needs an --output that ends in {' or '.join(LOG_SUFFIXES)} to go on with."
        )
    if request.resume and request.as_json:
        raise UsageError(
            "--json would hold the answers of this run only, not those that --resume keeps; take "
            "--json-lines, or read the --output."
        )
    if request.output is not None:
        _check_output(request.output)


def _check_images(request: Request) -> None:
    if request.null and STANDARD_INPUT not in request.images:
        raise UsageError("--null says how standard input is read; name it too: a single dash.")
    if request.model is not None:
        return
    for image in request.images:
        if Path(image).suffix in ARTIFACT_SUFFIXES:
            raise UsageError(
                f"{printable_name(image)} is named as an artifact is, and stands among the images; "
                f"expected it after --model: edgecell predict --model {printable_name(image)} "
                "IMAGES."
            )


def _check_output(output: Path) -> None:
    if output.suffix not in OUTPUT_SUFFIXES:
        raise UsageError(
            f"--output {output} has the suffix {output.suffix!r}; expected one of "
            f"{', '.join(OUTPUT_SUFFIXES)}."
        )
    if output.is_dir():
        raise UsageError(f"--output {output} is a folder; expected the name of a file.")
    check_folder(output.parent)
