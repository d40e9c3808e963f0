"""``edgecell bench --fleet`` over a real ``sshd``, with the real measuring."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import artifacts
from support.command_line import invoke, latest_run, write_cells
from support.ssh_server import SshServer, needs_sshd
from support.ssh_visit import processes_with, wait_until

from edgecell.devices.base import ANSWERS_FILE
from edgecell.devices.together import Outcome, run_together
from edgecell.tasks.bench import showing

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

    monkeypatch.setattr(showing, "run_together", damaged)
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


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A temporary folder whose path is short: a socket's may have some 100 characters."""
    with tempfile.TemporaryDirectory(prefix="ec-") as name:
        yield Path(name)


@contextlib.contextmanager
def measuring(fleet: Path, folder: Path, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that measures on a device by now."""
    model = artifacts.write_artifact(folder, "onnx")
    words = ["bench", str(model), "--fleet", str(fleet), "--seconds", "60"]
    paths = {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(temporary)}
    with subprocess.Popen(
        [sys.executable, "-m", "edgecell", *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **paths},
    ) as child:
        assert child.stderr is not None
        assert any(line.startswith("here: measuring") for line in child.stderr)
        yield child


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_interrupted_benchmark_leaves_nothing_here_nor_there(
    number: signal.Signals, status: int, fleet: Path, tmp_path: Path, temporary: Path
) -> None:
    with measuring(fleet, tmp_path, temporary) as child:
        child.send_signal(number)
        said = child.communicate(timeout=60)[1]
    assert said.endswith("Error: Interrupted; no file was left half written.\n")
    assert child.returncode == status
    assert list((tmp_path / "there").iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert processes_with(str(tmp_path)) == processes_with(str(temporary)) == {}


def test_benchmark_interrupted_twice_leaves_no_connection_here(
    server: SshServer, fleet: Path, tmp_path: Path, temporary: Path
) -> None:
    with measuring(fleet, tmp_path, temporary) as child:
        server.freeze()  # so that tidying up takes long
        child.send_signal(signal.SIGINT)
        time.sleep(1)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
    server.cut()
    for number in processes_with(str(tmp_path / "there")):  # they would end by themselves, later
        os.kill(number, signal.SIGKILL)
    assert child.returncode == 130
    assert list(temporary.iterdir()) == []
    wait_until(lambda: processes_with(str(temporary)) == {})


@pytest.mark.parametrize("second", ["ssh://nobody@127.0.0.1:9", "ssh://nobody@127.0.0.1:9/"])
def test_device_that_is_named_twice_is_refused(
    second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = artifacts.write_artifact(tmp_path, "onnx")
    devices = ("--device", "ssh://nobody@127.0.0.1:9", "--device", second)
    outcome = invoke(capsys, "bench", model, *devices, *SHORT)
    assert (outcome.status, outcome.out) == (2, "")
    assert "expected different devices" in outcome.err


def test_devices_of_one_file_name_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = tmp_path / "fleet.toml"
    names = {"a/b": "ssh://nobody@127.0.0.1:9", "a-b": "ssh://somebody@127.0.0.1:9"}
    tables = (f'[[device]]\nname = "{name}"\nurl = "{url}"\n' for name, url in names.items())
    fleet.write_text("".join(tables))
    model = artifacts.write_artifact(tmp_path, "onnx")
    outcome = invoke(
        capsys, "bench", model, "--fleet", fleet, *SHORT, "--output", tmp_path / "r.json"
    )
    assert (outcome.status, outcome.out) == (2, "")
    assert "a/b and a-b would write one file" in outcome.err
    assert not (tmp_path / "r-a-b.json").exists()
