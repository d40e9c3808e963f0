"""What the suites share."""

from collections.abc import Callable
from typing import Any

import pytest
from loop_reporting import measure
from pytest_benchmark.fixture import BenchmarkFixture

from edgecell_runtime.bench.loop import Subject

Measured = Callable[[Subject[Any, Any]], Any]


@pytest.fixture
def measured(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Measured:
    """Times a subject with edgecell's loop for ``--benchmark-max-time``; gives the last answer."""
    seconds = float(request.config.getoption("benchmark_max_time"))
    return lambda subject: measure(benchmark, subject, seconds)
