"""Which patient a cell comes from, as the National Library of Medicine (NLM) writes it.

NLM's file names begin with a slide: ``C100P61ThinF_IMG_20150918_144104_cell_162.png`` was cut from
the slide ``C100P61ThinF``. The ``P<number>`` in a slide is its patient (P61). Slides of healthy
people have none; there the number after ``C`` stands for the patient (``C5NThinF``: C5). One
patient may have several slides.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgecell_runtime.errors import DataError
from edgecell_runtime.printable import printable_name

MAPPING_PATTERN: Final = "patientid_cellmapping_*.csv"
"""What NLM's mapping files are called, as a shell pattern."""

MAX_MAPPING_BYTES: Final = 64 << 20

_IMAGE_MARK = "_IMG_"
_SLIDE = re.compile(r"C[0-9]+")
_PATIENT = re.compile(r"P[0-9]+")
_ROW = re.compile(r'"?([^",]+)"?\s*,\s*"?\[(.*)\]"?')
_PADDING = ", \t"
_QUOTED = r"""(?:'[^'\\]*'|"[^"\\]*")"""
_FILES = re.compile(rf"\s*(?:{_QUOTED}(?:\s*,\s*{_QUOTED})*)?\s*")
_FILE = re.compile(_QUOTED)


def patient_of_name(file_name: str) -> str | None:
    """Reads the patient out of a file name, where it is one of NLM's.

    Args:
        file_name: With or without folders before it, separated by ``/``.

    Returns:
        For example ``P61`` or ``C5``; None where the name is not of NLM's form.
    """
    slide, mark, _ = file_name.rpartition("/")[2].partition(_IMAGE_MARK)
    return _patient_of_slide(slide) if mark else None


def read_patient_mappings(paths: Iterable[Path]) -> dict[str, str]:
    """Reads NLM's mapping files.

    Args:
        paths: Files without a header and with one slide a row: ``slide,['a.png', 'b.png']``. A
            row may end in empty cells, as NLM's do.

    Returns:
        The patient of each file name. A slide that is not named by NLM's rule is itself the
        patient.

    Raises:
        DataError: A file cannot be read or is malformed, or a file name has two patients.
    """
    return parse_patient_mappings((str(path), _read(path)) for path in paths)


def parse_patient_mappings(files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Does what ``read_patient_mappings`` does, from the files' bytes.

    Args:
        files: Where each file stands, for messages, and what it holds.

    Returns:
        The patient of each file name.

    Raises:
        DataError: A file is too large or malformed, or a file name has two patients.
    """
    patients: dict[str, str] = {}
    for source, data in files:
        if len(data) > MAX_MAPPING_BYTES:
            raise DataError(
                f"{source} has more than {MAX_MAPPING_BYTES:,} bytes; a patient mapping is smaller."
                " Move it out of the way if it is something else."
            )
        # File names need not be UTF-8; what is not is written as printable_name writes it.
        text = data.decode("utf-8-sig", "surrogateescape")
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                _add_row(patients, line, f"{source}, line {number}")
    return patients


def _patient_of_slide(slide: str) -> str | None:
    number = _SLIDE.match(slide)
    if number is None:
        return None
    return (_PATIENT.search(slide) or number).group()


def read_mapping_file(path: Path) -> bytes:
    """Reads a table of patients whole.

    Raises:
        DataError: It cannot be read, or is too large.
    """
    data = _read(path)
    if len(data) > MAX_MAPPING_BYTES:
        raise DataError(
            f"{path} has more than {MAX_MAPPING_BYTES:,} bytes; a table of patients is smaller. "
            "Check that it is the right file."
        )
    return data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_MAPPING_BYTES + 1)
    except (OSError, ValueError) as error:
        raise DataError(
            f"The patient mapping {path} cannot be read: {error}. "
            "Check that it exists and its permissions."
        ) from error


def _add_row(patients: dict[str, str], line: str, place: str) -> None:
    row = _ROW.fullmatch(line.rstrip(_PADDING))
    if row is None or _FILES.fullmatch(row[2]) is None:
        found = printable_name(line if len(line) <= 60 else f"{line[:60]}...")
        raise DataError(
            f"{place}: expected a slide and its files, as in slide,['a.png', 'b.png'], but found "
            f"{found!r}. Mend the row, or move the file out of the way."
        )
    slide = row[1].strip()
    patient = printable_name(_patient_of_slide(slide) or slide)
    for quoted in _FILE.findall(row[2]):
        name = printable_name(quoted[1:-1])
        if patients.setdefault(name, patient) != patient:
            raise DataError(
                f"{place}: {name} is said to come from patient {patient}, but an earlier row says "
                f"{patients[name]}; expected one patient a file. Mend one of the rows."
            )
