"""The arithmetic and the table of ``benchmarks/export_vs_peers.py``; nothing is converted."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from contenders import Pixels
from converting import Cost, run_child
from peer import Peer
from peer_conversions import PEERS, register
from peer_measuring import compare_answers
from peer_table import PeerComparison, PeerRow, Setting, Timing, as_markdown
from process_memory import tree_memory_bytes
from scoring import circumstances
from turns import TurnPlan, measure_by_turns, ratio_of_medians
from unseen import TestImages as UnseenImages

from edgecell_runtime.manifest import Figure
from edgecell_runtime.measure import LatencyStats

NO_PIXELS: Pixels = np.zeros((4, 2, 2, 3), np.uint8)
UNSEEN = UnseenImages(
    pixels=NO_PIXELS,
    truth=np.array([0, 0, 1, 1]),
    stored=np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.55, 0.45]]),
    patients=("a", "a", "b", None),
)


def test_ratio_is_exact_when_a_model_takes_twice_as_long_in_every_round() -> None:
    reference = np.random.default_rng(0).integers(1_000, 9_000, 50)
    ratio = ratio_of_medians(2 * reference, reference)
    assert (ratio.value, ratio.low, ratio.high) == (2.0, 2.0, 2.0)


def test_ratio_interval_spans_one_when_neither_is_faster() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.integers(1_000, 9_000, (2, 200))
    ratio = ratio_of_medians(one, other)
    assert ratio.low < 1 < ratio.high
    assert ratio.low < ratio.value < ratio.high


def test_each_model_rests_and_warms_up_before_its_measured_query() -> None:
    calls: list[str] = []
    ticks = iter(range(1_000))
    durations = measure_by_turns(
        [lambda _: calls.append("a"), lambda _: calls.append("b")],
        TurnPlan(rounds=3, warmup_rounds=1),
        clock=lambda: next(ticks),
        rest=lambda: calls.append("rest"),
    )
    turns = [tuple(calls[start : start + 3]) for start in range(0, len(calls), 3)]
    assert sorted(turns) == [("rest", "a", "a")] * 4 + [("rest", "b", "b")] * 4
    assert durations.shape == (2, 3)
    assert (durations == 1).all()


def test_answers_count_changed_and_undecided_labels() -> None:
    found = np.array([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5], [0.55, 0.45]])
    answers = compare_answers(found, UNSEEN)
    assert answers.changed_labels == 2
    assert answers.undecided == 1
    assert answers.accuracy == 0.25
    assert answers.accuracy_change.value == -0.5
    assert answers.largest_difference == pytest.approx(0.3)
    assert answers.mean_difference == pytest.approx((0.1 + 0.2 + 0.3 + 0) / 4)


def comparison(*rows: PeerRow) -> PeerComparison:
    return PeerComparison(
        circumstances=circumstances(1, 2),
        run="a-run",
        plan=TurnPlan(rounds=5),
        settings=(Setting(1, 1), Setting(2, 32)),
        n=4,
        patients=2,
        source_accuracy=0.75,
        source_bytes=1000,
        loading=Cost(4.0, 700_000_000),
        calibration="Calibration: 5 images.",
        rows=rows,
        left_out=("Left out: x; not installed: y.",),
    )


def row() -> PeerRow:
    latency = LatencyStats.from_nanoseconds(np.array([1_500_000]))
    return PeerRow(
        file="a.tflite",
        tool="tool | plain",
        engine="litert",
        recipe="float32",
        calibration=0,
        nodes=7,
        size_bytes=12_345,
        cost=Cost(3.25, 900_000_000),
        timings=(
            Timing(1, 1, latency, Figure(1.5, 1.4, 1.6)),
            Timing(2, 32, None, failure="a fixed batch"),
        ),
        answers=compare_answers(UNSEEN.stored, UNSEEN),
    )


def test_table_has_a_cell_in_each_column_also_of_a_file_that_failed() -> None:
    failed = PeerRow("b.onnx", "other", "onnxruntime", "float32", 0, failure="it was too large")
    text = as_markdown(comparison(row(), failed))
    lines = [line.replace("\\|", "") for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 5
    assert len({line.count("|") for line in lines}) == 1
    assert "Failed: other, float32, onnxruntime: it was too large" in text
    assert "Left out: x; not installed: y." in text


def test_table_shows_the_source_model_first_and_a_dash_for_a_fixed_batch() -> None:
    lines = as_markdown(comparison(row())).splitlines()
    assert lines[4].startswith("| Keras | float32 | the source model |")
    assert "| 75.00 |" in lines[4]
    assert "| 12,345 | 1.500 | 1.50 (1.40 to 1.60) | - | - | 0.0e+00 | 0 |" in lines[5]
    assert lines[5].endswith("| - | 3.2 | 900 |")


def test_cost_of_two_steps_adds_time_and_takes_the_larger_peak() -> None:
    assert Cost(1.0, 5).after(Cost(2.0, 9)) == Cost(3.0, 9)
    assert Cost(1.0, None).after(Cost(2.0, None)) == Cost(3.0, None)


def write_process(proc: Path, pid: int, parent: int, pss_kb: int) -> None:
    folder = proc / str(pid)
    folder.mkdir(parents=True)
    (folder / "status").write_text(f"Name:\tx\nPPid:\t{parent}\n")
    (folder / "smaps_rollup").write_text(f"0-f ---p\nRss: {pss_kb * 9} kB\nPss: {pss_kb} kB\n")


def test_memory_of_a_tree_has_grandchildren_and_no_strangers(tmp_path: Path) -> None:
    for pid, parent, size in ((10, 1, 1), (11, 10, 20), (12, 11, 300), (13, 1, 4000)):
        write_process(tmp_path, pid, parent, size)
    assert tree_memory_bytes(10, tmp_path) == 321 * 1024


def test_child_gives_its_peak_memory_or_the_last_line_of_its_complaint(tmp_path: Path) -> None:
    good, bad = (tmp_path / f"{name}.py" for name in ("good", "bad"))
    peak = 2**50  # more than any tree of processes is seen to hold
    good.write_text(f"print('chatter')\nprint({peak})")
    bad.write_text("print('chatter')\nraise ValueError('no such thing')")
    cost = run_child(str(good), []).cost
    assert cost is not None
    assert cost.peak_memory_bytes == peak
    assert run_child(str(bad), []).failure == "exit status 1: ValueError: no such thing"


def test_every_peer_starts_from_one_that_is_registered_before_it() -> None:
    seen: set[str] = {""}
    for peer in PEERS.values():
        assert peer.base in seen, peer.file
        seen.add(peer.file)


def test_registering_a_name_twice_is_refused() -> None:
    known: Peer = next(iter(PEERS.values()))
    with pytest.raises(ValueError, match="registered already"):
        register(dataclasses.replace(known))
