"""Which cells do cross-validations get wrong, whose are they, and are their labels disputed?

``python benchmarks/cell_errors.py FOLDS [FOLDS ...]`` reads the answers of finished
cross-validations on the same images, without training anything. See ``benchmarks/README.md``.
"""

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import scoring

from edgecell_runtime.errors import EdgecellError, UsageError
from edgecell_train.cross_validation import finished_folds, stored_config
from edgecell_train.tested_runs import disputed_of, tested_of

_SHOWN = 12
"""Patients in the table."""


@dataclass(frozen=True)
class Answers:
    """What the folds of a cross-validation answered, each on its test patients.

    Attributes:
        preset: Of the folds.
        patients: By image.
        disputed: Images whose label somebody disputes.
        wrong: Images that got another label than theirs.
    """

    preset: str
    patients: dict[str, str]
    disputed: frozenset[str]
    wrong: frozenset[str]


@dataclass(frozen=True)
class Row:
    """The errors of one cross-validation, or those that all have.

    Attributes:
        name: Whose they are.
        images: Tested.
        wrong: Of them.
        wrong_disputed: Of these, with a disputed label.
        half_of_patients: So few patients have half of the errors.
    """

    name: str
    images: int
    wrong: int
    wrong_disputed: int
    half_of_patients: int


@dataclass(frozen=True)
class PatientRow:
    """A patient whose cells the first cross-validation gets wrong."""

    patient: str
    images: int
    disputed: int
    wrong: int
    wrong_disputed: int


@dataclass(frozen=True)
class Result:
    """The whole result."""

    circumstances: scoring.Circumstances
    patients: int
    disputed: int
    rows: tuple[Row, ...]
    worst: tuple[PatientRow, ...]


def main() -> int:
    """Prints tables, and writes them where ``--output`` says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folds", type=Path, nargs="+", help="folders of cross-validations")
    scoring.add_output(parser)
    given = parser.parse_args()
    try:
        result = result_of([answers_of(folder) for folder in given.folds])
        scoring.write(result, text_of(result), given.output)
    except EdgecellError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(text_of(result))
    return 0


def answers_of(folder: Path) -> Answers:
    """Reads the stored answers of all folds."""
    config = stored_config(folder)
    patients: dict[str, str] = {}
    disputed: set[str] = set()
    wrong: set[str] = set()
    for run in finished_folds(folder):
        tested = tested_of(run)
        names = [answer.image.name for answer in run.answers()]
        misses = tested.probabilities.argmax(axis=1) != tested.truth
        patients |= dict(zip(names, [one or "" for one in tested.patients], strict=True))
        wrong |= {name for name, missed in zip(names, misses, strict=True) if missed}
        disputed |= disputed_of(run)
    return Answers(config.preset, patients, frozenset(disputed), frozenset(wrong))


def result_of(found: list[Answers]) -> Result:
    """The errors of each, those that all have, and the patients of the first one's."""
    first = found[0]
    if any(one.patients != first.patients for one in found):
        raise UsageError("The cross-validations are of different images; expected the same.")
    rows = [_row(one.preset, one.wrong, first) for one in found]
    if len(found) > 1:
        common = frozenset.intersection(*(one.wrong for one in found))
        rows.append(_row("all of them", common, first))
    of_patient = Counter(first.patients[name] for name in first.wrong)
    worst = [
        PatientRow(
            patient,
            *(
                sum(first.patients[name] == patient for name in names)
                for names in (
                    first.patients,
                    first.disputed,
                    first.wrong,
                    first.wrong & first.disputed,
                )
            ),
        )
        for patient, _ in of_patient.most_common(_SHOWN)
    ]
    return Result(
        scoring.circumstances(1),
        len(set(first.patients.values())),
        len(first.disputed),
        tuple(rows),
        tuple(worst),
    )


def _row(name: str, wrong: frozenset[str], answers: Answers) -> Row:
    counts = sorted(Counter(answers.patients[one] for one in wrong).values(), reverse=True)
    seen = patients = 0
    while 2 * seen < len(wrong):
        seen += counts[patients]
        patients += 1
    return Row(name, len(answers.patients), len(wrong), len(wrong & answers.disputed), patients)


def text_of(result: Result) -> str:
    """The result as Markdown."""
    lines = [
        "# Which cells are answered wrongly",
        "",
        f"Of {result.rows[0].images:,} cells of {result.patients} patients, {result.disputed:,} "
        "with a disputed label; each is answered by the fold that was not trained on its patient.",
        "",
        "| wrong for | cells | of them disputed | wrong without the disputed | patients who have "
        "half of them |",
        "| --- | --- | --- | --- | --- |",
        *map(_line, result.rows),
        "",
        f"The patients of most of the errors of {result.rows[0].name}:",
        "",
        "| patient | cells | disputed | wrong | of them disputed |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {one.patient} | {one.images} | {one.disputed} | {one.wrong} | "
            f"{one.wrong_disputed} |"
            for one in result.worst
        ),
        "",
        result.circumstances.sentence(),
        "",
    ]
    return "\n".join(lines)


def _line(row: Row) -> str:
    share = row.wrong_disputed / max(row.wrong, 1)
    return (
        f"| {row.name} | {row.wrong:,} ({row.wrong / row.images:.2%}) | {row.wrong_disputed:,} "
        f"({share:.0%}) | {row.wrong - row.wrong_disputed:,} | {row.half_of_patients} |"
    )


if __name__ == "__main__":
    sys.exit(main())
