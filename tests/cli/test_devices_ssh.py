"""Benchmarks over a real ``sshd`` on the loopback, with a stand-in for the measuring."""

import io
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest
from support.bench_job import stand_in_entries, write_job
from support.ssh_server import SshServer, needs_sshd
from support.ssh_visit import Visit, wait_until

from edgecell.devices import payload, ssh_feeds
from edgecell.devices.base import DeviceError, Manners, StoppedError
from edgecell_runtime.errors import UsageError

pytestmark = needs_sshd

LONG = {"lines": 1000, "seconds": 0.05}


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with SshServer() as server:
        server.start()
        yield server


@pytest.fixture
def visit(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Visit:
    entries = stand_in_entries(tmp_path / "stand-in")
    monkeypatch.setattr(payload, "runtime_entries", lambda: entries)
    return Visit(server, tmp_path)


def test_ssh_device_brings_results_back_and_leaves_nothing(visit: Visit, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    visit.run(job)
    found = visit.result()
    assert [item.target.artifact for item in found.skipped] == [
        "net.tflite",
        str(job / "net.tflite"),
    ]
    assert found.skipped[0].reason.endswith("/runtime")
    assert (tmp_path / "out/answers.npz").read_bytes() == b"answers"
    assert "0% query 1" in visit.said
    assert visit.left() == []
    assert visit.processes() == {}


def test_ssh_device_runs_twice_in_a_row(visit: Visit, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", answers=False)
    visit.run(job)
    visit.run(job)
    assert visit.result().images == "drawn"
    assert visit.left() == []


def test_ssh_device_keeps_the_folder_when_told(visit: Visit, tmp_path: Path) -> None:
    visit.run(write_job(tmp_path / "job"), Manners(keep=True, connect_seconds=5))
    (left,) = visit.left()
    assert f"left there: {visit.remote / left}" in visit.said
    assert (visit.remote / left / "out" / "benchmark.json").exists()
    assert (visit.remote / left).stat().st_mode & 0o077 == 0
    assert visit.processes() == {}


@pytest.mark.parametrize("way", ["cut", "freeze"])
def test_ssh_device_goes_on_after_a_lost_connection(visit: Visit, tmp_path: Path, way: str) -> None:
    join = visit.in_background(write_job(tmp_path / "job", lines=60, seconds=0.1))
    if way == "cut":
        visit.server.cut()
    else:
        visit.server.freeze()
    failure = join()
    visit.server.cut()
    assert failure is None
    assert "the connection was lost; connecting again ..." in visit.said
    queries = [words.partition("% ")[2] for words in visit.said if " query " in words]
    assert queries == [f"query {number}" for number in range(60)]  # none twice, none missed
    assert visit.left() == []


def test_ssh_device_says_what_is_lost_when_the_host_stays_away(
    server: SshServer, visit: Visit, tmp_path: Path
) -> None:
    manners = Manners(connect_seconds=2, alive_seconds=1, lost_seconds=1, lease_seconds=4)
    join = visit.in_background(write_job(tmp_path / "job", **LONG), manners)
    (folder,) = visit.left()
    server.stop()
    try:
        failure = join()
    finally:
        server.start()
    assert isinstance(failure, DeviceError)
    assert "was lost and did not come back within 1 s;" in str(failure)
    assert f"removes {visit.remote / folder} by itself" in str(failure)
    wait_until(lambda: visit.left() == [])  # the device does what the sentence says
    wait_until(lambda: visit.processes() == {})


def test_ssh_device_stops_and_leaves_nothing_when_interrupted(visit: Visit, tmp_path: Path) -> None:
    join = visit.in_background(write_job(tmp_path / "job", **LONG))
    visit.stopped.set()
    assert isinstance(join(), StoppedError)
    assert visit.left() == []
    assert visit.processes() == {}


def at_copying(visit: Visit, act: Callable[[], object]) -> None:
    """Does something when the copying begins, the first time."""
    say = visit.say

    def act_and_say(words: str) -> None:
        if words.startswith("copying"):
            act()
        say(words)

    visit.say = act_and_say  # type: ignore[method-assign]


def test_ssh_device_leaves_nothing_when_interrupted_while_copying(
    visit: Visit, tmp_path: Path
) -> None:
    at_copying(visit, visit.stopped.set)
    with pytest.raises(StoppedError):
        visit.run(write_job(tmp_path / "job"))
    assert visit.left() == []
    assert visit.processes() == {}


def is_receiving(visit: Visit) -> bool:
    """Whether the program runs there; the ssh here has it in its command line too."""
    lines = [line.split() for line in visit.processes().values()]
    return any(words[0].endswith("python") and "receive" in words for words in lines)


def test_ssh_device_copies_again_after_a_lost_connection(
    visit: Visit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = []

    def cut_in_the_middle(entries: Sequence[payload.Entry], stream: IO[bytes]) -> None:
        whole = io.BytesIO()
        payload.write_archive(entries, whole)
        if not cuts:
            cuts.append(stream.write(whole.getvalue()[:4096]))
            stream.flush()
            wait_until(lambda: is_receiving(visit))
            visit.server.cut()
        else:
            stream.write(whole.getvalue())

    monkeypatch.setattr(ssh_feeds, "write_archive", cut_in_the_middle)
    visit.run(write_job(tmp_path / "job"))
    assert cuts == [4096]
    assert "the connection was lost; connecting again ..." in visit.said
    assert visit.result().images == "drawn"
    assert visit.left() == []


def test_ssh_device_says_what_the_measuring_said_when_it_failed(
    visit: Visit, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"^The measuring on pi failed: EngineError: no engine"):
        visit.run(write_job(tmp_path / "job", fail="a trace\nEngineError: no engine"))
    assert visit.left() == []


def test_ssh_device_says_that_the_measuring_was_killed(visit: Visit, tmp_path: Path) -> None:
    join = visit.in_background(write_job(tmp_path / "job", **LONG))
    (number,) = (n for n, line in visit.processes().items() if "edgecell_runtime.bench" in line)
    os.kill(number, signal.SIGKILL)
    failure = join()
    assert "was ended by SIGKILL from outside" in str(failure)
    assert visit.left() == []


def test_ssh_device_ends_all_when_its_folder_is_removed(visit: Visit, tmp_path: Path) -> None:
    join = visit.in_background(write_job(tmp_path / "job", **LONG))
    for folder in visit.remote.iterdir():
        subprocess.run(["rm", "-rf", str(folder)], check=True)
    failure = join()
    assert "The private folder on pi was removed while it was in use" in str(failure)
    assert visit.processes() == {}
    assert visit.left() == []


def test_ssh_device_refuses_images_of_patients_unless_told(visit: Visit, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", kind="held-out")
    with pytest.raises(UsageError, match="do not leave this machine unless you say so with --data"):
        visit.run(job)
    assert visit.said == []
    visit.run(job, Manners(send_images=True))
    assert visit.result().images == "held-out"


@pytest.fixture
def small_disk(visit: Visit) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(visit.remote)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk cannot be mounted here")
    yield visit.remote
    subprocess.run(["umount", "-l", str(visit.remote)], check=True)


@pytest.mark.usefixtures("small_disk")
@pytest.mark.parametrize("when", ["before", "begun", "measuring"])
def test_ssh_device_says_that_its_disk_is_full(visit: Visit, tmp_path: Path, when: str) -> None:
    job = write_job(tmp_path / "job", fill=True)
    if when == "before":
        (job / "net.tflite").write_bytes(bytes(8 << 20))
    if when == "begun":
        (visit.remote / "filler").write_bytes(bytes((4 << 20) - 4096))
    with pytest.raises(DeviceError, match=f"^pi has no space left in {visit.remote}.*Free some"):
        visit.run(job)
    (visit.remote / "filler").unlink(missing_ok=True)
    assert visit.left() == []
    assert visit.processes() == {}
