"""Prepares many random Keras models and stops at the first that answers otherwise than Keras."""

import argparse
import sys
import time
from dataclasses import astuple

from edgecell_export.tensorflow import import_keras
from support.random_models import Agreement, agreement, random_model


def main() -> int:
    """Runs the models; 1 where one fails."""
    parser = argparse.ArgumentParser(prog="scripts/try-models", description=__doc__)
    parser.add_argument("models", type=int, nargs="?", default=2000, help="how many (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the first model; the next has +1")
    chosen = parser.parse_args()
    largest, start = Agreement(0.0, 0.0, 0.0, 0.0, 0.0), time.monotonic()
    above = 0
    for seed in range(chosen.seed, chosen.seed + chosen.models):
        try:
            found = agreement(random_model(seed))
        except BaseException as error:
            error.add_note(f"Repeat it with: scripts/try-models 1 --seed {seed}")
            raise
        if found.faults():
            print(f"More than rounding: {', '.join(found.faults())} in {found}", file=sys.stderr)
            print(f"Repeat it with: scripts/try-models 1 --seed {seed}", file=sys.stderr)
            return 1
        above += found.built > 1e-5
        largest = Agreement(*map(max, astuple(largest), astuple(found)))
        import_keras().backend.clear_session()
        done = seed - chosen.seed + 1
        if done % 50 == 0 or done == chosen.models:
            print(
                f"{done} models, {time.monotonic() - start:.0f} s, {above} built differ by more "
                f"than 1e-5; at most {largest}",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
