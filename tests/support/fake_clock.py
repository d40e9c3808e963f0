"""A clock that moves only when it is told to."""

from collections.abc import Sequence

MILLISECOND = 1_000_000


class FakeClock:
    """Nanoseconds, and queries that take known times of them.

    Args:
        durations: Of the queries, in nanoseconds, over and over.
        preparing: What making a query ready takes.
    """

    def __init__(self, durations: Sequence[int], preparing: int = 0) -> None:
        self.durations = durations
        self.preparing = preparing
        self.now = 7
        self.prepared: list[int] = []
        self.kept: list[tuple[int, str]] = []
        self.slept: list[float] = []

    def read(self) -> int:
        return self.now

    def prepare(self, query: int) -> int:
        self.prepared.append(query)
        self.now += self.preparing
        return query

    def ask(self, query: int) -> str:
        self.now += self.durations[query % len(self.durations)]
        return f"answer {query}"

    def keep(self, query: int, answer: str) -> None:
        self.now += 11  # if it counted, the times would show it
        self.kept.append((query, answer))

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += round(seconds * 1e9)
