"""Refits: the recipe of a finished cross-validation, trained on all images.

Nobody is left to test such a model on, so that its figures, its temperature and its threshold are
those of the folds' models, each asked about the patients that it was not trained on.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgecell_export.source import logits_of_outputs
from edgecell_runtime.errors import DataError, RunError, UsageError
from edgecell_train import feeding
from edgecell_train.config import Stopping, TrainConfig
from edgecell_train.cross_validation import (
    CrossValidation,
    finished_folds,
    is_cross_validation,
    read_result,
    stored_config,
)
from edgecell_train.decisions import Decided, decide
from edgecell_train.evidence_parts import evidence_parts
from edgecell_train.feeding import LabelledPixels
from edgecell_train.preparing import Work
from edgecell_train.runs import Run
from edgecell_train.statistics import Tested


@dataclass(frozen=True)
class Refit:
    """A finished cross-validation whose recipe is trained on all images.

    Attributes:
        result: What its folds say together.
        runs: The folds, in their order.
    """

    result: CrossValidation
    runs: tuple[Run, ...]


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """The folds' answers on the patients that each was not trained on.

    Attributes:
        result: What the folds say together.
        decided: Temperature and threshold, settled on these answers.
        tested: The answers of all images, in their order, at that temperature and threshold.
        uncalibrated: float64 (n, labels), the same before the temperature.
        compared_on: int (n,), the images whose answers exports are held against.
    """

    result: CrossValidation
    decided: Decided
    tested: Tested
    uncalibrated: NDArray[np.float64]
    compared_on: NDArray[np.int64]


def refit_config(folder: Path) -> TrainConfig:
    """The options that train the recipe of a cross-validation on all images.

    The last epoch is kept, as there are no validation images to choose another by.

    Raises:
        UsageError: The folder is no cross-validation, or its recipe needs validation images.
    """
    if not is_cross_validation(folder):
        raise UsageError(
            f"--refit {folder} is no cross-validation; expected the folder that `edgecell train "
            "--folds` left."
        )
    config = stored_config(folder)
    if config.schedule.kind == "plateau":
        raise UsageError(
            f"--refit {folder}: its schedule, plateau, follows the validation loss, and where all "
            "images are trained on there is none. Cross-validate with another schedule."
        )
    return dataclasses.replace(
        config, folds=0, refit=str(folder.absolute()), stopping=Stopping(keep="last")
    )


def find_refit(config: TrainConfig) -> Refit | None:
    """The cross-validation that a configuration names; None for an ordinary training.

    Raises:
        UsageError: It is not finished.
        RunError: It is damaged.
    """
    if not config.refit:
        return None
    folder = Path(config.refit)
    result = read_result(folder)
    return Refit(result, finished_folds(folder))


def refit_note(result: CrossValidation, epochs: int) -> str:
    """Says what the figures of a refit are of.

    Args:
        result: What the folds said together.
        epochs: That the refit was trained for.
    """
    kept = [run.kept_epoch for run in result.runs]
    others = (
        f" The folds kept the epochs {', '.join(map(str, kept))}, chosen on their validation "
        f"parts; this net has none, and kept the last, {epochs}. Where these are far apart the "
        "figures need not be its own: cross-validate with --set stopping.keep=last."
        if set(kept) != {epochs}
        else ""
    )
    return (
        f"Trained on all images. The figures are those of the {result.folds} models of a "
        "cross-validation of this recipe, each on the patients that it was not trained on, decided "
        "at its own threshold; temperature and threshold were chosen on the same answers, all "
        f"together.{others}"
    )


def out_of_fold(refit: Refit, work: Work) -> OutOfFold:
    """Asks every fold's model about the images that it was tested on.

    Args:
        refit: The cross-validation.
        work: The images, all in one part.

    Raises:
        DataError: The images are not those of the cross-validation, or too few for an export.
        RunError: A run is damaged.
    """
    labelling, images = work.labelling, work.part("training")
    if refit.result.data_sha256 != work.decoded.data_sha256:
        raise DataError(
            f"{work.images.location} does not hold the images of the cross-validation: their hash "
            "differs. Say where those are now with --data."
        )
    compared_on = _compared_on(work)
    logits: NDArray[np.float64] = np.full(
        (len(images), labelling.head.output_count(labelling.labels)), np.nan
    )
    for run in refit.runs:
        rows = _tested_rows(run, work)
        part = LabelledPixels(work.decoded.pixels, images.truth[rows], rows)
        outputs = feeding.answers(run.source_model().model, part)
        logits[rows] = logits_of_outputs(outputs, labelling.head)
    untested = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if untested.size:
        raise RunError(
            f"No fold of the cross-validation tested {work.decoded.images[untested[0]].name}; "
            "expected each image in one of them. Restore the folds, or cross-validate anew."
        )
    decided = decide(
        work.job.config.decision,
        labelling.head,
        labelling.labels,
        work.positive,
        images.truth,
        logits,
    )
    tested = Tested(
        images.truth,
        labelling.head.probabilities(logits, labelling.labels, decided.temperature),
        work.patients("training"),
        labelling.labels,
        work.positive,
        decided.threshold,
    )
    uncalibrated = labelling.head.probabilities(logits, labelling.labels)
    return OutOfFold(refit.result, decided, tested, uncalibrated, compared_on)


def _compared_on(work: Work) -> NDArray[np.int64]:
    config, decoded = work.job.config, work.decoded
    parts = evidence_parts(
        [image.label for image in decoded.images],
        [image.patient for image in decoded.images],
        decoded.sha256,
        config.seed,
        config.split,
    )
    return np.flatnonzero(parts == "test")


def _tested_rows(run: Run, work: Work) -> NDArray[np.int64]:
    """Where the test images of a fold are among the images."""
    if run.record.preprocessing != work.spec or run.record.labels != work.labelling.labels:
        raise RunError(
            f"{run.folder} takes other images, or has other labels, than its cross-validation's "
            "recipe says. Restore it, or cross-validate anew."
        )
    places = {image.name: row for row, image in enumerate(work.decoded.images)}
    tested = [row.image.name for row in run.split() if row.part == "test"]
    strange = [name for name in tested if name not in places]
    if strange:
        raise RunError(
            f"{run.folder} tested {strange[0]}, which is not among the images. Restore the fold, "
            "or cross-validate anew."
        )
    return np.array(sorted(places[name] for name in tested), np.int64)
