"""CSV tables that say something of each image of a set: its patient, or that its label is disputed.

A table has a header. Columns are found by name, in capitals or not; others are passed over. An
image is named as in its set (``Parasitized/a.png``), with folders before that, or by the end of its
name where that fits one image only (``a.png``).
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell_runtime.errors import DataError
from edgecell_runtime.patients import read_mapping_file
from edgecell_runtime.printable import printable_name
from edgecell_runtime.wording import counted

IMAGE_COLUMNS: Final = ("path", "file", "filename", "file_name", "image", "image_name", "name")
PATIENT_COLUMNS: Final = ("patient", "patient_id", "patientid", "subject", "subject_id")
DISPUTED_COLUMNS: Final = ("disputed_label", "disputed")

_SEPARATORS: Final = ",;\t"
_YES: Final = frozenset({"1", "true", "yes"})
_NO: Final = frozenset({"0", "false", "no"})


@dataclass(frozen=True)
class _Row:
    """A row of a table: where it stands, and its fields by column, in lower case."""

    place: str
    fields: dict[str, str]


def read_patient_table(path: Path) -> dict[str, str | None]:
    """Reads which patient each image comes from.

    Args:
        path: A CSV with a column of images and one of patients, such as
            ``path,label,patient``; an empty patient is an unknown one.

    Returns:
        The patient by the image's name as the table writes it.

    Raises:
        DataError: The table cannot be read or is malformed, has no such columns, or gives one image
            two patients.
    """
    rows = _rows(path)
    image, patient = (_column(rows, path, of) for of in (IMAGE_COLUMNS, PATIENT_COLUMNS))
    patients: dict[str, str | None] = {}
    for row in rows:
        name, found = _name(row, image), printable_name(row.fields[patient].strip()) or None
        if patients.setdefault(name, found) != found:
            raise DataError(
                f"{row.place}: {name} is said to come from patient {found}, but an earlier row "
                f"says {patients[name]}; expected one patient an image. Mend one of the rows."
            )
    return patients


def disputed_names(path: Path) -> frozenset[str]:
    """Reads which images have a disputed label.

    Args:
        path: A CSV with a column of images and a column ``disputed_label`` of 1 and 0; or a plain
            list of the disputed images, one a line.

    Returns:
        The names as the table writes them; ``match_names`` finds the images of a set by them.

    Raises:
        DataError: The table cannot be read or is malformed, or has no such columns.
    """
    lines = _lines(path)
    header = _fields(lines[0], _separator(lines[0])) if lines else []
    if len(header) == 1 and header[0].strip().casefold() not in DISPUTED_COLUMNS:
        start = 1 if header[0].strip().casefold() in IMAGE_COLUMNS else 0
        return frozenset(_as_name(line) for line in lines[start:] if line.strip())
    rows = _rows(path)
    image, disputed = (_column(rows, path, of) for of in (IMAGE_COLUMNS, DISPUTED_COLUMNS))
    names = set()
    for row in rows:
        said = row.fields[disputed].strip().casefold()
        if said not in _YES | _NO:
            raise DataError(
                f"{row.place}: expected 1 or 0 in the column {disputed}, but found {said[:40]!r}. "
                "Mend the row."
            )
        if said in _YES:
            names.add(_name(row, image))
    return frozenset(names)


def match_names(written: Iterable[str], names: Iterable[str], where: str) -> dict[str, str]:
    """Finds the images of a set that a table names.

    Args:
        written: Names of images as the table writes them.
        names: Of all images of the set.
        where: The table, for messages.

    Returns:
        The image's name by the written one; those that fit no image are left out.

    Raises:
        DataError: A name fits several images, or two names fit one.
    """
    by_file: dict[str, list[str]] = {}
    for name in names:
        by_file.setdefault(name.rpartition("/")[2], []).append(name)
    found: dict[str, str] = {}
    writers: dict[str, str] = {}
    for entry in written:
        fitting = _fitting(entry, by_file.get(entry.rpartition("/")[2], []))
        if len(fitting) > 1:
            raise DataError(
                f"{where} names {entry}, which fits {len(fitting)} images, such as {fitting[0]} "
                f"and {fitting[1]}; expected names that fit one. Write them with their folders."
            )
        for name in fitting:
            if writers.setdefault(name, entry) != entry:
                raise DataError(
                    f"{where} names {name} twice, as {writers[name]} and as {entry}; expected "
                    "each image once. Remove one of the rows."
                )
            found[entry] = name
    return found


def patients_of(path: Path, known: Mapping[str, str | None]) -> dict[str, str | None]:
    """Gives each image of a set the patient that a table names.

    Args:
        path: The table; see ``read_patient_table``.
        known: Every image's name, and its patient where name or mapping file say it.

    Returns:
        The patient of each image in ``known``.

    Raises:
        DataError: The table cannot be used, fits no image, leaves out an image whose patient is not
            known otherwise, or contradicts what is known.
    """
    table = read_patient_table(path)
    matched = match_names(table, known, str(path))
    if not matched:
        raise DataError(
            f"{path} names {counted(len(table), 'image')}, such as {next(iter(table), 'none')}, "
            f"and none of them is in the set, which has {next(iter(known), 'none')} and others; "
            "expected their names as in the set. Check that the table belongs to it."
        )
    said = {name: table[entry] for entry, name in matched.items()}
    lone = sorted(name for name, patient in known.items() if patient is None and name not in said)
    if lone:
        raise DataError(
            f"{path} does not name {len(lone):,} of {len(known):,} images, such as {lone[0]}; "
            "expected a row for each, or one patient might be split in two. Add them, with an "
            "empty patient where that is unknown."
        )
    for name, patient in said.items():
        if None not in (patient, known[name]) and patient != known[name]:
            raise DataError(
                f"{path} says that {name} comes from patient {patient}, but its name or its "
                f"mapping file says {known[name]}; expected both to agree. Mend the table."
            )
    return {name: said.get(name) or patient for name, patient in known.items()}


def _fitting(entry: str, candidates: list[str]) -> list[str]:
    if entry in candidates:
        return [entry]
    return [name for name in candidates if name.endswith(f"/{entry}") or entry.endswith(f"/{name}")]


def _lines(path: Path) -> list[str]:
    data = read_mapping_file(path)
    return data.decode("utf-8-sig", "surrogateescape").splitlines()


def _separator(line: str) -> str:
    return max(_SEPARATORS, key=lambda separator: (line.count(separator), separator == ","))


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


def _rows(path: Path) -> list[_Row]:
    lines = _lines(path)
    if not lines:
        raise DataError(f"{path} is empty; expected a CSV with a header. Check the file.")
    return list(_parsed(lines, str(path)))


def _parsed(lines: list[str], where: str) -> Iterator[_Row]:
    reader = csv.reader(lines, delimiter=_separator(lines[0]), strict=True)
    try:
        header = [column.strip().casefold() for column in next(reader)]
        if len(set(header)) < len(header):
            raise DataError(f"{where} names a column twice; expected each once. Rename one.")
        for fields in reader:
            place = f"{where}, line {reader.line_num}"
            if not any(fields):
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"{place}: expected {len(header)} fields as in the header, but found "
                    f"{len(fields)}. Mend the row."
                )
            yield _Row(place, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise DataError(
            f"{where}, line {reader.line_num}: {error}; expected a CSV. Mend the row."
        ) from error


def _column(rows: list[_Row], path: Path, wanted: tuple[str, ...]) -> str:
    if not rows:
        raise DataError(f"{path} has no rows; expected one an image. Check the file.")
    found = [column for column in rows[0].fields if column in wanted]
    if len(found) != 1:
        kind = "no column" if not found else f"{len(found)} columns"
        raise DataError(
            f"{path} has {kind} named {' or '.join(found or wanted)}; it has "
            f"{', '.join(printable_name(column) for column in rows[0].fields)}. Expected one of "
            "them. Rename the column that is meant."
        )
    return found[0]


def _name(row: _Row, column: str) -> str:
    name = _as_name(row.fields[column])
    if not name:
        raise DataError(f"{row.place}: the column {column} is empty; expected an image's name.")
    return name


def _as_name(text: str) -> str:
    """The name with forward slashes, whatever system wrote it, and as sets write it."""
    text = text.strip()
    if "/" not in text:
        text = text.replace("\\", "/")
    return printable_name(text).removeprefix("./")
