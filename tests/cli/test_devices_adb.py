"""Android devices, with a stand-in for ``adb`` that takes a folder for the device."""

import contextlib
import sys
import threading
from pathlib import Path

import pytest
from support.artifacts import write_artifact

from edgecell.devices.adb import AdbDevice
from edgecell.devices.base import DeviceError, DeviceSettings, Errand, Manners, StoppedError
from edgecell.devices.benchmark_model import ROUNDS, arguments_of, parse_turn
from edgecell_runtime import codec
from edgecell_runtime.bench.plan import Job, Plan, Query, Scenario, Stage, Target
from edgecell_runtime.bench.results import Benchmark
from edgecell_runtime.errors import MissingPartError, UsageError

PRINTED = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Loaded model /data/local/tmp/0.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: The input model file size (MB): 4.36852
INFO: Initialized session in 5.685ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if \
exceeding 150 seconds.
INFO: count=31 first=18535 curr=14423 min=14102 max=18535 avg=14462.3 std=771 p5=14110 \
median=14380 p95=15020

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if \
exceeding 150 seconds.
INFO: count=70 first=14444 curr=14400 min=14095 max=16222 avg=14575.2 std=310 p5=14150 \
median={median} p95=15500

INFO: Inference timings in us: Init: 5685, First inference: 18535, Warmup (avg): 14462.3, \
Inference (avg): 14575.2
INFO: Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
INFO: Memory footprint delta from the start of the tool (MB): init=5.1 overall=9.4
"""

ADB = """\
#!{python}
import os, pathlib, shutil, subprocess, sys
place = pathlib.Path({place!r})
serial, command, *rest = sys.argv[2:]
with (place / "calls").open("a") as calls:
    calls.write(" ".join([command, *rest]) + "\\n")
if serial == "LOCKED":
    sys.exit("adb: device unauthorized.")
if serial != "R5CT20":
    sys.exit(f"adb: device '{{serial}}' not found")
if command == "push":
    shutil.copy(*rest)
    sys.exit(0)
path = f"{{place / 'bin'}}:{{os.environ['PATH']}}"
sys.exit(subprocess.run(["sh", "-c", rest[0]], env={{**os.environ, "PATH": path}}).returncode)
"""


class Phone:
    """The stand-in, its folder, and a job for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, folder / "phone"
        (self.place / "bin").mkdir(parents=True)
        (self.place / "tmp").mkdir()
        adb = ADB.format(python=sys.executable, place=str(self.place))
        self.write(folder / "path" / "adb", adb)
        facts = {
            "ro.product.manufacturer": "Fair",
            "ro.product.model": "FP5",
            "ro.soc.model": "QCM6490",
            "ro.build.version.release": "14",
        }
        cases = "\n".join(f"{key}) echo {value};;" for key, value in facts.items())
        self.write(self.place / "bin" / "getprop", f'#!/bin/sh\ncase "$1" in\n{cases}\nesac\n')
        self.write(self.place / "bin" / "nproc", "#!/bin/sh\necho 8\n")
        self.tool = folder / "benchmark_model"
        self.print_medians(14400, 14400)
        self.said: list[str] = []

    @staticmethod
    def write(path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def print_medians(self, first: int, second: int) -> None:
        """Lets the tool say a median for each of the two artifacts, in microseconds."""
        script = '#!/bin/sh\ncase "$1" in *0.tflite) m={0};; *) m={1};; esac\ncat <<EOF\n{2}EOF\n'
        self.write(self.tool, script.format(first, second, PRINTED.replace("{median}", "$m")))

    def job(
        self, scenarios: tuple[Scenario, ...] = ("single_stream",), stage: Stage = "model"
    ) -> Path:
        folder = self.folder / "job"
        (folder / "inputs").mkdir(parents=True)
        for name in ("a", "b"):
            write_artifact(self.folder, "tflite").rename(folder / f"{name}.tflite")
        write_artifact(self.folder, "onnx").rename(folder / "c.onnx")
        targets = (Target("a.tflite"), Target("b.tflite", threads=2, cpus=(0, 1)), Target("c.onnx"))
        plan = Plan(scenarios=scenarios, stage=stage)
        job = Job(targets, plan, (Query("cell"),), "inputs", "held-out")
        (folder / "job.json").write_text(codec.dumps(job), encoding="utf-8")
        return folder

    def device(self, serial: str = "R5CT20", manners: Manners | None = None) -> AdbDevice:
        settings = DeviceSettings(
            "phone",
            f"adb://{serial}",
            folder=str(self.place / "tmp"),
            benchmark_model=self.tool,
        )
        return AdbDevice(settings, manners or Manners())

    def run(self, serial: str = "R5CT20", manners: Manners | None = None) -> Benchmark:
        out = self.folder / "out"
        self.device(serial, manners).run(Errand(self.job(), out, self.said.append))
        return codec.loads(Benchmark, (out / "benchmark.json").read_bytes(), "result")

    def calls(self) -> list[str]:
        return (self.place / "calls").read_text(encoding="utf-8").splitlines()

    def left(self) -> list[Path]:
        return list((self.place / "tmp").iterdir())


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Phone:
    phone = Phone(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    return phone


def test_adb_device_gives_rows_and_leaves_nothing(phone: Phone) -> None:
    phone.print_medians(14400, 7200)
    found = phone.run()
    assert [row.artifact for row in found.rows] == ["a.tflite", "b.tflite"]
    latency = found.rows[0].latency
    assert latency is not None
    assert latency.median_ms.value == latency.median_ms.low == pytest.approx(14.4)
    assert (latency.count, latency.minimum_ms) == (70 * ROUNDS, pytest.approx(14.095))
    assert (latency.p90_ms, latency.p99_ms) == (None, None)  # the tool does not say them
    assert found.ratios[0].ratio.value == pytest.approx(0.5)
    assert [row.threads for row in found.rows] == [8, 2]
    assert [item.target.artifact for item in found.skipped] == ["c.onnx"]
    assert found.images == "random"
    assert found.rows[0].load_ms == pytest.approx(5.685)
    assert phone.left() == []


def test_adb_device_describes_itself(phone: Phone) -> None:
    system = phone.run().system
    assert system.processor == "Fair FP5, QCM6490"
    assert (system.distribution, system.allowed_cpus) == ("Android 14", 8)


def test_adb_device_sends_no_image(phone: Phone) -> None:
    phone.run()
    sent = [call for call in phone.calls() if call.startswith("push")]
    assert sorted(Path(call.split()[1]).name for call in sent) == [
        "a.tflite",
        "b.tflite",
        "benchmark_model",
    ]


def test_adb_device_takes_turns_and_pins_where_told(phone: Phone) -> None:
    phone.run()
    turns = [call for call in phone.calls() if "--graph" in call]
    graphs = ["a" if "0.tflite" in call else "b" for call in turns]
    rounds = [tuple(graphs[i : i + 2]) for i in range(0, len(graphs), 2)]
    assert len(rounds) == ROUNDS
    assert set(rounds) == {("a", "b"), ("b", "a")}
    assert all(call.startswith("shell taskset 3 ") == ("1.tflite" in call) for call in turns)


def test_adb_device_keeps_its_folder_when_told(phone: Phone) -> None:
    phone.run(manners=Manners(keep=True))
    (left,) = phone.left()
    assert f"left there: {left}" in phone.said


@pytest.mark.parametrize(
    ("serial", "words"),
    [
        ("OTHER", "There is no Android device OTHER: look for it with adb devices"),
        ("LOCKED", "phone does not trust this computer: unlock it"),
    ],
)
def test_adb_device_that_is_not_reached_is_named(phone: Phone, serial: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        phone.run(serial)


def test_folder_that_is_not_on_the_adb_device_is_named(phone: Phone) -> None:
    (phone.place / "tmp").rmdir()
    with pytest.raises(DeviceError, match=f"^There is no folder {phone.place}/tmp on phone"):
        phone.run()


def test_tool_that_is_not_there_is_named(phone: Phone) -> None:
    phone.tool.unlink()
    with pytest.raises(UsageError, match=f"^There is no file {phone.tool} to measure phone with;"):
        phone.device()


def test_adb_that_prints_escapes_moves_no_cursor(phone: Phone) -> None:
    escape = "\\033]0;pwn\\007\\033[31m"
    phone.write(phone.folder / "path" / "adb", f"#!/bin/sh\nprintf '{escape}red'; exit 1\n")
    with pytest.raises(DeviceError) as caught:
        phone.run()
    assert "\\x1b]0;pwn\\x07\\x1b[31mred" in str(caught.value)
    assert str(caught.value).isprintable()


def test_facts_of_an_adb_device_move_no_cursor(phone: Phone) -> None:
    phone.write(phone.place / "bin" / "uname", "#!/bin/sh\nprintf 'Linux\\033[31m'\n")
    assert "Linux\\x1b[31m" in phone.run().system.os


def test_adb_that_is_missing_is_named(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(phone.folder))
    with pytest.raises(MissingPartError, match="adb is not installed"):
        phone.run()


def test_adb_device_stops_and_leaves_nothing_when_interrupted(phone: Phone) -> None:
    stopped = threading.Event()
    phone.write(phone.tool, "#!/bin/sh\nwhile :; do sleep 0.1; done\n")

    def say(words: str) -> None:
        if words.startswith("measuring"):
            stopped.set()

    with pytest.raises(StoppedError):
        phone.device().run(Errand(phone.job(), phone.folder / "out", say, stopped))
    assert phone.left() == []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert str(phone.place / "tmp").encode() not in entry.read_bytes()


@pytest.mark.parametrize(
    ("scenarios", "stage"), [(("offline",), "model"), (("single_stream",), "pipeline")]
)
def test_adb_device_refuses_what_the_tool_cannot_do(
    phone: Phone, scenarios: tuple[Scenario, ...], stage: Stage
) -> None:
    with pytest.raises(UsageError, match="measures single stream from the preprocessed image on"):
        phone.device().check(phone.job(scenarios, stage))


def test_output_of_the_tool_is_read() -> None:
    turn = parse_turn(PRINTED.replace("{median}", "14400"), "phone")
    assert (turn.warmup, turn.count) == (31, 70)
    assert (turn.median_ms, turn.mean_ms) == (pytest.approx(14.4), pytest.approx(14.5752))


def test_times_that_are_all_the_same_are_read() -> None:
    same = "Initialized session in 5ms.\ncount=1 curr=9\ncount=50 curr=7(all same) median=7 p95=7"
    turn = parse_turn(same, "phone")
    assert (turn.count, turn.median_ms, turn.minimum_ms) == (50, 0.007, 0.007)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ERROR: Failed to load model x\nERROR: Benchmarking failed.", "Benchmarking failed"),
        ("", r"measured nothing on phone: it printed nothing\. Run it there"),
        ("ERROR: \x1b[31mred", r"measured nothing on phone: ERROR: \\x1b\[31mred\."),
        (PRINTED.replace(" p5=14150 median={median} p95=15500", ""), "a mean and no median"),
    ],
)
def test_output_without_a_median_is_refused(text: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        parse_turn(text, "phone")


def test_plan_is_shared_by_the_rounds() -> None:
    words = arguments_of(Plan(min_queries=1024, min_seconds=4, max_seconds=40), "g.tflite", 2)
    assert f"--num_runs={1024 // ROUNDS}" in words
    assert f"--min_secs={4 / ROUNDS:g}" in words
    assert "--num_threads=2" in words
