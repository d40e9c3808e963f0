"""``edgecell train`` with the tiny preset in a process of its own, which dies when it is told to.

python folds_child.py FOLD WHERE ARGUMENTS...

WHERE is ``training`` (in its second epoch), ``report`` (when the fold is trained and not reported),
``named`` (when its run is whole, and not in its place) or ``never``.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from edgecell import report
from edgecell.cli import run
from edgecell.tasks import cross_validating, training
from edgecell_train.checkpoints import Unfinished
from edgecell_train.config import TrainConfig
from edgecell_train.presets import PRESETS
from edgecell_train.runs import Run
from edgecell_train.stepping import Trainer
from support.tiny_training import TINY


def main() -> int:
    fold, where, *arguments = sys.argv[1:]
    PRESETS["tiny"] = TINY
    Unfinished.is_due = lambda self: True  # type: ignore[method-assign]
    begun: list[str] = []
    train_asked, train_epoch = training.train_asked, Trainer.train_epoch

    def die(here: str) -> None:
        if (len(begun), where) == (int(fold), here):
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(asked: training.Asked, runs: Path, teller: training.Teller) -> Run:
        begun.append(runs.name)
        return train_asked(asked, runs, teller)

    def dying(
        self: Trainer, epoch: int, report: Callable[[int, float], None]
    ) -> tuple[float, float]:
        if epoch == 2:
            die("training")
        return train_epoch(self, epoch, report)

    def reporting(path: Path, *rest: object) -> None:
        die("report")
        path.write_text("report", encoding="utf-8")

    require_options = cross_validating.require_options

    def requiring(one: Run, config: TrainConfig) -> None:
        die("named")
        require_options(one, config)

    training.train_asked = counting
    report.write_report = reporting
    cross_validating.require_options = requiring
    Trainer.train_epoch = dying  # type: ignore[method-assign]
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
