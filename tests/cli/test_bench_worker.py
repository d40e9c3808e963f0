"""The measuring process on a workstation."""

from pathlib import Path

import pytest
from support.tiny_bench import write_job

from edgecell.tasks.bench import worker
from edgecell_runtime.bench.plan import Target
from edgecell_runtime.bench.running import run_job
from edgecell_runtime.bench.workers import Launch
from edgecell_runtime.errors import UsageError


def test_files_are_opened_as_the_runtime_does(tmp_path: Path) -> None:
    job = write_job(tmp_path, ["tiny.onnx"])
    found = run_job(job, tmp_path, Launch(worker.COMMAND)).benchmark
    assert found.skipped == ()
    assert [row.engine.split()[0] for row in found.rows] == ["onnxruntime"]


def test_savedmodel_with_an_engine_of_the_runtime_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(UsageError, match="runs in tensorflow only, not in litert"):
        worker.open_target(Target(str(tmp_path), "litert"))
