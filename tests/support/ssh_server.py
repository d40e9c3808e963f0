"""A real ``sshd`` on the loopback, with keys and a configuration of its own."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

needs_sshd = pytest.mark.skipif(
    SSHD is None or shutil.which("ssh") is None,
    reason="there is no sshd here: apt-get install openssh-server openssh-client",
)


class SshServer:
    """One server; the client's configuration beside it knows its key."""

    def __init__(self) -> None:
        # Not below pytest's own folder, where a second user could not read the authorised keys.
        self.folder = folder = Path(tempfile.mkdtemp(prefix="edgecell-sshd-"))
        self.user = getpass.getuser()
        folder.chmod(0o755)
        for name in ("host", "client", "stranger"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
            )
        shutil.copy(folder / "client.pub", folder / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        host_key = (folder / "host.pub").read_text(encoding="ascii")
        self.config = self.write_config("config", f"[127.0.0.1]:{self.port} {host_key}")

    def __enter__(self) -> "SshServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    @property
    def url(self) -> str:
        return f"ssh://{self.user}@127.0.0.1:{self.port}"

    def write_config(self, name: str, known: str, key: str = "client") -> Path:
        """A client's configuration with a key and what it knows of hosts."""
        known_hosts, config = self.folder / f"{name}.known", self.folder / name
        known_hosts.write_text(known, encoding="ascii")
        config.write_text(
            f"IdentityFile {self.folder / key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {known_hosts}\nGlobalKnownHostsFile /dev/null\n"
            "HashKnownHosts no\nUpdateHostKeys no\n",
            encoding="ascii",
        )
        return config

    def start(self) -> None:
        assert SSHD is not None
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder / 'host'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nPidFile none\nUsePAM no\n"
            "StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "PermitRootLogin prohibit-password\nMaxStartups 50\nPrintMotd no\n",
            encoding="ascii",
        )
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with (self.folder / "sshd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [SSHD, "-D", "-e", "-f", str(config)], stderr=log, start_new_session=True
            )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "sshd.log").read_text(encoding="utf-8"))

    def connections(self) -> list[int]:
        """The processes that serve a connection each."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(number) for number in children.read_text(encoding="ascii").split()]

    def cut(self) -> None:
        """Ends every connection; new ones are taken."""
        for number in self.connections():
            for inner in (*_descendants(number), number):
                if b"sshd" in Path(f"/proc/{inner}/cmdline").read_bytes().split(b"\0")[0]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(inner, signal.SIGKILL)

    def freeze(self) -> list[int]:
        """Lets every connection hang without a word; gives the frozen processes."""
        frozen = [n for number in self.connections() for n in (*_descendants(number), number)]
        sshds = [n for n in frozen if b"sshd" in Path(f"/proc/{n}/cmdline").read_bytes()]
        for number in sshds:
            os.kill(number, signal.SIGSTOP)
        return sshds

    def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError):
                self.cut()
            self._process.terminate()
            self._process.wait()
            self._process = None


def _descendants(number: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{number}/task").glob("*/children"):
        for child in children.read_text(encoding="ascii").split():
            found += [*_descendants(int(child)), int(child)]
    return found
