"""Trains the tiny net in a process of its own, which may be killed or die in an epoch.

python resume_child.py DATA RUNS [--resume] [--die-in-epoch N]
"""

import argparse
import os
import signal
from pathlib import Path

from edgecell_train import checkpoints
from edgecell_train.config import Augmentation, Schedule, TrainConfig
from edgecell_train.stepping import Trainer
from support.tiny_training import TINY, train_tiny

LONG = TrainConfig(
    preset="tiny",
    epochs=4,
    batch_size=16,
    seed=3,
    schedule=Schedule("cosine", warmup_epochs=1),
    augmentation=Augmentation(flips=True, brightness=0.1, noise=2.0),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--die-in-epoch", type=int, default=0)
    options = parser.parse_args()
    checkpoints.Unfinished.is_due = lambda self: True  # type: ignore[method-assign]
    if options.die_in_epoch:
        train_epoch = Trainer.train_epoch

        def dying(self: Trainer, epoch: int, report: object) -> tuple[float, float]:
            def die(steps: int, accuracy: float) -> None:
                if epoch == options.die_in_epoch and steps >= 3:
                    os.kill(os.getpid(), signal.SIGKILL)

            return train_epoch(self, epoch, die)

        Trainer.train_epoch = dying  # type: ignore[method-assign,assignment]
    unfinished = checkpoints.find_unfinished("latest", options.runs) if options.resume else None
    train_tiny(options.data, options.runs, preset=TINY, config=LONG, unfinished=unfinished)


if __name__ == "__main__":
    main()
