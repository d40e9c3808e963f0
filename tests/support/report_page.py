"""A finished run without a model, and what a browser would see of its report."""

import hashlib
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from edgecell_runtime.heads import Head
from edgecell_runtime.manifest import Evaluation, Figure
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.run_record import DataRecord, RunRecord
from edgecell_train.runs import ANSWERS, SPLIT, Run, csv_text
from support.pictures import encoded, gradient

LABELS = ("Parasitized", "Uninfected")
FIGURE = Figure(0.9, 0.812, 0.954)


class Seen(HTMLParser):
    """What a browser would see of a page.

    Attributes:
        tags: With their attributes.
        style: The style sheet.
        text: All else, with single spaces.
        rows: Of all tables, each with its cells.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.style = ""
        self.text = ""
        self.rows: list[list[str]] = []
        self._inside = ""
        self.feed(html)
        self.close()
        self.text = " ".join(self.text.split())
        self.rows = [[" ".join(cell.split()) for cell in row] for row in self.rows]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("td", "th", "style"):
            self._inside = tag
        elif tag == "small":
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside
        self.text += "" if tag == "b" else " "

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.style += data
            return
        self.text += data
        if self._inside:
            self.rows[-1][-1] += data

    def row(self, heading: str) -> list[str]:
        """The other cells of the one row that begins with ``heading``."""
        (found,) = [row for row in self.rows if row and row[0] == heading]
        return found[1:]

    def pictures(self) -> list[dict[str, str | None]]:
        """The test images that are shown, and not the plot."""
        found = [attributes for tag, attributes in self.tags if tag == "img"]
        return [image for image in found if "line plots" not in str(image["alt"])]


def make_run(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    each: int = 3,
    probability: float = 0.9,
    wrong: Sequence[int] = (),
    patients: bool = True,
    file: bytes | None = None,
) -> Run:
    """A run as training leaves it, without a model; every image is a test image.

    Image i of a class comes from patient i; those in ``wrong`` get another class, surer with i.
    """
    rows, answers = [], []
    for index, label in enumerate(labels):
        for i in range(each):
            data = file or encoded(gradient(16, 12 + i), "PNG")
            name, sha = f"{label}/cell {i}.png", hashlib.sha256(data).hexdigest()
            path = folder / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            said = (index + (i in wrong)) % len(labels)
            sure = probability + i / 1000
            others = (1 - sure) / (len(labels) - 1)
            answers.append(
                (name, sha, label, *np.where(np.arange(len(labels)) == said, sure, others))
            )
            rows.append((name, label, f"P{i}" if patients else None, "test", sha))
    columns = ("name", "sha256", "label", *(f"p({label})" for label in labels))
    (folder / SPLIT).write_text(csv_text(("name", "label", "patient", "part", "sha256"), rows))
    (folder / ANSWERS).write_text(csv_text(columns, answers))
    (folder / "history.png").write_bytes(encoded(gradient(), "PNG"))
    known = each if patients else 0
    positive = labels[0]
    return Run(
        folder,
        RunRecord(
            preset="some-preset",
            configuration={"epochs": 7},
            seed=11,
            labels=tuple(labels),
            positive_label=positive,
            preprocessing=PreprocessSpec(64, 64),
            head=Head("softmax"),
            data=DataRecord("images", "d" * 64, len(rows), known, 0 if patients else len(rows)),
            weights_sha256="e" * 64,
            versions={"numpy": "2.0.7"},
            time="2026-01-02T03:04:05+00:00",
            evaluation=Evaluation(len(rows), known, FIGURE, FIGURE, FIGURE, Figure(0.97, 0.9, 1.0)),
        ),
    )
