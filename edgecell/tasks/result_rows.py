"""The rows of a log of predictions: written one by one as CSV or as JSON lines, and read again."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from edgecell.tasks.answers import Answer, Skipped
from edgecell_runtime.codec import Json
from edgecell_runtime.errors import StorageError
from edgecell_runtime.printable import printable_name

LOG_SUFFIXES: Final = (".csv", ".jsonl")
_MODEL_DIGITS = 12
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True)
class Columns:
    """What the rows of one artifact hold.

    Attributes:
        model: The first digits of the artifact's SHA-256, in every row: it says which model decided
            about this image, also when rows of several logs are put together, and it is no comment
            that a reader of CSV would stumble over.
        labels: The artifact's.
        decides: Whether it names a positive label.
    """

    model: str
    labels: tuple[str, ...]
    decides: bool


def columns_of(digest: str, labels: tuple[str, ...], positive_label: str | None) -> Columns:
    """The columns for an artifact."""
    return Columns(digest[:_MODEL_DIGITS], labels, positive_label is not None)


@dataclass(frozen=True)
class KeptRow:
    """A row that an earlier run wrote.

    Attributes:
        image: Its name.
        label: What it was found to be; None where it was skipped.
        end: The byte of the file after it.
    """

    image: str
    label: str | None
    end: int


class RowFormat(Protocol):
    """How rows are written and read."""

    def head(self) -> bytes:
        """What stands before the first row."""

    def row(self, outcome: Answer | Skipped) -> bytes:
        """One row, with its end of line."""

    def read(self, file: BinaryIO, path: Path) -> Iterator[KeptRow]:
        """Reads whole rows; a last one that is cut off is left out, a head gives no row.

        Raises:
            StorageError: It is no such log, or one of another artifact.
        """


def row_format(suffix: str, columns: Columns) -> RowFormat:
    """The format for ``.csv`` or ``.jsonl``."""
    return CsvRows(columns) if suffix == ".csv" else JsonRows(columns)


class CsvRows:
    """One row an image, with all digits; a skipped one has nothing but its name and the reason."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        decision = ("positive",) if columns.decides else ()
        by_label = (f"p({label})" for label in columns.labels)
        self._names = ("image", "label", "probability", *decision, *by_label, "model", "error")

    def head(self) -> bytes:
        """The names of the columns."""
        return _csv_line(self._names)

    def row(self, outcome: Answer | Skipped) -> bytes:
        """One row, with its end of line."""
        model = self._columns.model
        if isinstance(outcome, Skipped):
            blanks = [""] * (len(self._names) - 3)
            return _csv_line((outcome.image, *blanks, model, outcome.reason))
        prediction = outcome.prediction
        decision = ("yes" if prediction.positive else "no",) if self._columns.decides else ()
        numbers = (str(prediction.probabilities[label]) for label in self._columns.labels)
        first = (outcome.image, prediction.label, str(prediction.probability))
        return _csv_line((*first, *decision, *numbers, model, ""))

    def read(self, file: BinaryIO, path: Path) -> Iterator[KeptRow]:
        """Reads whole rows; see ``RowFormat``."""
        lines = _WholeLines(file)
        texts = (line.decode() for line in lines)
        head: list[str] | None = None
        try:
            for row in csv.reader(texts, strict=True):
                if head is None:
                    head = row
                    if tuple(head) != self._names:
                        raise _other_columns(path, ", ".join(head), ", ".join(self._names))
                    continue
                if len(row) != len(self._names):
                    raise _damaged(path, lines.count)
                if row[-2] != self._columns.model:
                    raise _other_model(path, row[-2], self._columns.model)
                yield KeptRow(row[0], row[1] or None, lines.end)
            lines.require_begun(self.head(), path)
        except (csv.Error, UnicodeDecodeError) as error:
            if not lines.cut_off:  # else a line break in a name was the last that was written
                raise _damaged(path, lines.count) from error


class JsonRows:
    """One JSON document a line."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def head(self) -> bytes:
        """Nothing: each line names what it holds."""
        return b""

    def row(self, outcome: Answer | Skipped) -> bytes:
        """One row, with its end of line."""
        document: dict[str, Json] = {"image": outcome.image}
        if isinstance(outcome, Skipped):
            document["error"] = outcome.reason
        else:
            document |= answer_document(outcome)
        return _JSON.encode(document | {"model": self._columns.model}).encode() + b"\n"

    def read(self, file: BinaryIO, path: Path) -> Iterator[KeptRow]:
        """Reads whole rows; see ``RowFormat``."""
        lines = _WholeLines(file)
        for line in lines:
            try:
                document = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise _damaged(path, lines.count) from error
            if not isinstance(document, dict) or not isinstance(document.get("image"), str):
                raise _damaged(path, lines.count)
            if document.get("model") != self._columns.model:
                raise _other_model(path, str(document.get("model")), self._columns.model)
            if set(document) == {"image", "error", "model"}:
                yield KeptRow(document["image"], None, lines.end)
                continue
            expected = ("image", *_ANSWER_KEYS, "model")
            if tuple(document) != expected or document["label"] not in self._columns.labels:
                raise _other_columns(path, ", ".join(document), ", ".join(expected))
            yield KeptRow(document["image"], document["label"], lines.end)
        lines.require_begun(_JSON_START, path)


_JSON_START = b'{"image":"'
_ANSWER_KEYS = ("label", "probability", "probabilities", "positive")


def answer_document(answer: Answer) -> dict[str, Json]:
    """A prediction for machines, by image."""
    return {
        "image": answer.image,
        "label": answer.prediction.label,
        "probability": answer.prediction.probability,
        "probabilities": dict(answer.prediction.probabilities),
        "positive": answer.prediction.positive,
    }


class _WholeLines:
    """The lines of a file that have an end.

    Attributes:
        count: Lines given.
        end: The byte after the last of them.
        cut_off: Whether all of them were given.
        rest: What stands after them, without an end of line.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.count = 0
        self.end = 0
        self.cut_off = False
        self.rest = b""
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        for line in self._file:
            if not line.endswith(b"\n"):
                self.rest = line
                break
            self.count += 1
            self.end += len(line)
            yield line
        self.cut_off = True

    def require_begun(self, start: bytes, path: Path) -> None:
        """Refuses a file of one line without an end, unless it is ours and was cut off there.

        Raises:
            StorageError: It begins with something else than ``start``.
        """
        shorter = min(len(start), len(self.rest))
        if not self.count and self.rest[:shorter] != start[:shorter]:
            raise _damaged(path, 1)


def _csv_line(cells: tuple[str, ...]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue().encode()


def _damaged(path: Path, line: int) -> StorageError:
    return StorageError(
        f"{path} cannot be gone on with: its line {line:,} is no row that edgecell predict writes. "
        "Mend it, or begin anew under another name."
    )


def _other_columns(path: Path, found: str, expected: str) -> StorageError:
    return StorageError(
        f"{path} cannot be gone on with: it has the columns {printable_name(found)}; expected "
        f"{expected}. Begin anew under another name."
    )


def _other_model(path: Path, found: str, expected: str) -> StorageError:
    return StorageError(
        f"{path} cannot be gone on with: the model {printable_name(found)} wrote it, and this "
        f"one is {expected}. Name that model with --model, or begin anew under another name."
    )
