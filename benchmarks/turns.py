"""Latencies of several models, measured by turns so that a busy machine disturbs all alike."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

from edgecell_runtime.manifest import Figure

_RESAMPLES = 2000
_IDLE_LOOK_S = 0.005
_IDLE_LOOKS = 20


@dataclass(frozen=True)
class TurnPlan:
    """How to measure.

    Attributes:
        rounds: In each, every model has one measured query, in an order drawn anew.
        warmup_rounds: Run first and not counted.
        seed: Of the orders.
    """

    rounds: int = 300
    warmup_rounds: int = 20
    seed: int = 0


def go_on() -> None:
    """No rest: enough where no engine has threads of its own."""


def wait_until_idle() -> None:
    """Waits until this process's other threads sleep, 0.1 s at most.

    Some engines' threads wait for work in a loop, ONNX Runtime's for about 35 ms after a run; they
    would take a CPU from the next model.
    """
    idle = 0
    for _ in range(_IDLE_LOOKS):
        began = time.process_time()
        time.sleep(_IDLE_LOOK_S)
        idle = idle + 1 if time.process_time() - began < _IDLE_LOOK_S / 5 else 0
        if idle == 2:
            return


def measure_by_turns(
    calls: Sequence[Callable[[int], object]],
    plan: TurnPlan,
    clock: Callable[[], int] = time.perf_counter_ns,
    rest: Callable[[], None] = go_on,
) -> NDArray[np.int64]:
    """Times one query of each model in each round.

    Right before its measured query each model runs one that is not measured: it brings its weights
    back into the processor's caches, from which the others drove them.

    Args:
        calls: One a model; called with the number of the round.
        plan: How many rounds.
        clock: Nanoseconds that never run backwards.
        rest: Called before each model's turn.

    Returns:
        int64 (models, rounds), nanoseconds.
    """
    generator = np.random.default_rng(plan.seed)
    durations = np.empty((len(calls), plan.rounds), np.int64)
    for turn in range(-plan.warmup_rounds, plan.rounds):
        for model in generator.permutation(len(calls)):
            call = calls[model]
            rest()
            call(turn)
            start = clock()
            call(turn)
            end = clock()
            if turn >= 0:
                durations[model, turn] = end - start
    return durations


def ratio_of_medians(
    durations: NDArray[np.int64], reference: NDArray[np.int64], seed: int = 0
) -> Figure:
    """How many times as long as the reference, with a 95 % interval.

    The percentile bootstrap draws whole rounds (Efron & Tibshirani 1993), so that what disturbed
    both in one round stays together. It covers the spread within this process, and not that between
    processes or machines.

    Args:
        durations: int64 (rounds,), nanoseconds.
        reference: int64 (rounds,), of the same rounds.
        seed: Of the drawing.
    """

    def ratio(
        one: NDArray[np.float64], other: NDArray[np.float64], axis: int = -1
    ) -> NDArray[np.float64]:
        return np.asarray(np.median(one, axis=axis) / np.median(other, axis=axis))

    samples = (durations.astype(np.float64), reference.astype(np.float64))
    interval = bootstrap(
        samples,
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Figure(float(ratio(*samples)), float(interval.low), float(interval.high))
