"""What ``benchmarks/training.py`` measures: the first batch, steps, and their goals."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import training as benchmark
import training_starts
from training_steps import Plan, steps

from edgecell.drawn_cells import write_drawn_cells
from edgecell_runtime.errors import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "cells.zip"
    write_drawn_cells(path, count=200, patients=20)
    return path


def test_script_hands_the_first_batch_over_before_a_heavy_library_is_imported(
    data: Path, tmp_path: Path
) -> None:
    script = training_starts.SCRIPTS / "first_batch_edgecell.py"
    done = subprocess.run(
        [sys.executable, script, data, tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "32\n"


def test_zip_is_unpacked_down_to_its_class_folders(data: Path, tmp_path: Path) -> None:
    folder = training_starts._unpack(data, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["Parasitized", "Uninfected"]


def test_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cells.zip").write_text("no zip")
    with pytest.raises(DataError, match="cannot be unpacked"):
        training_starts._unpack(tmp_path / "cells.zip", tmp_path / "set")


def test_script_that_fails_is_named_with_its_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"first_batch_course.py ended with status 1.*missing"):
        training_starts._seconds(["first_batch_course.py", str(tmp_path / "missing")], None)


def test_starts_are_compared_with_the_goals_of_both_runs(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"None": 6.0, "cold": 2.4, "warm": 0.9}
    monkeypatch.setattr(
        training_starts,
        "_seconds",
        lambda arguments, cache: seconds[cache.name.split("-")[0] if cache else "None"],
    )
    first, second = training_starts.starts(data, tmp_path, 3, np.random.default_rng(0))
    assert (first.ratio.value, first.met) == (pytest.approx(0.4), "yes")
    assert (second.ratio.value, second.met) == (pytest.approx(0.15), "no")
    assert first.pairs == second.pairs == 3


def test_memory_is_what_a_training_needs_beyond_keras(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def megabytes(arguments: list[str], cache: Path | None) -> float:
        return 600.0 if cache is None else 2000.0

    monkeypatch.setattr(training_starts, "_megabytes", megabytes)
    (row,) = training_starts.memory(data, "logistic", tmp_path)
    assert (row.difference.value, row.met) == (1400.0, "yes")


def test_steps_of_both_ways_are_counted_in_images_a_second(data: Path) -> None:
    (row,) = steps(Plan(data, "logistic", 64, 2), np.random.default_rng(0))
    assert (row.ours, row.other, row.pairs) == ("edgecell", "model.fit", 2)
    assert "64 images, logistic" in row.subject
    assert row.unit.startswith("images/s (")


def test_options_take_sections_and_refuse_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["training.py", "cells.zip", "--only", "starts"])
    options: argparse.Namespace = benchmark._options()
    assert options.only == ["starts"]
    monkeypatch.setattr(sys, "argv", ["training.py", "cells.zip", "--only", "nothing"])
    with pytest.raises(SystemExit):
        benchmark._options()
