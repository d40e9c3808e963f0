"""An Android device, by ``adb`` and LiteRT's ``benchmark_model``: ``adb://serial``."""

import random
import re
import secrets
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edgecell.devices import payload
from edgecell.devices.adb_system import DESCRIBE, cpus_of, facts_of, system_of
from edgecell.devices.address import parse_address
from edgecell.devices.base import RESULT_FILE, DeviceError, DeviceSettings, Errand, Manners
from edgecell.devices.benchmark_model import (
    ROUNDS,
    WARMUP_SECONDS,
    Turn,
    arguments_of,
    parse_turn,
    ratios_of,
    row_of,
)
from edgecell_runtime import codec
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.bench.plan import Job, Plan, Target
from edgecell_runtime.bench.results import Benchmark, Skipped
from edgecell_runtime.errors import EdgecellError, MissingPartError, UsageError
from edgecell_runtime.files import write_bytes
from edgecell_runtime.printable import printable_name

TEMPORARY: Final = "/data/local/tmp"
"""Where Android lets adb's user run programs."""

_COPY_SECONDS: Final = 600.0
_ANSWER_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05

_REASONS: Final = (
    (r"unauthorized", "{name} does not trust this computer: unlock it and accept its question."),
    (
        r"device offline",
        "{name} is offline: plug it in again, then try: adb -s {serial} shell true",
    ),
    (
        r"not found|no devices|cannot connect|failed to connect",
        "There is no Android device {serial}: look for it with adb devices, and allow USB "
        "debugging on it.",
    ),
    (
        r"mkdir: .*(No such file|Not a directory)",
        "There is no folder {parent} on {name}. Make it there, or name another one with "
        "--remote-folder (a fleet file: folder).",
    ),
    (r"No space left", "{name} has no space left in {folder}. Free some there."),
    (r"more than one", "There is more than one device {serial}; give its serial number."),
)


class AdbDevice:
    """An Android device with USB debugging."""

    def __init__(self, settings: DeviceSettings, manners: Manners) -> None:
        self._settings, self._manners = settings, manners
        self._serial = parse_address(settings.url).host
        for key in ("python", "venv", "wheelhouse", "ssh_config"):
            if getattr(settings, key):
                raise UsageError(
                    f"{settings.name} is reached by adb, where {key} means nothing; leave it out."
                )
        tool = settings.benchmark_model
        if tool is None or not tool.is_file():
            cure = (
                "name the file that is built for its processor with --benchmark-model (a fleet "
                "file: benchmark_model)"
            )
            name = settings.name
            raise UsageError(
                f"{name} is measured by LiteRT's benchmark_model: {cure}."
                if tool is None
                else f"There is no file {tool} to measure {name} with; {cure}."
            )
        self._tool = tool

    @property
    def name(self) -> str:
        """What people call it."""
        return self._settings.name

    @property
    def place(self) -> str:
        """See ``Device``."""
        return f"adb://{self._serial}"

    def check(self, job: Path) -> None:
        """Refuses a job that the tool cannot do: it times TFLite files with random input."""
        plan = payload.read_job(job).plan
        if plan.stage != "model" or "single_stream" not in plan.scenarios:
            raise UsageError(
                "benchmark_model measures single stream from the preprocessed image on; leave "
                f"{self.name} out, or ask for that scenario and --stage model."
            )
        if not _split(job)[0]:
            raise UsageError("benchmark_model runs TFLite on LiteRT; the job has no such artifact.")

    def abandon(self) -> None:
        """Nothing of it lasts here."""

    def run(self, errand: Errand) -> None:
        """See ``Device``."""
        self.check(errand.job)
        if shutil.which("adb") is None:
            raise MissingPartError(
                "adb is not installed: apt-get install adb, or Android's platform-tools."
            )
        folder = f"{self._settings.folder or TEMPORARY}/edgecell-{secrets.token_hex(6)}"
        visit = _Visit(self._settings, self._serial, folder, errand)
        try:
            visit.measure(self._tool)
        finally:
            visit.tidy_up(keep=self._manners.keep)


def _split(folder: Path) -> tuple[list[Target], list[Skipped]]:
    """The targets that the tool runs, and the others with the reason."""
    job = payload.read_job(folder)
    payload.portable(folder)  # its artifacts are there
    reason = "benchmark_model runs TFLite on LiteRT only"
    fitting, others = [], []
    for target in job.targets:
        if target.engine in ("", "litert") and target.artifact.endswith(".tflite"):
            fitting.append(target)
        else:
            others.append(Skipped(target, reason))
    return fitting, others


@dataclass(frozen=True)
class _Said:
    status: int
    text: str


class _Visit:
    """One benchmark on an Android device."""

    def __init__(self, settings: DeviceSettings, serial: str, folder: str, errand: Errand) -> None:
        self._settings, self._serial = settings, serial
        self._folder, self._errand = folder, errand

    def measure(self, tool: Path) -> None:
        """Copies the tool and the artifacts, measures in turns, and writes the result."""
        job = payload.read_job(self._errand.job)
        targets, skipped = _split(self._errand.job)
        said = self._shell(f"mkdir -m 700 {shlex.quote(self._folder)} || exit; {DESCRIBE}")
        facts = facts_of(said.text)
        paths = self._copy(tool, targets)
        turns = self._take_turns(job.plan, targets, paths, cpus_of(facts))
        benchmark = replace(self._result(job, targets, turns, facts), skipped=tuple(skipped))
        text = codec.dumps(benchmark, indent=2) + "\n"
        write_bytes(self._errand.out / RESULT_FILE, text.encode())

    def _copy(self, tool: Path, targets: Sequence[Target]) -> dict[str, str]:
        self._errand.say("copying benchmark_model and the artifacts ...")
        self._push(tool, f"{self._folder}/benchmark_model")
        self._shell(f"chmod 700 {shlex.quote(self._folder)}/benchmark_model")
        paths: dict[str, str] = {}
        for target in targets:
            if target.artifact not in paths:
                paths[target.artifact] = f"{self._folder}/{len(paths)}.tflite"
                self._push(self._errand.job / target.artifact, paths[target.artifact])
        return paths

    def _take_turns(
        self, plan: Plan, targets: Sequence[Target], paths: Mapping[str, str], cpus: int
    ) -> list[list[Turn]]:
        turns: list[list[Turn]] = [[] for _ in targets]
        dice = random.Random(plan.seed)
        patience = 3 * (plan.max_seconds / ROUNDS + WARMUP_SECONDS) + _ANSWER_SECONDS
        for number in range(ROUNDS):
            self._errand.say(f"measuring, round {number + 1} of {ROUNDS} ...")
            for index in dice.sample(range(len(targets)), len(targets)):
                target = targets[index]
                graph = paths[target.artifact]
                words = arguments_of(plan, graph, target.threads or cpus)
                command = shlex.join([f"{self._folder}/benchmark_model", *words])
                if target.cpus:
                    command = f"taskset {sum(1 << cpu for cpu in target.cpus):x} {command}"
                said = self._adb(["shell", f"{command} 2>&1"], patience)
                where = f"{self._settings.name} ({Path(target.artifact).name})"
                turns[index].append(parse_turn(said.text, where))
        return turns

    def _result(
        self,
        job: Job,
        targets: Sequence[Target],
        turns: Sequence[Sequence[Turn]],
        facts: Mapping[str, str],
    ) -> Benchmark:
        seed, cpus = job.plan.seed, cpus_of(facts)
        return Benchmark(
            system=system_of(facts),
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            plan=job.plan,
            images="random",
            rows=tuple(
                row_of(
                    target,
                    read_artifact(self._errand.job / target.artifact),
                    target.threads or cpus,
                    turns[index],
                    seed,
                )
                for index, target in enumerate(targets)
            ),
            ratios=ratios_of(turns, seed),
            skipped=(),
            reference_ms=None,
            energy_note="not measured: benchmark_model does not measure it",
        )

    def tidy_up(self, *, keep: bool) -> None:
        """Ends what runs there and removes the folder, also after Ctrl-C."""
        place = shlex.quote(self._folder)
        # The brackets keep the pattern from matching the shell that this very line runs in.
        end = f"pkill -9 -f {place}/[b]enchmark_model"
        command = f"{end}; true" if keep else f"{end}; rm -rf {place}"
        try:
            self._adb(["shell", command], _ANSWER_SECONDS, heed=False)
        except EdgecellError:
            self._errand.say(f"could not tidy up: remove {self._folder} there by hand")
        else:
            if keep:
                self._errand.say(f"left there: {self._folder}")

    def _push(self, source: Path, place: str) -> None:
        self._checked(self._adb(["push", str(source), place], _COPY_SECONDS))

    def _shell(self, command: str) -> _Said:
        return self._checked(self._adb(["shell", command], _ANSWER_SECONDS))

    def _checked(self, said: _Said) -> _Said:
        if said.status == 0:
            return said
        folder = self._folder
        names = {
            "name": self._settings.name,
            "serial": self._serial,
            "folder": folder,
            "parent": folder.rpartition("/")[0],
        }
        for pattern, words in _REASONS:
            if re.search(pattern, said.text):
                raise DeviceError(words.format(**names))
        lines = [line for line in said.text.splitlines() if line.strip()]
        last = printable_name(lines[-1])[:300].rstrip(".") if lines else "it says nothing"
        raise DeviceError(
            f"adb failed on {self._settings.name}: {last}. Try: adb -s {self._serial} shell true"
        )

    def _adb(self, arguments: Sequence[str], seconds: float, *, heed: bool = True) -> _Said:
        """Runs adb; it is ended when the user stops or after ``seconds``."""
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                ["adb", "-s", self._serial, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                deadline = time.monotonic() + seconds
                while process.poll() is None:
                    if heed:
                        self._errand.check_wanted()
                    if time.monotonic() > deadline:
                        raise DeviceError(
                            f"{self._settings.name} did not answer adb within {seconds:.0f} s. "
                            f"Unlock it, then try: adb -s {self._serial} shell true"
                        )
                    time.sleep(_POLL_SECONDS)
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            return _Said(process.returncode, output.read().decode("utf-8", "replace"))
