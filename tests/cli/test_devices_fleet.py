"""Fleet files, addresses, and several devices at once."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.bench_job import write_job

from edgecell.devices.address import Address, parse_address
from edgecell.devices.base import DeviceError, DeviceSettings, Errand, Manners
from edgecell.devices.fleet import read_fleet
from edgecell.devices.ssh import SshDevice
from edgecell.devices.together import check_distinct, open_device, run_together
from edgecell_runtime.errors import UsageError


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
        ("ssh://pi@host:0", "port 0, which is none"),
        ("\x1bssh://host", "control character"),
        ("ssh://ho\nst", "control character"),
        ("ssh://pi:secret@host", "holds a password"),
        ("ssh://pi@host/data", "something after the host"),
        ("ssh://-oProxyCommand=x", "is no name"),
        ("ssh://-l@host", "is no name"),
        ("adb://-e", "is no name"),
        ("ssh://pi@ho\x1bst", "control character"),
        ("ssh://pi@ho st", "is no name"),
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
    with pytest.raises(UsageError, match=r"^There is no fleet file .*fleet\.toml; expected a TOML"):
        read_fleet(tmp_path / "fleet.toml")
    with pytest.raises(UsageError, match=r"^There is no fleet file "):
        read_fleet(tmp_path)


def test_venv_and_wheelhouse_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="leave one of them out"):
        SshDevice(DeviceSettings("a", "ssh://a", venv="/v", python="python3"), Manners())


class FakeDevice:
    """A device whose visit is a function."""

    def __init__(
        self, name: str, body: Callable[[Errand], None], refusal: str = "", place: str = ""
    ) -> None:
        self.name, self.place = name, place or name
        self._body, self._refusal = body, refusal

    def check(self, job: Path) -> None:
        if self._refusal:
            raise UsageError(self._refusal)

    def run(self, errand: Errand) -> None:
        self._body(errand)

    def abandon(self) -> None:
        raise AssertionError("nobody interrupted twice")


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


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        (("ssh://pi@a", "ssh://pi@a"), "^ssh://pi@a is named twice; expected different devices"),
        (("ssh://pi@a", "ssh://pi@a/"), "^ssh://pi@a and ssh://pi@a/ are one; expected different"),
        (("ssh://[fe80::1]:22", "ssh://[fe80::1]:022"), "are one; expected different"),
        (("ssh://pi@a", "ssh://pi-a"), "^ssh://pi@a and ssh://pi-a would write one file"),
        (("ssh://Pi", "ssh://pi"), "would write one file"),
    ],
)
def test_devices_that_are_not_distinct_are_refused(devices: tuple[str, str], words: str) -> None:
    opened = [open_device(DeviceSettings(url, url), Manners()) for url in devices]
    with pytest.raises(UsageError, match=words):
        check_distinct(opened)


def test_devices_of_one_host_that_differ_are_taken() -> None:
    urls = ("ssh://a", "ssh://b@a", "ssh://a:2222", "ssh://a:2223", "adb://c")
    check_distinct([FakeDevice(str(n), answer, place=url) for n, url in enumerate(urls)])


@pytest.mark.parametrize(
    "devices",
    [
        [FakeDevice("a/b", answer), FakeDevice("a-b", answer)],
        [FakeDevice("a", answer, place="p"), FakeDevice("b", answer, place="p")],
    ],
)
def test_nothing_runs_where_devices_are_not_distinct(
    devices: list[FakeDevice], tmp_path: Path
) -> None:
    said: list[str] = []
    with pytest.raises(UsageError):
        run_together(devices, write_job(tmp_path / "job"), tmp_path, lambda *w: said.extend(w))
    assert said == []


def test_words_of_others_move_no_cursor(tmp_path: Path) -> None:
    def loud(errand: Errand) -> None:
        errand.say("\x1b]0;pwn\x07")
        raise DeviceError("\x1b[31mred")

    said: list[str] = []
    job = write_job(tmp_path / "job")
    (found,) = run_together([FakeDevice("a", loud)], job, tmp_path, lambda *w: said.extend(w))
    assert said == ["a", "\\x1b]0;pwn\\x07"]
    assert found.reason == "\\x1b[31mred"
    refusing = [FakeDevice("b", loud, refusal="\x1b[31mred")]
    with pytest.raises(UsageError, match=r"^\\x1b\[31mred$"):
        run_together(refusing, job, tmp_path, lambda *_: None)


def test_mistake_of_ours_is_raised_where_one_waits(tmp_path: Path) -> None:
    def wrong(_: Errand) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_together(
            [FakeDevice("a", wrong)], write_job(tmp_path / "job"), tmp_path, lambda *_: None
        )


def test_device_is_opened_by_its_address(tmp_path: Path) -> None:
    assert open_device(DeviceSettings("a", "ssh://a"), Manners()).name == "a"
    with pytest.raises(UsageError, match="name the file that is built for its processor"):
        open_device(DeviceSettings("b", "adb://b"), Manners())
