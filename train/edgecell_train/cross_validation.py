"""What the folds of a cross-validation say together.

Beside the folds' runs ``fold-1``, ``fold-2`` ... in one folder lies ``config.toml``, with which the
folds were begun, and at their end ``cross-validation.json``.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from edgecell_runtime import codec
from edgecell_runtime.errors import DataError, ManifestError, RunError, UsageError
from edgecell_runtime.manifest import Evaluation
from edgecell_train.caveats import chance_note, dealing_notes
from edgecell_train.config import SplitRule, TrainConfig
from edgecell_train.config_files import CONFIG, differences, merged, read_config
from edgecell_train.pooling import Spread, pooled_evaluation, spread_of, together
from edgecell_train.runs import Run, find_run
from edgecell_train.statistics import Tested
from edgecell_train.tested_runs import disputed_of, tested_of

RESULT: Final = "cross-validation.json"

METHOD: Final = (
    "Every image is answered by the fold that tested it, with the temperature and the threshold of "
    "that fold, chosen on its validation part. Pooled figures: over these answers, 95 % intervals "
    "from a bootstrap over patients. Mean and standard deviation (n - 1): over the folds' own "
    "figures; the folds share training patients, so that no interval follows from the latter."
)


@dataclass(frozen=True)
class FoldResult:
    """One fold.

    Attributes:
        fold: From 1 on.
        run: Its folder, beside the result.
        kept_epoch: The epoch whose weights were kept.
        temperature: Fitted on its validation part.
        threshold: Chosen there.
        evaluation: On its test part.
    """

    fold: int
    run: str
    kept_epoch: int
    temperature: float
    threshold: float
    evaluation: Evaluation


@dataclass(frozen=True)
class CrossValidation:
    """What ``cross-validation.json`` holds.

    Attributes:
        preset: The model.
        split: What was dealt to the folds.
        folds: How many.
        seed: Of the deal, and of each training.
        labels: In the order of the model's classes.
        positive_label: What a positive decision means, if anything.
        data_sha256: Of the images.
        drawn: Whether the program drew them.
        pooled: Over all images, each answered by the fold that tested it.
        undisputed: The same without the images whose label somebody disputes; None where none is
            known to be disputed, or all are.
        spread: Over the folds, by the name of the figure in ``Evaluation``.
        runs: Each fold.
        method: How the figures were found.
        notes: Sentences on what is to be known.
        schema_version: 1.
    """

    preset: str
    split: SplitRule
    folds: int
    seed: int
    labels: tuple[str, ...]
    positive_label: str | None
    data_sha256: str
    drawn: bool
    pooled: Evaluation
    spread: Mapping[str, Spread]
    runs: tuple[FoldResult, ...]
    undisputed: Evaluation | None = None
    method: str = METHOD
    notes: tuple[str, ...] = ()
    schema_version: Literal[1] = 1


def fold_name(number: int) -> str:
    """The folder of a fold's run."""
    return f"fold-{number}"


def fold_config(config: TrainConfig, number: int) -> TrainConfig:
    """The options of one fold's training."""
    return dataclasses.replace(config, fold=number)


def is_cross_validation(folder: Path) -> bool:
    """Whether a folder is one of folds, finished or not."""
    if not (folder / CONFIG).is_file() or (folder / "run.json").exists():
        return False
    values = read_config(folder / CONFIG).values
    return bool(values.get("folds")) and not values.get("fold")


def stored_config(folder: Path) -> TrainConfig:
    """The options that a cross-validation was begun with.

    Raises:
        UsageError: They cannot be read.
    """
    return merged(TrainConfig(), [read_config(folder / CONFIG)])


def read_result(folder: Path) -> CrossValidation:
    """What the folds said together.

    Args:
        folder: Of a cross-validation, or of a refit, which keeps a copy.

    Raises:
        UsageError: The folder is not there, or the cross-validation is not finished.
        RunError: It cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no cross-validation {folder}; say where its folder is now.")
    try:
        return codec.loads(CrossValidation, (folder / RESULT).read_bytes(), RESULT)
    except FileNotFoundError as error:
        raise UsageError(
            f"{folder} is not finished; expected a cross-validation with all its folds. Go on with "
            f"it: edgecell train --resume {folder}"
        ) from error
    except (ManifestError, OSError) as error:
        raise RunError(f"{folder / RESULT} cannot be read: {error}") from error


def find_fold(folder: Path, config: TrainConfig, number: int) -> Run | None:
    """A finished fold; None where it is not finished.

    Raises:
        RunError: It is damaged, or was trained with other options.
    """
    path = folder / fold_name(number)
    if not path.exists():
        return None
    run = find_run(path)
    require_options(run, fold_config(config, number))
    return run


def finished_folds(folder: Path) -> tuple[Run, ...]:
    """The runs of a cross-validation, in the order of its folds.

    Raises:
        RunError: One is missing, damaged, or was trained with other options.
    """
    config = stored_config(folder)
    runs = [find_fold(folder, config, number) for number in range(1, config.folds + 1)]
    found = tuple(run for run in runs if run is not None)
    if len(found) < config.folds:
        raise RunError(
            f"{folder} has {len(found)} of its {config.folds} folds; expected all. Finish it with "
            "--resume, or restore the others."
        )
    return found


def require_options(run: Run, config: TrainConfig) -> None:
    """Refuses a run that was trained with other options.

    Raises:
        RunError: It was.
    """
    changed = differences(stored_config(run.folder), config)
    if changed:
        raise RunError(
            f"{run.folder} was trained with another {changed[0]} than the cross-validation that it "
            "lies in was begun with. Remove that run, so that it is trained again."
        )


def pool(runs: Sequence[Run], config: TrainConfig) -> CrossValidation:
    """The figures of all folds together.

    Args:
        runs: The folds, in their order.
        config: What the cross-validation was begun with.

    Raises:
        RunError: A run is damaged.
        DataError: The folds do not test every image once, or are of different images.
    """
    first = runs[0].record
    _require_whole(runs, config.split)
    tested = [tested_of(run) for run in runs]
    pooled = pooled_evaluation(tested)
    chance = chance_note(pooled, together(tested))
    results = tuple(
        FoldResult(
            fold=number,
            run=fold_name(number),
            kept_epoch=run.record.kept_epoch,
            temperature=run.record.temperature,
            threshold=run.record.threshold,
            evaluation=run.record.evaluation,
        )
        for number, run in enumerate(runs, 1)
    )
    return CrossValidation(
        preset=first.preset,
        split=config.split,
        folds=len(runs),
        seed=config.seed,
        labels=first.labels,
        positive_label=first.positive_label,
        data_sha256=first.data.sha256,
        drawn=first.data.drawn,
        pooled=pooled,
        spread=spread_of([run.record.evaluation for run in runs]),
        runs=results,
        undisputed=_undisputed(runs, tested),
        notes=tuple(filter(None, (chance, *dealing_notes(first.data, config.split)))),
    )


def _undisputed(runs: Sequence[Run], tested: Sequence[Tested]) -> Evaluation | None:
    """The pooled figures without the images whose label somebody disputes."""
    wanted = [
        np.array([answer.image.name not in disputed for answer in run.answers()])
        for run, disputed in zip(runs, map(disputed_of, runs), strict=True)
    ]
    if all(kept.all() for kept in wanted) or not any(kept.any() for kept in wanted):
        return None
    return pooled_evaluation(
        [fold.only(kept) for fold, kept in zip(tested, wanted, strict=True) if kept.any()]
    )


def _require_whole(runs: Sequence[Run], rule: SplitRule) -> None:
    """Every image is tested once, and under ``patient`` every patient in one fold."""
    first = runs[0].record
    fold_of_image: dict[str, int] = {}
    fold_of_patient: dict[str, int] = {}
    for number, run in enumerate(runs, 1):
        if (run.record.data.sha256, run.record.labels) != (first.data.sha256, first.labels):
            raise DataError(
                f"{run.folder} is of other images than {runs[0].folder}; expected the same for "
                "every fold. Remove that run, put the images back, and go on with --resume."
            )
        tested = [row.image for row in run.split() if row.part == "test"]
        for image in tested:
            twice = fold_of_image.setdefault(image.name, number) != number
            if image.patient is not None and rule == "patient":
                twice |= fold_of_patient.setdefault(image.patient, number) != number
            if twice:
                raise RunError(
                    f"{run.folder} tests {image.name}, and an earlier fold tested it or others of "
                    "its patient; expected each in one fold. Remove the run, and go on with "
                    "--resume."
                )
    if len(fold_of_image) != first.data.images:
        raise RunError(
            f"The folds in {runs[0].folder.parent} test {len(fold_of_image):,} of "
            f"{first.data.images:,} images; expected each. Run the cross-validation again."
        )
