"""What carries a search out: cut, fine-tune shortly, measure, and again."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgecell_export.tensorflow import import_keras
from edgecell_runtime.files import replacing
from edgecell_train.checkpoints import Unfinished
from edgecell_train.compression.absorbing import absorb_shifts
from edgecell_train.compression.chain import Chain, copy_of, read_chain
from edgecell_train.compression.costs import costs_of
from edgecell_train.compression.cutting import Goal, cut
from edgecell_train.compression.frontier import Point, PointKind
from edgecell_train.compression.limits import Limits
from edgecell_train.compression.measuring import Measured, Meter
from edgecell_train.compression.merging import merge_poolings
from edgecell_train.compression.search import Search, step_file, write_search
from edgecell_train.compression.source import for_epochs
from edgecell_train.config_files import scalars
from edgecell_train.distilling import find_teachers, load_teachers
from edgecell_train.fitting import Fitted, Subject, fit
from edgecell_train.keras_files import load_keras_file
from edgecell_train.preparing import Watcher, Work
from edgecell_train.presets.base import KerasModel, Preset
from edgecell_train.run_record import RunRecord
from edgecell_train.run_writing import save_model
from edgecell_train.runs import Run
from edgecell_train.stepping import derived_seed

_MOST_CUT: Final = 0.4
"""A step leaves at least this share of the cost: fine-tuning mends small cuts better."""

_FLATTER: Final = 0.9
"""Of the MACs, what a step leaves at most where it is the latency that is too high."""

_BELOW: Final = 0.98
"""Of a limit, what the last step aims at: the model of a file's size is not exact."""

_STEP_EPOCHS: Final = 8
"""One of so many epochs is trained after each step."""

_CHANNELS: Final = 7


@dataclass(frozen=True)
class Searcher:
    """Carries a search on.

    Attributes:
        folder: Of the search.
        run: That is compressed.
        work: Its images and its split; the test part is not touched.
        meter: Measures files.
        watcher: Follows the progress.
    """

    folder: Path
    run: Run
    work: Work
    meter: Meter
    watcher: Watcher

    def begin(self, search: Search) -> Search:
        """Measures the source.

        Raises:
            EdgecellError: It cannot be converted, or the disk is full.
        """
        model = self.run.source_model().model
        measured = self._measure(in_form(search, model), self.run.record)
        return self._with_point(search, "source", 0, measured)

    def step(self, search: Search) -> Search:
        """Cuts the last net once more, fine-tunes it shortly and measures it.

        Returns:
            The search with one more point, or exhausted.

        Raises:
            EdgecellError: Training diverged, a file could not be converted, or the disk is full.
        """
        last = search.smallest
        net = self._net(last)
        number = last.step + 1
        told = self.watcher.stage(f"Step {number}: pruning")
        labelling, training = self.work.labelling, self.work.part("training")
        seed = derived_seed(search.config.seed, _CHANNELS, number)
        chain = read_chain(net)
        smaller = cut(chain, _goal(search.limits, last, chain), labelling, training, seed)
        told(1, 1, "")
        if read_chain(smaller).prunable == chain.prunable:
            search = dataclasses.replace(search, exhausted=True)
            write_search(self.folder, search)
            return search
        epochs = math.ceil(search.config.epochs / _STEP_EPOCHS)
        fitted = self.tune(search, smaller, epochs, f"Step {number}: fine-tuning")
        with replacing(step_file(self.folder, number)) as temporary:
            save_model(fitted.model, temporary)
        record = self.record_of(search)
        measured = self._measure(in_form(search, fitted.model), record)
        return self._with_point(search, "step", number, measured)

    def tune(
        self,
        search: Search,
        net: KerasModel,
        epochs: int,
        stage: str,
        unfinished: Unfinished | None = None,
    ) -> Fitted:
        """Trains a net on, with the source as its teacher."""
        config = for_epochs(search.config, epochs)
        teachers = load_teachers(find_teachers(config), self.work)
        preset = preset_of(search, self.run.record, net)
        shape = self.work.spec.shape
        subject = Subject(preset, config, shape, self.work.labelling, teachers)
        parts = self.work.part("training"), self.work.part("validation")
        return fit(subject, *parts, self.watcher.stage(stage), unfinished)

    def finish(self, search: Search, step: int, unfinished: Unfinished) -> Search:
        """Fine-tunes the net of a step to its end, and measures it.

        Args:
            search: The search.
            step: The number of the step.
            unfinished: Where the training's state is kept.
        """
        net = start_of(self.folder, search, step)
        fitted = self.tune(search, net, search.config.epochs, "Fine-tuning", unfinished)
        measured = self._measure(fitted.model, self.record_of(search))
        most = search.limits.latency_ms
        if most is not None and measured.latency_ms > most:
            # The step, of the same layers, was fast enough: something else took the processor.
            measured = self._measure(fitted.model, self.record_of(search))
        return self._with_point(search, "final", step, measured)

    def record_of(self, search: Search) -> RunRecord:
        """What a compressed run will say of itself, as near as can be known before."""
        return dataclasses.replace(
            self.run.record, preset=search.name, configuration=scalars(search.config)
        )

    def _net(self, point: Point) -> KerasModel:
        import_keras().utils.clear_session()  # the nets of the step before
        if point.kind == "source":
            return self.run.source_model().model
        return load_keras_file(step_file(self.folder, point.step))

    def _measure(self, model: KerasModel, record: RunRecord) -> Measured:
        told = self.watcher.stage("Measuring as int8 TFLite")
        measured = self.meter.measure(model, record)
        told(1, 1, "")
        return measured

    def _with_point(
        self, search: Search, kind: PointKind, number: int, measured: Measured
    ) -> Search:
        drop = 100 * (self.meter.accuracy - measured.accuracy)
        point = Point(kind=kind, step=number, drop=drop, **vars(measured))
        search = dataclasses.replace(search, points=(*search.points, point))
        write_search(self.folder, search)
        return search


def in_form(search: Search, net: KerasModel) -> KerasModel:
    """A net of the search as its file computes it: with merged poolings where time is limited."""
    return net if search.limits.latency_ms is None else merge_poolings(absorb_shifts(net))


def start_of(folder: Path, search: Search, step: int) -> KerasModel:
    """The net of a step, as the final fine-tuning takes it."""
    return in_form(search, load_keras_file(step_file(folder, step)))


def preset_of(search: Search, record: RunRecord, net: KerasModel) -> Preset:
    """A narrowed net as a preset, which begins with its weights."""
    return Preset(
        name=search.name,
        summary=f"{record.preset}, compressed",
        published=f"run {Path(search.source).name}",
        preprocessing=record.preprocessing,
        head=record.head.kind,
        recipe=search.config,
        build=lambda shape, labels: copy_of(net),  # noqa: ARG005 - those of the source
    )


def _goal(limits: Limits, point: Point, chain: Chain) -> Goal:
    """The next of as many equal steps as are needed, none of which takes too much."""
    kind, excess = limits.binding(point)
    steps = max(1, math.ceil(math.log(excess) / math.log(1 / _MOST_CUT)))
    share = excess ** (-1 / steps)
    if limits.binds_latency(point) or excess <= 1:  # small enough, and yet of no use
        share = min(share, _FLATTER)
    elif steps == 1:
        share *= _BELOW
    now = costs_of(chain).of(kind, chain.prunable)
    if kind == "bytes":  # names, manifest and the like stay
        return Goal(kind, now - math.ceil((1 - share) * point.size_bytes))
    return Goal(kind, int(share * now))
