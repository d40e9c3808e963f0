"""``edgecell bench --fleet`` over a real ``sshd``, with the real measuring."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import artifacts
from support.command_line import invoke, latest_run, write_cells
from support.ssh_server import SshServer, needs_sshd

from edgecell.devices.base import ANSWERS_FILE
from edgecell.devices.together import Outcome, run_together
from edgecell.tasks import bench_showing

pytestmark = needs_sshd

P, U = artifacts.LABELS
CELLS = {f"C{i % 3}P{i % 3}thinF_IMG_{i}.png": (P, U)[i % 2] for i in range(12)}
SHORT = (
    *("--seconds", "0.05", "--queries", "20", "--processes", "1"),
    *("--scenarios", "single_stream", "--threads", "1"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with SshServer() as server:
        server.start()
        yield server


@pytest.fixture
def fleet(server: SshServer, tmp_path: Path) -> Path:
    """Two devices: the loopback with this Python's libraries, and one that nobody answers at."""
    lines = []
    for name, url in (("here", server.url), ("gone", "ssh://nobody@127.0.0.1:9")):
        lines += ["[[device]]", f'name = "{name}"', f'url = "{url}"']
        lines += [f'venv = "{sys.prefix}"', f'folder = "{tmp_path / "there"}"']
        lines += [f'ssh_config = "{server.config}"', ""]
    (tmp_path / "there").mkdir()
    path = tmp_path / "fleet.toml"
    path.write_text("\n".join(lines))
    return path


def test_fleet_is_measured_and_a_device_that_is_gone_is_named(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = artifacts.write_artifact(tmp_path, "onnx")
    data = write_cells(tmp_path / "cells", CELLS)
    outcome = invoke(capsys, "bench", model, "--data", data, "--fleet", fleet, *SHORT, "--json")
    assert outcome.status == 1
    assert "gone: " in outcome.err
    (row,) = outcome.document["here"]["rows"]
    assert (row["artifact"], row["evaluation"]["n"]) == ("tiny.onnx", 12)
    assert row["target"]["artifact"] == str(model)
    assert list((tmp_path / "there").iterdir()) == []


def test_answers_that_do_not_fit_are_said_of_their_device_alone(
    fleet: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def damaged(*arguments: Any) -> tuple[Outcome, ...]:
        outcomes = run_together(*arguments)
        (outcomes[0].out / ANSWERS_FILE).write_bytes(b"no answers")
        return outcomes

    monkeypatch.setattr(bench_showing, "run_together", damaged)
    model = artifacts.write_artifact(tmp_path, "onnx")
    outcome = invoke(capsys, "bench", model, "--fleet", fleet, *SHORT, "--json")
    assert (outcome.status, outcome.out) == (1, "")
    assert "here: What here sent back does not fit what it was asked" in outcome.err
    assert "Not one device measured anything" in outcome.err


def test_held_out_images_stay_here_unless_data_names_them(
    fleet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = latest_run(tmp_path / "runs", ("onnx", "float32")).exports / "tiny-float32.onnx"
    outcome = invoke(capsys, "bench", model, "--fleet", fleet, *SHORT, "--json")
    found = outcome.document["here"]
    assert (found["images"], found["rows"][0]["evaluation"]) == ("golden", None)
