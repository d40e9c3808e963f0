"""``edgecell compress`` in a process of its own, which dies when it is told to.

python compress_child.py WHERE ARGUMENTS...

WHERE is ``step`` (in the fine-tuning of the second step), ``tuning`` (in the second epoch of the
last one), ``report`` (when the run is not whole yet) or ``never``.
"""

import os
import signal
import sys
from collections.abc import Callable

from edgecell.cli import run
from edgecell.tasks import compressing
from edgecell_train.compression.searching import Searcher
from edgecell_train.presets import PRESETS
from edgecell_train.stepping import Trainer
from support.chain_models import CHAIN


def main() -> int:
    where, *arguments = sys.argv[1:]
    PRESETS["chain"] = CHAIN
    trained: list[str] = []
    tune, train_epoch = Searcher.tune, Trainer.train_epoch

    def die(here: str) -> None:
        if where == here:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(self: Searcher, *given: object) -> object:
        trained.append(str(given[3]))
        return tune(self, *given)  # type: ignore[arg-type]

    def dying(
        self: Trainer, epoch: int, report: Callable[[int, float], None]
    ) -> tuple[float, float]:
        if trained and trained[-1].startswith("Step 2"):
            die("step")
        if trained and trained[-1] == "Fine-tuning" and epoch == 2:
            die("tuning")
        return train_epoch(self, epoch, report)

    def reporting(*given: object) -> None:
        die("report")

    Searcher.tune = counting  # type: ignore[method-assign,assignment]
    Trainer.train_epoch = dying  # type: ignore[method-assign]
    compressing.write_run_report = reporting  # type: ignore[assignment]
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
