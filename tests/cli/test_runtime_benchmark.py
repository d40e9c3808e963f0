"""The arithmetic and the tables of ``runtime.py``; nothing is timed and no model is run."""

import io
import subprocess
import sys

import numpy as np
import pytest
from runtime_calls import Contender, _block
from runtime_files import BATCHES, Images, Way, _rows
from runtime_memory import summarize
from runtime_memory import table as memory_table
from runtime_pass import serve
from runtime_rows import Goal, Words, by_turns, compare, median_difference, table
from runtime_starts import SCRIPTS

from edgecell_runtime.manifest import Figure

WORDS = Words("one call", "cell.tflite", "predict", "invoke", "us")


@pytest.mark.parametrize(
    ("low", "high", "met"), [(1.0, 1.1, "yes"), (1.05, 1.2, "open"), (1.11, 1.2, "no")]
)
def test_goal_of_at_most_asks_for_the_whole_interval(low: float, high: float, met: str) -> None:
    assert Goal("ratio", "at most", 1.1).verdict(Figure(1.1, low, high)) == met


@pytest.mark.parametrize(
    ("low", "high", "met"), [(0.93, 0.99, "yes"), (0.9, 0.95, "open"), (0.8, 0.92, "no")]
)
def test_goal_of_at_least_asks_for_the_whole_interval(low: float, high: float, met: str) -> None:
    assert Goal("ratio", "at least", 0.93).verdict(Figure(0.93, low, high)) == met


def test_difference_keeps_pairs_together() -> None:
    other = np.random.default_rng(0).uniform(100, 900, 50)
    found = median_difference(other + 7, other)
    assert (found.value, found.low, found.high) == pytest.approx((7, 7, 7))


def test_row_is_judged_by_the_figure_of_its_goal() -> None:
    other = np.random.default_rng(0).uniform(100, 900, 50)
    row = compare(WORDS, other + 7, other, Goal("difference", "at most", 6))
    assert (row.met, row.pairs) == ("no", 50)
    assert row.our_median == pytest.approx(row.other_median + 7)
    assert compare(WORDS, other, other, Goal("ratio", "at most", 1)).met == "yes"
    assert compare(WORDS, other, other).met is None


def test_each_measure_is_taken_once_a_round_in_changing_order() -> None:
    taken: list[int] = []

    def measure(number: int) -> float:
        taken.append(number)
        return float(number)

    found = by_turns(
        [lambda: measure(0), lambda: measure(1), lambda: measure(2)], 20, np.random.default_rng(0)
    )
    assert found.tolist() == [[0.0] * 20, [1.0] * 20, [2.0] * 20]
    rounds = [tuple(taken[start : start + 3]) for start in range(0, 60, 3)]
    assert {tuple(sorted(one)) for one in rounds} == {(0, 1, 2)}
    assert len(set(rounds)) > 1


def test_block_measures_every_contender() -> None:
    counts = [0, 0]

    def count(number: int) -> None:
        counts[number] += 1

    contenders = [Contender("a", lambda: count(0)), Contender("b", lambda: count(1))]
    found = _block(contenders, np.random.default_rng(0))
    assert (found > 0).all()
    assert counts[0] == counts[1] > 20


def test_bound_is_the_cpus_over_decoding_and_the_engine_at_its_best_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtime_files.allowed_cpus", lambda: 2)
    seconds = {("", "decoding"): np.full(5, 0.003), ("", "course"): np.full(5, 0.008)}
    name = "cell.tflite"
    for way in ("predict_many_pool", "predict_many", "predict", "bare", "processes"):
        seconds[(name, way)] = np.full(5, 0.0025)
    for batch in BATCHES:
        seconds[(name, f"engine {batch}")] = np.full(5, 0.001 if batch == 16 else 0.002)
    pool, course, processes, *_ = _rows(Images("cells", ("a", "b")), SCRIPTS / name, seconds)
    assert (pool.other, pool.other_median) == (
        "bound: 2 CPUs / (decode + engine at batch 16)",
        pytest.approx(500),
    )
    assert (pool.ratio.value, pool.met) == (pytest.approx(0.8), "no")
    assert (course.ratio.value, course.met) == (pytest.approx(3.2), "yes")
    assert (processes.ratio.value, processes.met) == (pytest.approx(1), None)


def test_pass_answers_each_line_with_a_digit_a_file() -> None:
    out = io.StringIO()
    serve(lambda line: [len(line), 1], iter(["\n", "16\n"]), out)
    assert out.getvalue() == "ready\n01\n21\n"


def test_way_over_several_processes_joins_their_answers() -> None:
    program = "print('10', flush=True) if input() == '4' else None"
    with (
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as one,
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as other,
    ):
        assert Way([one, other], "4").labels() == "1010"


def test_memory_is_flat_when_it_settles_after_the_start() -> None:
    readings = [(calls, 60_000_000 + min(calls, 20_000)) for calls in range(0, 1_000_001, 50_000)]
    found = summarize("predict", "cell.tflite", readings)
    assert (found.flat, found.slope.value, found.growth_bytes) == (True, 0.0, 0)
    assert found.calls == 1_000_000


def test_memory_is_not_flat_when_each_call_leaves_two_bytes() -> None:
    readings = [(calls, 60_000_000 + 2 * calls) for calls in range(0, 1_000_001, 50_000)]
    found = summarize("predict", "cell.tflite", readings)
    assert not found.flat
    assert found.slope.value == pytest.approx(2)
    assert "| 2.000 (2.000 to 2.000) | no |" in memory_table([found])


def test_table_says_goal_and_verdict() -> None:
    other = np.linspace(100, 900, 50)
    text = table("title", (compare(WORDS, other + 7, other, Goal("difference", "at most", 15)),))
    assert "| 7 (7 to 7) | difference at most 15 | yes | 50 |" in text
