"""Turns, with workers that only say what they are asked."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edgecell_runtime.bench.findings import REFERENCE, Record
from edgecell_runtime.bench.messages import Command, Measured, Opened, Reply, Warmed
from edgecell_runtime.bench.plan import Plan
from edgecell_runtime.bench.rounds import Contestant, Goal, Rounds
from edgecell_runtime.errors import EngineError

MILLISECOND = 1_000_000
PLAN = Plan(min_queries=30, min_seconds=0.05, max_seconds=1.0, block_seconds=0.01, processes=1)


class ScriptedWorker:
    """Answers at once, as if its queries had taken known times."""

    pid = 1 << 30  # no process has it

    def __init__(self, log: list[tuple[int, Command]], target: int, query_ms: float = 1.0) -> None:
        self.log, self.target, self.query_ms = log, target, query_ms
        self.fails_after = 1 << 30
        self.closed = False

    def ask(self, command: Command) -> Reply:
        self.log.append((self.target, command))
        if len([target for target, _ in self.log if target == self.target]) > self.fails_after:
            raise EngineError("It is out of order.")
        if command.action == "warm":
            return Reply(warmed=Warmed(100, self.target != 1, 5_000))
        if command.action == "save":
            np.save(command.path, np.array([[0.5, 0.5], [np.nan, np.nan]]))
            return Reply(step="saved")
        # A batch takes half as long an image from 4 on, and longer again from 8 on.
        cost = {1: 1.0, 4: 2.0, 8: 6.0}.get(command.batch, 1.0) * self.query_ms
        count = max(1, round(command.seconds * 1e3 / cost))
        durations = (round(cost * MILLISECOND),) * count
        return Reply(measured=Measured(durations, sum(durations), missed_ticks=1))

    def close(self) -> None:
        self.closed = True


class Contest:
    """Rounds of scripted workers, and what they left."""

    def __init__(self, *query_ms: float, plan: Plan = PLAN, reference: bool = False) -> None:
        self.log: list[tuple[int, Command]] = []
        self.lost: dict[int, str] = {}
        numbers = [*range(len(query_ms)), *([REFERENCE] if reference else [])]
        speeds = dict(enumerate(query_ms))
        self.workers = {n: ScriptedWorker(self.log, n, speeds.get(n, 1.0)) for n in numbers}
        self.rounds = Rounds(
            [Contestant(n, (), self.workers[n], Opened()) for n in numbers],  # type: ignore[arg-type]
            plan,
            0,
            self.lost.__setitem__,
        )
        self.records = {n: Record(n, "single_stream") for n in numbers}

    def turns(self) -> list[int]:
        return [target for target, command in self.log if command.action == "measure"]


def test_every_target_has_one_block_a_round_in_an_order_drawn_anew() -> None:
    plan = dataclasses.replace(PLAN, min_queries=300)
    contest = Contest(1.0, 1.0, 1.0, plan=plan)
    contest.rounds.measure(contest.records)
    turns = contest.turns()
    rounds = [tuple(turns[i : i + 3]) for i in range(0, len(turns), 3)]
    assert len(rounds) == 30
    assert all(sorted(order) == [0, 1, 2] for order in rounds)
    assert len(set(rounds)) == 6


def test_target_goes_on_until_it_has_queries_and_seconds() -> None:
    contest = Contest(0.1, 5.0)
    contest.rounds.measure(contest.records)
    fast, slow = contest.records[0], contest.records[1]
    assert fast.seconds[0] == pytest.approx(0.05)  # 500 queries, of which 30 were asked for
    assert slow.images_in(0) == 30  # in 0.15 s, of which 0.05 were asked for
    assert [turn.round for turn in slow.turns] == list(range(15))


def test_target_ends_at_max_seconds() -> None:
    contest = Contest(400.0)
    contest.rounds.measure(contest.records)
    assert contest.records[0].images_in(0) == 3


def test_processes_share_queries_and_seconds() -> None:
    assert Goal.of(dataclasses.replace(PLAN, processes=4)) == Goal(8, 0.0125, 0.25)


def test_reference_goes_on_as_long_as_any_target() -> None:
    contest = Contest(0.1, 5.0, reference=True)
    contest.rounds.measure(contest.records)
    rounds = [turn.round for turn in contest.records[REFERENCE].turns]
    assert rounds == [turn.round for turn in contest.records[1].turns]


def test_best_batch_is_chosen_and_every_trial_told() -> None:
    plan = dataclasses.replace(PLAN, batches=(1, 4, 8))
    contest = Contest(1.0, plan=plan)
    record = contest.records[0] = Record(0, "offline")
    contest.rounds.choose_batches(contest.records)
    assert record.batch == 4
    assert [round(rate.images_per_second) for rate in record.batches] == [1000, 2000, 1333]
    assert {command.action for _, command in contest.log} == {"try"}


def test_paced_block_has_ten_ticks_at_least() -> None:
    contest = Contest(1.0, plan=dataclasses.replace(PLAN, rate_hz=50.0))
    contest.records[0] = Record(0, "paced")
    contest.rounds.measure(contest.records)
    assert {command.seconds for _, command in contest.log} == {0.2}
    assert contest.records[0].missed_ticks == len(contest.log)


def test_target_that_fails_loses_its_unfinished_process_only(tmp_path: Path) -> None:
    contest = Contest(1.0, 1.0)
    contest.workers[0].fails_after = 3
    contest.rounds.measure(contest.records)
    contest.rounds.take_answers(contest.records, tmp_path)
    assert contest.lost == {0: "It is out of order."}
    assert contest.workers[0].closed
    assert contest.records[0].turns == []
    assert contest.records[1].images_in(0) >= 30


def test_warm_up_is_noted() -> None:
    contest = Contest(1.0, 1.0)
    contest.rounds.warm(contest.records)
    assert [contest.records[n].unsteady for n in (0, 1)] == [0, 1]
    assert contest.records[0].warmup_queries == 100
    assert contest.records[0].peak_memory_bytes == 5_000


def test_first_answer_to_an_image_stays(tmp_path: Path) -> None:
    contest = Contest(1.0)
    record = contest.records[0]
    record.answers = np.array([[0.9, 0.1], [0.2, 0.8]])
    contest.rounds.take_answers(contest.records, tmp_path)
    assert record.answers.tolist() == [[0.9, 0.1], [0.2, 0.8]]
    record.answers = np.full((2, 2), np.nan)
    contest.rounds.take_answers(contest.records, tmp_path)
    assert record.answers[0].tolist() == [0.5, 0.5]
    assert np.isnan(record.answers[1]).all()


def test_progress_is_that_of_the_slowest() -> None:
    contest = Contest(0.1, 5.0)
    told: list[float] = []
    contest.rounds.measure(contest.records, told.append)
    assert told == sorted(told)
    assert told[0] == pytest.approx(2 / 30)
    assert told[-1] == 1.0
