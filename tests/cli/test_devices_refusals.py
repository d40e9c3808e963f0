"""What a device refuses, or lacks, is one sentence that says what to do."""

import json
import os
import pwd
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bench_job import stand_in_entries, write_job
from support.ssh_server import SshServer, needs_sshd
from support.ssh_visit import Visit

from edgecell.devices import payload
from edgecell.devices.base import DeviceError, DeviceSettings, Manners
from edgecell.devices.ssh_calls import There, failure
from edgecell_runtime.errors import UsageError

pytestmark = needs_sshd

IMPATIENT = Manners(connect_seconds=1, alive_seconds=1, lost_seconds=1, lease_seconds=30)


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


def refusal(visit: Visit, manners: Manners = IMPATIENT) -> str:
    with pytest.raises(DeviceError) as caught:
        visit.run(write_job(visit.folder / "job"), manners)
    assert visit.left() == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def by_hand(server: SshServer) -> str:
    return f"ssh -p {server.port} {server.user}@127.0.0.1"


def known(server: SshServer, key: str = "host") -> str:
    public = (server.folder / f"{key}.pub").read_text(encoding="ascii")
    return f"[127.0.0.1]:{server.port} {public}"


def test_wrong_key_is_named(server: SshServer, visit: Visit) -> None:
    config = server.write_config("wrong", known(server), key="stranger")
    visit.settings["ssh_config"] = config
    assert refusal(visit) == (
        "127.0.0.1 refused your key. A key is needed that works without a question: add it there "
        f"with ssh-copy-id, or here to the agent with ssh-add, then try: {by_hand(server)}"
    )


def test_unknown_host_key_is_named(server: SshServer, visit: Visit) -> None:
    visit.settings["ssh_config"] = server.write_config("unknown", "")
    words = refusal(visit)
    assert words.startswith("The host key of 127.0.0.1 is not known here")
    assert words.endswith(f"compare its fingerprint: {by_hand(server)}")


def test_changed_host_key_is_named(server: SshServer, visit: Visit) -> None:
    visit.settings["ssh_config"] = server.write_config("changed", known(server, "stranger"))
    words = refusal(visit)
    assert words.startswith("127.0.0.1 shows another host key than the one known here")
    assert f"ssh-keygen -R '[127.0.0.1]:{server.port}'" in words


def test_silent_host_is_given_up(visit: Visit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        visit.settings["url"] = f"ssh://127.0.0.1:{silent.getsockname()[1]}"
        assert refusal(visit).startswith("127.0.0.1 does not answer. Check that it is on")


def test_host_without_a_server_is_named(visit: Visit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    visit.settings["url"] = f"ssh://127.0.0.1:{port}"
    assert refusal(visit).startswith(f"127.0.0.1 runs no SSH server at port {port}.")


def test_host_without_a_name_is_named(visit: Visit) -> None:
    visit.settings["url"] = "ssh://no-such-host.invalid"
    assert refusal(visit).startswith("There is no host no-such-host.invalid")


def test_bad_ssh_configuration_is_named(visit: Visit, tmp_path: Path) -> None:
    config = tmp_path / "bad"
    config.write_text("NoSuchOption yes\n", encoding="ascii")
    visit.settings["ssh_config"] = config
    assert refusal(visit).startswith("ssh cannot read its configuration:")


def script(place: Path, text: str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\n{text}\n", encoding="ascii")
    place.chmod(place.stat().st_mode | stat.S_IXUSR)


def test_device_without_python_is_named(visit: Visit, tmp_path: Path) -> None:
    visit.settings = {"python": str(tmp_path / "no-python")}
    words = refusal(visit)
    assert words.startswith(f"pi has no Python 3.11 or newer at {tmp_path / 'no-python'};")
    assert "sudo apt-get install python3 python3-venv" in words


def test_device_with_an_old_python_is_named(visit: Visit, tmp_path: Path) -> None:
    old = tmp_path / "old-python"
    script(old, '[ "$1" = --version ] && echo Python 3.9.2; exit 1')
    visit.settings = {"python": str(old)}
    assert refusal(visit).startswith(f"{old} on pi is Python 3.9.2, expected 3.11 or newer.")


def test_environment_that_is_not_there_is_named_with_what_helps(
    visit: Visit, tmp_path: Path
) -> None:
    visit.settings = {"venv": str(tmp_path / "none")}
    words = refusal(visit)
    assert words == (
        f"pi has no virtual environment with Python 3.11 at {tmp_path / 'none'}. Name one that is "
        "there, or leave --venv out (a fleet file: venv): one is made then."
    )


def test_folder_that_is_not_there_is_named(visit: Visit, tmp_path: Path) -> None:
    visit.settings["folder"] = str(tmp_path / "none")
    assert refusal(visit) == (
        f"There is no folder {tmp_path / 'none'} on pi. Make it there, or name another one with "
        "--remote-folder (a fleet file: folder)."
    )


@pytest.mark.parametrize("folder", ["no-such-folder", "~no-such-user/data"])
def test_folder_below_the_home_folder_that_is_not_there_is_named(visit: Visit, folder: str) -> None:
    visit.settings["folder"] = folder
    words = refusal(visit)
    assert words.startswith("There is no folder ")
    assert f"{folder} on pi. Make it there" in words


def test_environment_without_numpy_is_named(
    visit: Visit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    entries = [e for e in payload.runtime_entries() if "numpy" not in e.name]
    monkeypatch.setattr(payload, "runtime_entries", lambda: tuple(entries))
    script(visit.venv / "bin" / "bare", "")
    (visit.venv / "bin" / "python").unlink()
    script(visit.venv / "bin" / "python", f'exec {sys.executable} -S "$@"')
    words = refusal(visit)
    assert words.startswith(f"The environment {visit.venv} on pi lacks what the measuring needs:")
    assert "No module named 'numpy'" in words


def test_python_without_the_venv_module_is_named(
    visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = b"raise SystemExit('ensurepip is not available')"
    entries = (*payload.runtime_entries(), payload.Entry("runtime/venv/__main__.py", broken))
    entries = (*entries, payload.Entry("runtime/venv/__init__.py", b""))
    monkeypatch.setattr(payload, "runtime_entries", lambda: entries)
    visit.settings = {"python": sys.executable}
    words = refusal(visit)
    assert words.startswith("pi cannot make a virtual environment with ")
    assert "ensurepip is not available. Install its venv module" in words


@pytest.fixture
def second_user(visit: Visit) -> Iterator[str]:
    """A user who exists for this test, with a home folder; root only."""
    if os.geteuid() != 0 or shutil.which("useradd") is None:
        pytest.skip("only root can make a second user")
    name = f"edgecell{os.getpid() % 100000}"
    home = Path(tempfile.mkdtemp(prefix="edgecell-home-"))
    subprocess.run(["useradd", "-M", "-d", str(home), "-s", "/bin/sh", "-p", "*", name], check=True)
    user = pwd.getpwnam(name)
    os.chown(home, user.pw_uid, user.pw_gid)
    yield name
    subprocess.run(["userdel", name], check=True, capture_output=True)
    shutil.rmtree(home)


def test_second_user_runs_in_the_home_folder(
    server: SshServer, visit: Visit, second_user: str, tmp_path: Path
) -> None:
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    new = "import sys; sys.exit(sys.version_info < (3, 11))"
    if python is None or subprocess.run([python, "-c", new], check=False).returncode != 0:
        pytest.skip("there is no Python 3.11 that every user may run")
    home = Path(pwd.getpwnam(second_user).pw_dir)
    (home / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "bin" / "python").symlink_to(python)
    visit.settings = {
        "url": f"ssh://{second_user}@127.0.0.1:{server.port}",
        "venv": str(home / "venv"),
        "folder": "",
    }
    visit.run(write_job(tmp_path / "job"))
    assert f"{home}/edgecell-" in visit.result().skipped[0].reason
    assert [path.name for path in home.iterdir()] == ["venv"]


def test_wheelhouse_without_wheels_is_refused_before_connecting(
    visit: Visit, tmp_path: Path
) -> None:
    visit.settings = {"wheelhouse": tmp_path}
    with pytest.raises(UsageError, match="holds no wheels"):
        visit.device()


def test_device_without_a_network_is_named_with_the_command_that_fetches_the_wheels() -> None:
    there = There("/home/pi/edgecell-1", "python3", "3.13.2", "aarch64", "glibc")
    engines = ("ai-edge-litert>=2.1",)
    settings = DeviceSettings("pi", "ssh://pi")
    words = str(failure("no_network", "numpy>=2.0", settings, there, engines))
    assert words.startswith("pi reaches no package index, so numpy>=2.0 cannot be installed there.")
    assert "--python-version 3.13 --platform manylinux_2_28_aarch64" in words
    assert words.endswith("-d wheels 'numpy>=2.0' 'pillow>=11.0' 'ai-edge-litert>=2.1'")


def test_result_of_a_device_moves_no_cursor(visit: Visit, tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    orders = json.loads((job / "inputs" / "orders.json").read_text(encoding="utf-8"))
    orders["result"]["system"]["processor"] = "\x1b]0;pwn\x07"
    orders["result"]["energy_note"] = "\x1b[31mred"
    (job / "inputs" / "orders.json").write_text(json.dumps(orders), encoding="utf-8")
    visit.run(job)
    found = visit.result()
    assert found.system.processor == "\\x1b]0;pwn\\x07"
    assert found.energy_note == "\\x1b[31mred"


def test_words_of_a_device_move_no_cursor() -> None:
    words = str(failure("bench_failed", "\x1b[2J gone", DeviceSettings("pi", "ssh://pi")))
    assert words == "The measuring on pi failed: \\x1b[2J gone."
