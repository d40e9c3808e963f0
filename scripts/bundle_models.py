"""Bundles trained models with edgecell: ``python scripts/bundle_models.py REFIT [REFIT ...]``.

Each is a run of ``edgecell train --refit``. It is exported as int8 TFLite, which has to pass parity
on its cells, and compared with its source on cells that the program draws; the artifact and its
card go to ``runtime/edgecell_runtime/models``, a list of the images that it was trained on to
``edgecell/trained_on``.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np

from edgecell.drawn_cells import write_drawn_cells
from edgecell.tasks.trained_on import write_marks
from edgecell_export.card import figure_text, model_card
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.options import ExportOptions
from edgecell_export.parity import compare
from edgecell_export.recipes import RECIPES
from edgecell_export.source import SourceModel, source_probabilities
from edgecell_runtime.bundled import MODELS, SUFFIX
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import EdgecellError, UsageError
from edgecell_runtime.labelled import open_labelled
from edgecell_runtime.manifest import Evaluation, Manifest, Parity
from edgecell_train.runs import Run, find_run
from edgecell_train.statistics import evaluate_tested
from edgecell_train.tested_runs import tested_of

TRAINED_ON: Final = (
    "22,165 single red blood cells of 160 patients, of thin smears stained with Giemsa, "
    "photographed in Chittagong, Bangladesh, with a phone at a microscope, and cut out on black: "
    "a part of the National Library of Medicine's 27,558 cells of 200 patients (Rajaraman et al. "
    "2018, PeerJ 6:e4568). The parasite is Plasmodium falciparum. Some 5 % of the labels are "
    "disputed by a later relabelling (Fuhad et al. 2020)."
)
"""What the cards say of the cells."""

DRAWN: Final = 1000
"""Cells on which the file and its source are compared besides."""


def main() -> int:
    """Bundles each run that is named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="REFIT")
    try:
        for path in parser.parse_args().runs:
            bundle(find_run(path))
    except EdgecellError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


def bundle(run: Run) -> None:
    """Bundles one model.

    Raises:
        EdgecellError: It was not trained on all images, or its file does not pass.
    """
    if not run.is_refit:
        raise UsageError(f"{run.folder} is no refit; expected a run of edgecell train --refit.")
    converter, name = CONVERTERS["tflite"], run.record.preset
    source = run.source_model()
    with tempfile.TemporaryDirectory() as folder, run.open_images() as images:
        # A cell that stands on a slide and not on black is another distribution.
        with Exporter(source, run.evidence(images), ExportOptions(masking="slide")) as exporter:
            made = exporter.export(converter, RECIPES["static_int8"], Path(folder))
        drawn = drawn_parity(made.path, source, Path(folder))
        _require_within_limits(drawn)
        MODELS.mkdir(exist_ok=True)
        target = MODELS / f"{name}{SUFFIX}"
        target.write_bytes(made.path.read_bytes())
    card = _card(target, made.manifest, drawn, evaluate_tested(tested_of(run)))
    target.with_suffix(".md").write_text(card, encoding="utf-8")
    write_marks(run.record.data.sha256, [row.image for row in run.split()])
    print(f"{target}: {target.stat().st_size:,} bytes, drawn cells: {_words(drawn)}")


def drawn_parity(artifact: Path, source: SourceModel, folder: Path) -> Parity:
    """Compares a file with its source model on drawn cells, which neither of them knows."""
    archive = folder / "drawn.zip"
    write_drawn_cells(archive, count=DRAWN, seed=1)
    with open_labelled(archive) as images, Classifier.open(artifact) as classifier:
        pixels = np.stack([source.preprocessing.apply(images.read(image)) for image in images])
        truth = np.array([source.labels.index(image.label) for image in images])
        expected = source_probabilities(
            source.model, pixels, source.head, source.labels, source.temperature
        )
        found = classifier.probabilities(pixels)
    return compare(expected, found, truth, RECIPES["static_int8"].limits)


def _require_within_limits(parity: Parity) -> None:
    limit = parity.limits.changed_labels
    if limit is not None and parity.changed_labels > limit:
        raise UsageError(f"On drawn cells, {parity.changed_labels:.2%} of the labels change.")


def _card(target: Path, manifest: Manifest, drawn: Parity, decided: Evaluation) -> str:
    operators = CONVERTERS["tflite"].operators(target)
    card = model_card(target.name, manifest, operators, target.stat().st_size)
    before, mark_of_use, after = card.partition("## Use")
    assert decided.sensitivity is not None
    assert decided.specificity is not None
    sections = (
        f"## Trained on\n\n{TRAINED_ON}\n",
        f"## At its own threshold, {manifest.threshold:.3g}\n\nSensitivity "
        f"{figure_text(decided.sensitivity)}, specificity {figure_text(decided.specificity)}: of "
        "the folds' answers, in float32, on patients that each was not trained on. The threshold "
        "was chosen on these answers, all together.\n",
        f"## Same answers on {drawn.sample:,} drawn cells?\n\n{_words(drawn)}.\n",
    )
    use = after.replace(f'Classifier.open("{target.name}")', f'Classifier.bundled("{target.stem}")')
    return "\n".join([before.rstrip("\n") + "\n", *sections, f"{mark_of_use}{use}"])


def _words(parity: Parity) -> str:
    return (
        f"Labels changed: {parity.changed_labels:.2%}; largest difference of a probability: "
        f"{parity.largest_difference:.2g}; mean: {parity.mean_difference:.2g}"
    )


if __name__ == "__main__":
    sys.exit(main())
