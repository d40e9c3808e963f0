"""``edgecell bench --compare``: slower, faster or neither, by interval."""

import dataclasses
import math

import numpy as np
import pytest
from support import benchmarks
from support.benchmark_runs import Machine, interleaved, run

from edgecell.tasks.bench.comparing import (
    SPREAD,
    Spread,
    compare,
    compare_interleaved,
    exit_status,
)
from edgecell.tasks.bench.comparing_tables import notes, table
from edgecell.tasks.bench.foreseeing import of_rows, refuse_hopeless
from edgecell_runtime.bench.plan import SCENARIOS, Plan, Target
from edgecell_runtime.bench.results import Benchmark, Comparison, Estimate, Flag, Ratio, Row
from edgecell_runtime.errors import UsageError

TFLITE, ONNX = benchmarks.TFLITE, benchmarks.ONNX
NO_SPREAD = Spread(0.0, dict.fromkeys(SCENARIOS, 0.0))
TIMES = {TFLITE: 0.75, ONNX: 0.5}
SLOWER = {TFLITE: 0.75 * 1.15, ONNX: 0.5}


def one(relative: float, share: float = 0.01, **changes: object) -> Benchmark:
    row = benchmarks.row(relative=benchmarks.around(relative, share), **changes)
    return benchmarks.benchmark([row], ratios=())


def verdicts(comparison: Comparison) -> list[str]:
    return [row.verdict for row in comparison.rows]


# What the intervals are worth, on a machine whose truth is known


def test_planted_slowdown_is_found_in_ten_runs_of_ten_against_another_day() -> None:
    for seed in range(10):
        generator = np.random.default_rng(seed)
        old, new = (run(Machine(), times, generator) for times in (TIMES, SLOWER))
        assert verdicts(compare(old, new)) == ["slower", "neither"], seed


def test_at_most_one_of_twenty_unchanged_runs_is_called_changed_against_another_day() -> None:
    def wolves(machine: Machine, spread: Spread) -> int:
        found = 0
        for seed in range(20):
            generator = np.random.default_rng(seed)
            pair = [run(machine, TIMES, generator) for _ in range(2)]
            found += set(verdicts(compare(*pair, spread=spread))) != {"neither"}
        return found

    assert wolves(Machine(), SPREAD) <= 1
    assert wolves(Machine(run=0.04), NO_SPREAD) > 1  # the runs' own intervals would cry wolf


def test_planted_slowdown_is_found_in_ten_runs_of_ten_when_interleaved() -> None:
    times = {TFLITE: (0.75, 0.75 * 1.15), ONNX: (0.5, 0.5)}
    for seed in range(10):
        result = interleaved(Machine(), times, np.random.default_rng(seed))
        comparison = compare_interleaved(result, [f"old/{name}" for name in times])
        assert verdicts(comparison) == ["slower", "neither"], seed


def test_at_most_one_of_twenty_unchanged_runs_is_called_changed_when_interleaved() -> None:
    times = {TFLITE: (0.75, 0.75), ONNX: (0.5, 0.5)}
    found = 0
    for seed in range(20):
        result = interleaved(Machine(), times, np.random.default_rng(seed))
        comparison = compare_interleaved(result, [f"old/{name}" for name in times])
        found += set(verdicts(comparison)) != {"neither"}
    assert found <= 1


# Intervals and verdicts


def test_ratio_is_that_of_the_relative_times_and_not_of_the_absolute_ones() -> None:
    (row,) = compare(one(2.0, ms=1.0), one(3.0, ms=1.0)).rows
    assert row.ratio.value == pytest.approx(1.5)


def test_interval_holds_both_sides_and_both_spreads() -> None:
    (row,) = compare(one(1.0, 0.02), one(1.0, 0.03)).rows
    sides = [math.log(1.02) / 1.96, math.log(1.03) / 1.96, 0.02, 0.02]
    assert math.log(row.ratio.high) == pytest.approx(1.96 * math.hypot(*sides), rel=1e-3)
    assert row.ratio.low == pytest.approx(1 / row.ratio.high)


def test_interval_takes_half_the_width_of_a_lopsided_one() -> None:
    new = one(1.0)
    lopsided = dataclasses.replace(new.rows[0], relative=Estimate(1.0, 0.8, 1.0))
    new = dataclasses.replace(new, rows=(lopsided,))
    (row,) = compare(one(1.0, 1e-9), new, spread=NO_SPREAD).rows
    assert row.ratio.high == pytest.approx(1 / math.sqrt(0.8), rel=1e-3)
    assert row.ratio.low == pytest.approx(math.sqrt(0.8), rel=1e-3)


def test_interval_grows_with_the_number_of_rows() -> None:
    rows = [benchmarks.row(), benchmarks.row(ONNX)]
    few, many = one(0.75), benchmarks.benchmark(rows, ratios=())
    (alone,), (among, _) = compare(few, few).rows, compare(many, many).rows
    assert among.ratio.high > alone.ratio.high


@pytest.mark.parametrize(
    ("new", "fail_above", "verdict", "status"),
    [
        (1.15, 1.1, "slower", 1),
        (1.15, 1.2, "slower", 0),  # slower, but allowed
        (1.15, 1.0, "slower", 1),
        (1.04, 1.02, "neither", 0),  # above what is allowed, but perhaps by chance
        (1.0, 1.0, "neither", 0),
        (0.8, 1.0, "faster", 0),
    ],
)
def test_row_fails_when_it_is_slower_and_its_ratio_above_what_is_allowed(
    new: float, fail_above: float, verdict: str, status: int
) -> None:
    comparison = compare(one(1.0), one(new), fail_above)
    assert verdicts(comparison) == [verdict]
    assert exit_status(comparison) == status
    assert comparison.rows[0].failing == bool(status)


def test_row_is_undecided_when_its_interval_is_too_wide_to_rule_out_what_fails() -> None:
    wide = compare(one(1.0, 0.15), one(1.0), 1.1)
    assert wide.rows[0].undecided
    assert any("1 interval reaches above 1.1: measure longer" in line for line in notes(wide))
    assert not compare(one(1.0), one(1.0), 1.1).rows[0].undecided


@pytest.mark.parametrize("fail_above", [0.9, math.inf, math.nan])
def test_comparison_is_refused_when_faster_rows_would_fail(fail_above: float) -> None:
    with pytest.raises(UsageError, match="expected 1 or more"):
        compare(one(1.0), one(1.0), fail_above)


# Which rows belong together


def test_rows_are_matched_by_name_engine_threads_scenario_and_stage() -> None:
    olds = [*benchmarks.rows_of(TFLITE, 0.75), *benchmarks.rows_of(ONNX, 0.5)]
    news = [
        *benchmarks.rows_of(ONNX, 0.5, engine="onnxruntime 9.9"),
        *benchmarks.rows_of(TFLITE, 0.75, threads=1),
    ]
    old, new = (benchmarks.benchmark(rows, ratios=()) for rows in (olds, news))
    comparison = compare(old, new)
    assert [(row.artifact, row.scenario) for row in comparison.rows] == [
        (ONNX, scenario) for scenario in ("single_stream", "offline", "cold")
    ]
    reasons = [one.reason for one in comparison.unmatched]
    assert reasons == ["only new has it"] * 3 + ["only old has it"] * 3
    assert "1 thread, single stream, model)" in comparison.unmatched[0].row


def test_row_of_another_name_is_matched_when_each_side_has_one_artifact() -> None:
    (row,) = compare(one(1.0, artifact="a.tflite"), one(1.0, artifact="b.tflite")).rows
    assert row.artifact == "b.tflite"


def test_rows_of_one_name_are_matched_by_path_or_not_at_all() -> None:
    def result(*paths: str) -> benchmarks.Benchmark:
        rows = [benchmarks.row(target=Target(f"{path}/{TFLITE}")) for path in paths]
        return benchmarks.benchmark(rows, ratios=())

    comparison = compare(result("a", "b"), result("b", "c"))
    assert len(comparison.rows) == 1
    assert "several such rows" in comparison.unmatched[0].reason


def test_comparison_is_refused_when_no_row_matches() -> None:
    with pytest.raises(UsageError, match=r"No row of the two results can be compared .*only new"):
        compare(one(1.0, threads=1), one(1.0))


def test_row_without_the_reference_kernel_is_not_compared() -> None:
    rows = [benchmarks.row(relative=None), benchmarks.row(ONNX)]
    result = benchmarks.benchmark(rows, ratios=())
    comparison = compare(result, result)
    assert [row.artifact for row in comparison.rows] == [ONNX]
    assert "no time of the reference kernel" in comparison.unmatched[0].reason


# In one run


def test_ratio_of_the_run_is_taken_when_interleaved() -> None:
    rows = [benchmarks.row(target=Target(f"{side}/{TFLITE}")) for side in ("old", "new")]
    ratio = benchmarks.around(1.2)
    result = benchmarks.benchmark(rows, ratios=(Ratio(1, 0, ratio),))
    (row,) = compare_interleaved(result, [f"old/{TFLITE}"]).rows
    assert row.ratio.value == pytest.approx(1.2)
    assert row.verdict == "slower"
    turned = dataclasses.replace(result, ratios=(Ratio(0, 1, ratio),))
    (row,) = compare_interleaved(turned, [f"old/{TFLITE}"]).rows
    assert row.ratio.value == pytest.approx(1 / 1.2)
    assert row.verdict == "faster"


def test_ratio_is_the_quotient_over_the_first_row_when_the_run_has_no_other() -> None:
    names = [f"{side}/{name}" for side in ("old", "new") for name in (TFLITE, ONNX)]
    rows = [benchmarks.row(n.partition("/")[2], target=Target(n)) for n in names]
    over_first = [Ratio(i, 0, benchmarks.around(v)) for i, v in ((1, 0.5), (2, 1.0), (3, 0.6))]
    result = benchmarks.benchmark(rows, ratios=tuple(over_first))
    comparison = compare_interleaved(result, names[:2])
    assert comparison.method == "interleaved"
    assert [row.ratio.value for row in comparison.rows] == pytest.approx([1.0, 1.2])


# What else differs


def test_other_files_machines_plans_images_and_versions_are_said() -> None:
    old = one(1.0)
    new = one(1.0, sha256="f" * 64, flags=(Flag("load", "others took 40 % of the CPUs"),))
    system = benchmarks.system(processor="Other 1", versions={"edgecell": "0.2.0"})
    new = dataclasses.replace(new, system=system, plan=Plan(min_seconds=9.0), images="drawn")
    comparison = compare(old, new)
    said = "\n".join(notes(comparison))
    for words in (
        f"Other files than before: {TFLITE}.",
        "Processor: Test Processor 3000, now Other 1; the reference kernel cannot make up",
        "edgecell 0.1.0, now 0.2.0; numpy 2.4.6, now absent",
        "Plans differ: min_seconds 3.0, now 9.0.",
        "Images: held-out, now drawn.",
        "Rows with flags (load)",
    ):
        assert words in said
    assert table(comparison).rows[0][-1] == "neither [flagged]"


def test_flags_are_said_of_a_row_that_is_slower() -> None:
    flag = Flag("load", "others took 40 % of the CPUs")
    said = notes(compare(one(1.0), one(1.3, flags=(flag,))))
    line = f"{TFLITE}, 2 threads, single stream: new: others took 40 % of the CPUs"
    assert line in said
    assert line not in notes(compare(one(1.0), one(1.0, flags=(flag,))))


def test_nothing_but_the_same_file_is_said_when_nothing_differs() -> None:
    assert compare(one(1.0), one(1.0)).notes == (f"The very same files: {TFLITE}.",)


# What cannot be known


def test_row_without_an_interval_is_undecided_and_does_not_fail() -> None:
    wide = one(1.0)
    bare = dataclasses.replace(wide.rows[0], relative=Estimate(2.0, None, None))
    new = dataclasses.replace(wide, rows=(bare,))
    comparison = compare(wide, new)
    (row,) = comparison.rows
    assert (row.verdict, row.failing, row.undecided) == ("undecided", False, True)
    assert exit_status(comparison) == 0
    assert table(comparison).rows[0][3:] == (
        "2.000 (-)",
        "undecided: too few blocks for an interval",
    )
    assert table(comparison).title == "0 slower, 0 faster, 0 neither, 1 undecided"
    assert any("1 row without an interval" in line for line in notes(comparison))


def test_reason_for_a_missing_reference_kernel_comes_first() -> None:
    rows = [benchmarks.row(relative=None), benchmarks.row(ONNX, relative=None)]
    died = benchmarks.benchmark(rows, ratios=(), reference_note="The process was ended.")
    full = benchmarks.benchmark([benchmarks.row(), benchmarks.row("b.onnx")], ratios=())
    words = r"compared \(malaria.*the old result has no time of .* it: The process was ended;"
    with pytest.raises(UsageError, match=words):
        compare(died, full)


def test_rows_that_were_old_in_a_result_are_not_compared_with_again() -> None:
    rows = [benchmarks.row(target=Target(f"{side}/{TFLITE}")) for side in ("old", "new")]
    both = benchmarks.benchmark(rows, ratios=(Ratio(1, 0, benchmarks.around(1.2)),))
    both = dataclasses.replace(both, comparison=compare_interleaved(both, [f"old/{TFLITE}"]))
    (row,) = compare(both, one(1.0)).rows
    assert row.row == 0


@pytest.mark.parametrize(
    ("new", "apart"),
    [
        (benchmarks.row(threads=1), r"threads: 2, now 1\)"),
        (benchmarks.row(scenario="offline"), r"scenarios: single stream, now offline\)"),
        (benchmarks.row(stage="pipeline"), r"stages: model, now pipeline\)"),
        (benchmarks.row(engine="openvino 1.0"), r"engines: litert, now openvino\)"),
    ],
)
def test_hopeless_comparison_is_refused_with_what_differs(new: Row, apart: str) -> None:
    old = of_rows([benchmarks.row()])
    refuse_hopeless(old, old)
    with pytest.raises(UsageError, match=apart):
        refuse_hopeless(old, of_rows([new]))


def test_names_have_to_match_where_a_side_has_several_artifacts() -> None:
    one_old, two = [benchmarks.row("a.tflite")], [benchmarks.row("b.tflite")]
    refuse_hopeless(of_rows(one_old), of_rows(two))
    two.append(benchmarks.row("c.tflite"))
    with pytest.raises(UsageError, match=r"artifact names: a\.tflite, now b\.tflite, c\.tflite"):
        refuse_hopeless(of_rows(one_old), of_rows(two))
