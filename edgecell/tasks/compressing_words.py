"""What a compression says on its way, and how it ends."""

from pathlib import Path

from edgecell import console
from edgecell_export.recipes import RECIPES
from edgecell_runtime.errors import TrainingError
from edgecell_runtime.wording import counted
from edgecell_train.compression.frontier import Point
from edgecell_train.compression.limits import Limits, nearest
from edgecell_train.compression.merging import widths_of
from edgecell_train.compression.search import FRONTIER_CSV, Search
from edgecell_train.presets.base import KerasModel
from edgecell_train.runs import Run


def reached(search: Search) -> str:
    """How far a search has come."""
    return f"step {search.points[-1].step}" if search.points else "its beginning"


def say_limits(limits: Limits, images: int) -> None:
    """Says what is looked for, and how finely accuracy can be told on so many images."""
    console.say(
        f"Within {limits.words()} (--max-drop); one of {counted(images, 'validation image')} is "
        f"{100 / images:.2g} points."
    )


def say_point(point: Point) -> None:
    """Says what a net was measured to cost and lose."""
    name = "Fine-tuned" if point.kind == "final" else f"Step {point.step}"
    console.say(f"{name}: {point.words()}.")
    if point.problem:
        console.warn(f"{name} is of no use: {point.problem}")


def warn_of_result(result: Point) -> None:
    """Says what is to be known of the net that the run gets."""
    if result.kind == "step":
        console.warn(
            f"The last fine-tuning did harm: without it, the net of step {result.step} keeps all "
            "limits, and is left so."
        )
    allowed = RECIPES["static_int8"].limits.changed_labels
    if allowed is not None and result.changed_labels > allowed:
        console.warn(
            f"As int8, the net gives {result.changed_labels:.1%} of the validation images another "
            f"label than in float; an export allows {allowed:.0%} on the test images, and may "
            "refuse it. Then take --max-drop with the export, which leaves layers in float."
        )


def origin(run: Run, search: Search, net: KerasModel) -> str:
    """Where the net came from, for the run's record."""
    before, after = widths_of(run.source_model().model), widths_of(net)
    widths = ", ".join(
        f"{name} {before[name]} to {width}" if name in before else f"{name} of {width}"
        for name, width in after.items()
    )
    parts = [
        f"Compressed from the run {run.folder.name} (weights {run.record.weights_sha256[:16]}) "
        f"within {search.limits.words()}; channels: {widths}."
    ]
    if search.result is not None and search.result.kind == "step":
        parts.append(
            "The last fine-tuning, whose history this is, did harm by these limits; the net was "
            f"left as step {search.result.step} made it."
        )
    if search.config.quantization.epochs:
        parts.append("The limits were judged before the fine-tuning as integers.")
    return " ".join(parts)


def no_net(folder: Path, search: Search) -> TrainingError:
    """That a search has ended and found no net."""
    narrowed = search.points[1:]
    if not narrowed:
        return TrainingError(
            f"No net was found within {search.limits.words()}: no layer of this one can lose a "
            f"channel, and it takes {search.points[0].words()}; allow as much."
        )
    return TrainingError(
        f"No net was found within {search.limits.words()}; the nearest: "
        f"{nearest(narrowed, search.limits)}. {console.shown(folder / FRONTIER_CSV)} has all "
        "points; allow more (--max-drop says how much may be lost), or fine-tune longer with "
        "--epochs."
    )


def diverged(folder: Path, search: Search) -> TrainingError:
    """That a fine-tuning diverged, as it would again."""
    return TrainingError(
        f"{search.diverged} Going on, it would diverge again: begin the compression anew. "
        f"{console.shown(folder)} holds what was found before."
    )
