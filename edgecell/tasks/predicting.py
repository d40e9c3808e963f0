"""Predictions as the command ``predict`` makes them: from the images named to rows and lines."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol

import typer

from edgecell import console
from edgecell.tasks.answers import (
    FEW,
    Answer,
    ImageFile,
    Skipped,
    classify,
    none_could_be_read,
    report,
)
from edgecell.tasks.artifacts import artifact_path, default_artifact, open_artifact
from edgecell.tasks.image_inputs import Inputs, open_inputs
from edgecell.tasks.predict_request import Request
from edgecell.tasks.predicting_output import (
    Held,
    LinesForMachines,
    LinesForPeople,
    Setup,
    Tally,
    document,
    summary,
    table,
)
from edgecell.tasks.result_log import ResultLog, batch_log, endless_log, part_of
from edgecell.tasks.result_rows import RowFormat, columns_of, row_format
from edgecell.tasks.watching import Clock, FolderWatch, stopped_by_signals
from edgecell_runtime import codec
from edgecell_runtime.artifact import Artifact, read_artifact
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import DataError, EdgecellError, ImageError, StorageError
from edgecell_runtime.printable import printable_name


class InterruptedRunError(EdgecellError):
    """The run was told to stop, and left something to go on with."""

    exit_status: ClassVar[int] = 130


class Sink(Protocol):
    """Takes outcomes as they come."""

    def show(self, outcome: Answer | Skipped) -> None:
        """Takes one."""


def predict_images(request: Request, clock: Clock | None = None) -> Tally:
    """Classifies the images; prints and writes what was asked for as it comes.

    Args:
        request: Checked.
        clock: For ``watch``; the process's, if not given.

    Raises:
        EdgecellError: There is no artifact, no image, or not one image that can be read; or what
            is written cannot be; or the run was interrupted, and left something to go on with.
        BrokenPipeError: Nobody reads standard output any more.
    """
    if request.model is not None:
        artifact = read_artifact(artifact_path(request.model))
    else:
        artifact = default_artifact()
    watch = None
    if request.watch is not None:
        watch = FolderWatch(request.watch, request.settle, clock)
        inputs = Inputs(None, 0, watch.files(), lambda: iter(()))
    else:
        inputs = open_inputs(request.images, null=request.null)
    with (
        _log(request, artifact, inputs) as log,
        open_artifact(artifact, request.threads, inputs.total) as classifier,
        stopped_by_signals(watch),
    ):
        run = _Run(request, artifact, classifier, log, watch)
        run.take(inputs)
        if watch is None:  # in here, so that an older log stays as it was
            _require_answers(run.tally)
    run.finish()
    return run.tally


class _Run:
    """One run of the command, once everything is open.

    Attributes:
        tally: What has come out so far.
    """

    def __init__(
        self,
        request: Request,
        artifact: Artifact,
        classifier: Classifier,
        log: ResultLog | None,
        watch: FolderWatch | None,
    ) -> None:
        self.tally = Tally()
        self._request = request
        self._classifier = classifier
        self._log = log
        self._watch = watch
        self._only_one = False
        self._stream = sys.stdout  # progress bars put themselves before sys.stdout
        self._held = Held()
        self._rows = _rows(artifact, ".jsonl")
        self._setup = Setup(
            model=printable_name(str(artifact.path)),
            engine=classifier.engine,
            threads=classifier.threads,
            sessions=classifier.sessions,
            labels=classifier.labels,
            positive_label=classifier.manifest.positive_label,
            threshold=classifier.manifest.threshold,
        )
        for trial in classifier.engine_report:
            if not trial.accepted:
                console.warn(f"The engine {trial.engine} was passed over: {trial.reason}")

    def take(self, inputs: Inputs) -> None:
        """Classifies all images."""
        once = _Once(self._keep())
        # A watch knows itself what is done, and gives an image again that was not whole.
        files = once.of(inputs.files) if self._watch is None else inputs.files
        sinks = self._sinks(inputs.widest)
        self._only_one = inputs.total == 1
        few = inputs.total is not None and inputs.total <= FEW
        # Where lines run over the same terminal, they are progress enough.
        shown = not few and (self._request.as_json or not self._stream.isatty())
        with console.progress() as bars:
            task = bars.add_task("Classifying", total=inputs.total, words="", visible=shown)
            with contextlib.closing(classify(self._classifier, files)) as outcomes:
                for outcome in outcomes:
                    if outcome is None:
                        if self._log is not None:
                            self._log.sync()
                    elif self._is_final(outcome):
                        self._add(outcome, sinks)
                        bars.update(task, completed=self.tally.images + once.doubles)
        if once.doubles:
            noun = "image was" if once.doubles == 1 else "images were"
            console.say(f"{once.doubles:,} {noun} named more than once, and classified once.")
        if self._watch is None and once.unnamed:
            whose = "row is of an image" if once.unnamed == 1 else "rows are of images"
            console.warn(
                f"{once.unnamed:,} {whose} not named this time; {self._request.output} keeps them."
            )

    def finish(self) -> None:
        """Prints and writes what is done at the end."""
        if self._request.held:
            answers = self._held.answers
            whole = document(self._setup, answers)
            if not self._request.logged:
                console.write(whole, [table(self._setup, answers)], self._request.output)
            if self._request.as_json:
                typer.echo(codec.dumps(whole, indent=2))
        if self._request.logged:
            console.say(f"Written to {self._request.output}")
        if not self._request.as_json and (self._watch or self.tally.images > 1):
            console.say(summary(self._setup, self.tally))

    def _keep(self) -> set[str]:
        """Counts what stands in the log; returns the names of it."""
        if self._log is None:
            return set()
        for label, count in self._log.labels.items():
            if label is None:
                self.tally.skipped += count
            else:
                self.tally.labels[label] += count
        self.tally.kept = self._log.labels.total()
        if self._watch is not None:
            self._watch.leave_out(self._log.images)
        return self._log.images

    def _sinks(self, widest: int) -> list[Sink]:
        sinks: list[Sink] = [self._held] if self._request.held else []
        if self._request.json_lines:
            sinks.append(LinesForMachines(self._stream, self._rows))
        elif not self._request.as_json:
            sinks.append(LinesForPeople(self._stream, self._setup, widest))
        return sinks

    def _is_final(self, outcome: Answer | Skipped) -> bool:
        if self._watch is None:
            return True
        if isinstance(outcome, Skipped):
            return self._watch.gives_up(outcome.image)
        self._watch.answered(outcome.image)
        return True

    def _add(self, outcome: Answer | Skipped, sinks: list[Sink]) -> None:
        if isinstance(outcome, Skipped):  # stopped here, it is not in the log: --resume tries it
            if self._only_one:  # there is nothing to go on with
                raise ImageError(outcome.reason)
            report(outcome, strict=self._request.strict)
        if self._log is not None:
            self._log.add(outcome)
        self.tally.add(outcome)
        for sink in sinks:
            sink.show(outcome)


def _require_answers(tally: Tally) -> None:
    if not tally.images:
        raise DataError("Standard input names no image; expected one path a line.")
    if not tally.labels:
        raise none_could_be_read(tally.images)


class _Once:
    """Leaves out images that were named before, or stand in the log."""

    def __init__(self, kept: set[str]) -> None:
        self.doubles = 0
        self._kept = kept
        self._seen: set[str] = set()

    @property
    def unnamed(self) -> int:
        """How many of the log's images were not among those given."""
        return len(self._kept - self._seen)

    def of(self, files: Iterator[ImageFile | None]) -> Iterator[ImageFile | None]:
        for file in files:
            if file is None:
                yield None
            elif file.name in self._seen:
                self.doubles += 1
            else:
                self._seen.add(file.name)
                if file.name not in self._kept:
                    yield file


def _require_some_of(log: ResultLog, inputs: Inputs, output: Path) -> None:
    """Refuses to go on with the log of other images: one table would be of two sets.

    All that a log knows of an image is its name, so that this is what is compared.
    """
    if log.images and not any(name in log.images for name in inputs.names()):
        raise StorageError(
            f"{output} cannot be gone on with: not one of the {len(log.images):,} images "
            f"in it, such as {printable_name(min(log.images))}, is among those named now. Name the "
            "same images, from the same folder, or begin anew under another name."
        )


def _rows(artifact: Artifact, suffix: str) -> RowFormat:
    manifest = artifact.manifest
    columns = columns_of(artifact.digest, manifest.labels, manifest.positive_label)
    return row_format(suffix, columns)


@contextlib.contextmanager
def _log(request: Request, artifact: Artifact, inputs: Inputs) -> Iterator[ResultLog | None]:
    if request.output is None or not request.logged:
        yield None
        return
    rows = _rows(artifact, request.output.suffix)
    if request.watch is not None:
        with endless_log(request.output, rows) as log:
            yield log
        return
    part = part_of(request.output)
    try:
        with batch_log(request.output, rows, resume=request.resume) as log:
            if inputs.total is not None:  # what standard input names is not known yet
                _require_some_of(log, inputs, request.output)
            yield log
    except KeyboardInterrupt as error:
        if not part.exists():
            raise
        raise InterruptedRunError(
            f"Interrupted; {part} keeps what was answered. Go on with it by --resume."
        ) from error
    except BrokenPipeError:
        if part.exists():
            console.say(
                f"Stopped, since nobody reads the output any more; {part} keeps what was answered. "
                "Go on with it by --resume."
            )
        raise
