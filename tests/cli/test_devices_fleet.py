"""Fleet files, addresses, and several devices at once."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.bench_job import write_job

from edgecell.devices.address import Address, parse_address
from edgecell.devices.base import DeviceError, DeviceSettings, Errand, Manners, StoppedError
from edgecell.devices.fleet import read_fleet
from edgecell.devices.ssh import SshDevice
from edgecell.devices.together import open_device, run_together
from edgecell_runtime.errors import StorageError, UsageError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("ssh://pi@pi5.local", Address("ssh", "pi5.local", "pi")),
        ("ssh://pi@pi5.local:2222/", Address("ssh", "pi5.local", "pi", 2222)),
        ("ssh://MyAlias", Address("ssh", "MyAlias")),
        ("ssh://root@[fe80::1]:22", Address("ssh", "fe80::1", "root", 22)),
        ("adb://R5CT20ABCDE", Address("adb", "R5CT20ABCDE")),
        ("adb://192.168.0.7:5555", Address("adb", "192.168.0.7:5555")),
    ],
)
def test_address_is_read(url: str, address: Address) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("pi@pi5.local", "expected ssh://user@host"),
        ("http://pi5.local", "expected ssh://user@host"),
        ("ssh://", "expected ssh://user@host"),
        ("ssh://pi@host:99999", "out of range"),
        ("ssh://pi:secret@host", "holds a password"),
        ("ssh://pi@host/data", "something after the host"),
        ("ssh://-oProxyCommand=x", "is no name"),
        ("ssh://-l@host", "is no name"),
        ("adb://-e", "is no name"),
        ("ssh://pi@ho\x1bst", "is no name"),
    ],
)
def test_address_is_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)
    assert str(caught.value).isprintable()


def write(folder: Path, text: str) -> Path:
    path = folder / "fleet.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_fleet_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "wheels").mkdir()
    text = """
        [[device]]
        name = "pi5"
        url = "ssh://pi@pi5.local"
        wheelhouse = "wheels"
        folder = "/data"
        [[device]]
        url = "ssh://nano"
        venv = "/opt/bench"
    """
    assert read_fleet(write(tmp_path, text)) == (
        DeviceSettings("pi5", "ssh://pi@pi5.local", folder="/data", wheelhouse=tmp_path / "wheels"),
        DeviceSettings("nano", "ssh://nano", venv="/opt/bench"),
    )


DEVICE = '[[device]]\nurl = "ssh://a"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no device"),
        ("device = 3", "names no device"),
        ("[device]\nurl = 'ssh://a'", "names no device"),
        ("[[device", "is not valid TOML"),
        ("[[devices]]\nurl = 'ssh://a'", r"has 'devices'; expected \[\[device\]\]"),
        (DEVICE + "pyhton = 'x'", "Device 1 of .* has the key 'pyhton'; expected some of name,"),
        (DEVICE + DEVICE, "names a twice"),
        (DEVICE + "[[device]]\nname = 'b'", "Device 2 of .* lacks the key url"),
        (DEVICE + "python = 3", "has python = 3; expected a text"),
        (DEVICE + 'folder = ""', "has folder = ''; expected a text"),
        (DEVICE + "wheelhouse = 'none'", "names a wheelhouse that is no folder"),
        ("[[device]]\nurl = 'pi'", "Device 1 of .*: pi is no device"),
    ],
)
def test_fleet_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        read_fleet(write(tmp_path, text))


def test_fleet_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"fleet\.toml could not be read"):
        read_fleet(tmp_path / "fleet.toml")


def test_venv_and_wheelhouse_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="leave one of them out"):
        SshDevice(DeviceSettings("a", "ssh://a", venv="/v", python="python3"), Manners())


class FakeDevice:
    """A device whose visit is a function."""

    def __init__(self, name: str, body: Callable[[Errand], None], refusal: str = "") -> None:
        self.name, self._body, self._refusal = name, body, refusal

    def check(self, job: Path) -> None:
        if self._refusal:
            raise UsageError(self._refusal)

    def run(self, errand: Errand) -> None:
        self._body(errand)


def answer(errand: Errand) -> None:
    """What a device that works does: the stand-in's empty result."""
    import json

    orders = json.loads((errand.job / "inputs" / "orders.json").read_text(encoding="utf-8"))
    errand.out.mkdir(parents=True)
    text = json.dumps(orders["result"])
    (errand.out / "benchmark.json").write_text(text, encoding="utf-8")
    errand.say("done")


def fail(_: Errand) -> None:
    raise DeviceError("It is on fire.")


def test_device_that_fails_ends_no_other(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    said: list[tuple[str, str]] = []
    devices = [
        FakeDevice("a", answer),
        FakeDevice("b", fail),
        FakeDevice("c", answer, refusal="It does not fit."),
        FakeDevice("d", answer),
    ]
    found = run_together(
        devices, job, tmp_path / "out", lambda name, words: said.append((name, words))
    )
    assert [(o.name, o.benchmark is not None, o.reason) for o in found] == [
        ("a", True, ""),
        ("b", False, "It is on fire."),
        ("c", False, "It does not fit."),
        ("d", True, ""),
    ]
    assert sorted(said) == [("a", "done"), ("d", "done")]


def test_devices_run_at_the_same_time(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job")
    both = threading.Barrier(2, timeout=30)

    def meet(errand: Errand) -> None:
        both.wait()  # breaks where one runs after the other
        answer(errand)

    found = run_together(
        [FakeDevice("a", meet), FakeDevice("b", meet)], job, tmp_path / "out", lambda *_: None
    )
    assert all(outcome.benchmark for outcome in found)


def test_job_that_fits_no_device_is_refused(tmp_path: Path) -> None:
    devices = [FakeDevice("a", answer, "No."), FakeDevice("b", answer, "Neither.")]
    with pytest.raises(UsageError, match="No"):
        run_together(devices, write_job(tmp_path / "job"), tmp_path, lambda *_: None)


def test_interrupt_lets_every_device_tidy_up_first(tmp_path: Path) -> None:
    tidied = []

    def wait(errand: Errand) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert errand.stopped.wait(30)
        time.sleep(0.2)
        tidied.append(errand.out.name)
        raise StoppedError("stopped")

    with pytest.raises(KeyboardInterrupt):
        run_together(
            [FakeDevice("a", wait)], write_job(tmp_path / "job"), tmp_path, lambda *_: None
        )
    assert tidied == ["device-0"]


def test_device_is_opened_by_its_address(tmp_path: Path) -> None:
    assert open_device(DeviceSettings("a", "ssh://a"), Manners()).name == "a"
    with pytest.raises(UsageError, match="name the file that is built for its processor"):
        open_device(DeviceSettings("b", "adb://b"), Manners())
