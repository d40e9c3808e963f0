"""A converter that dies takes nothing with it: not the user's program, not an older artifact."""

import dataclasses
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.sabotage import Call, abort_while_converting, child_of, giving, is_running
from support.small_run import Conversions

from edgecell_export.conversion_process import ConversionProcess, Converted, ConvertHere
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.tflite import TFLiteConverter
from edgecell_export.pixels import PixelFile
from edgecell_export.recipes import RECIPES, find_recipe
from edgecell_runtime.errors import (
    ConversionError,
    EdgecellError,
    UsageError,
)

FLOAT32 = RECIPES["float32"]


@pytest.fixture(scope="module")
def warm() -> Iterator[ConversionProcess]:
    """One child for all tests that convert; tests that harm theirs have one of their own."""
    with ConversionProcess(warm=True) as process:
        yield process


def failure(process: ConversionProcess, conversion: Conversion, path: Path) -> Exception:
    with pytest.raises((EdgecellError, OSError)) as caught:
        process.run("onnx", conversion, path)
    assert not path.exists()
    return caught.value


@pytest.mark.parametrize(
    ("name", "recipe"), [("tflite", "float32"), ("tflite", "static_int8"), ("onnx", "static_int8")]
)
def test_process_writes_the_bytes_that_a_conversion_here_writes(
    warm: ConversionProcess, conversions: Conversions, tmp_path: Path, name: Any, recipe: str
) -> None:
    converted = warm.run(name, conversions.conversion(recipe), tmp_path / "model")
    assert (tmp_path / "model").read_bytes() == conversions.path(name, recipe).read_bytes()
    assert converted.seconds > 0


def test_process_runs_one_conversion_after_another_in_one_child(
    warm: ConversionProcess, conversions: Conversions, tmp_path: Path
) -> None:
    pid = child_of(warm)
    for name in ("a", "b"):
        warm.run("tflite", conversions.conversion("float32"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert warm.pid == pid


def test_process_writes_to_relative_paths_where_this_process_is_now(
    warm: ConversionProcess,
    conversions: Conversions,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    warm.run("savedmodel", conversions.conversion("float32"), Path("model"))
    assert (tmp_path / "model" / "saved_model.pb").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_conversion_tells_the_memory_that_its_process_took(
    warm: ConversionProcess, conversions: Conversions, tmp_path: Path
) -> None:
    converted = warm.run("tflite", conversions.conversion("float32"), tmp_path / "model")
    assert converted.peak_memory_bytes is not None
    assert converted.peak_memory_bytes > 100e6  # TensorFlow alone takes more


def test_converters_own_error_is_raised_with_what_it_printed(
    warm: ConversionProcess, conversions: Conversions, tmp_path: Path
) -> None:
    gone = dataclasses.replace(
        conversions.conversion("static_int8"), calibration=PixelFile(tmp_path / "no", (16, 16, 3))
    )
    with pytest.raises(ConversionError, match=r"TFLite converter failed: .*No such.* It printed:"):
        warm.run("tflite", gone, tmp_path / "model")
    assert warm.pid is not None


def test_error_of_another_kind_becomes_a_conversion_error(
    warm: ConversionProcess, conversions: Conversions, tmp_path: Path
) -> None:
    strange = dataclasses.replace(conversions.conversion("float32"), graph=7)  # type: ignore[arg-type]
    with pytest.raises(ConversionError, match="Converting to savedmodel failed: AttributeError"):
        warm.run("savedmodel", strange, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_conversion_here_shows_what_a_failing_converter_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def convert(self: Any, conversion: Conversion, path: Path) -> None:
        os.write(2, b"a hint")
        raise RuntimeError("a reason")

    monkeypatch.setattr(TFLiteConverter, "convert", convert)
    message = r"Converting to tflite failed: RuntimeError\('a reason'\). It printed: a hint"
    with pytest.raises(ConversionError, match=message):
        ConvertHere().run("tflite", giving(), tmp_path / "model")


def test_edgecell_errors_and_storage_errors_are_raised_as_themselves(
    process: ConversionProcess, tmp_path: Path
) -> None:
    pid = child_of(process)
    usage = failure(process, giving(Call(find_recipe, "int3")), tmp_path / "model")
    assert isinstance(usage, UsageError)
    assert "no quantisation 'int3'" in str(usage)
    assert "find_recipe" in usage.__notes__[0]
    storage = failure(process, giving(Call(os.mkdir, "/proc/no/folder")), tmp_path / "model")
    assert isinstance(storage, FileNotFoundError)
    unread = failure(process, giving(Call(int, "seven")), tmp_path / "model")
    assert isinstance(unread, ConversionError)
    assert "could not read what it was given: ValueError" in str(unread)
    assert process.pid == pid


def test_abort_of_a_converter_is_an_error_that_shows_what_was_printed(
    process: ConversionProcess, tmp_path: Path
) -> None:
    error = failure(process, giving(Call(abort_while_converting)), tmp_path / "model")
    assert isinstance(error, ConversionError)
    assert re.fullmatch(
        r"The process that converts to onnx was ended by the signal SIGABRT; expected .*\. "
        r"Nothing was written\. Convert to another format or recipe, .*\. "
        r"It printed: printed before\nF0000 Check failed: a shape is known",
        str(error),
    )


def test_only_the_end_of_what_was_printed_is_shown(
    process: ConversionProcess, tmp_path: Path
) -> None:
    text = str(failure(process, giving(Call(abort_while_converting, 9000)), tmp_path / "model"))
    assert 1900 < text.count("x") < 2000
    assert "xF0000 Check failed" in text
    assert "printed before" not in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            Call(os.kill, Call(os.getpid), int(signal.SIGKILL)),
            "signal SIGKILL; .* when memory runs out: .* It printed nothing",
        ),
        (Call(os.kill, Call(os.getpid), int(signal.SIGSEGV)), "signal SIGSEGV"),
        (Call(os._exit, 3), "ended with exit status 3"),
        (Call(sys.exit, "no memory"), "ended with exit status 1; .* It printed: no memory"),
    ],
    ids=["killed", "segfault", "exit", "sys.exit"],
)
def test_death_of_the_child_is_an_error_and_the_next_run_starts_another(
    process: ConversionProcess, tmp_path: Path, call: Call, message: str
) -> None:
    pid = child_of(process)
    error = failure(process, giving(call), tmp_path / "model")
    assert isinstance(error, ConversionError)
    assert re.search(message, str(error))
    assert (process.pid, is_running(pid)) == (None, False)
    assert isinstance(
        failure(process, giving(Call(find_recipe, "int3")), tmp_path / "m"), UsageError
    )
    assert child_of(process) != pid


def test_child_that_died_between_conversions_is_an_error(
    process: ConversionProcess, tmp_path: Path
) -> None:
    os.kill(child_of(process), signal.SIGKILL)
    time.sleep(0.1)
    error = failure(process, giving(), tmp_path / "model")
    assert "SIGKILL" in str(error)


@pytest.mark.usefixtures("heeding_ctrl_c")
def test_ctrl_c_ends_the_child_in_the_middle(process: ConversionProcess, tmp_path: Path) -> None:
    pid = child_of(process)
    interrupt = Call(os.kill, os.getpid(), int(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        process.run("onnx", giving(interrupt, Call(time.sleep, 600)), tmp_path / "model")
    assert not is_running(pid)


def test_child_is_out_of_reach_of_the_terminals_ctrl_c(process: ConversionProcess) -> None:
    assert os.getsid(child_of(process)) != os.getsid(0)


PARENT = """
import os, signal, sys, time
from pathlib import Path
from support.sabotage import Call
from edgecell_export.conversion_process import ConversionProcess
from edgecell_export.formats.base import Conversion
from edgecell_export.prepare.graph import Chain, Graph, Part
from edgecell_export.recipes import RECIPES

kill = Call(os.kill, os.getpid(), int(signal.SIGKILL))
nodes = Call(os.open, sys.argv[1], os.O_WRONLY), kill, Call(time.sleep, 600)
graph = Graph((1, 1, 1), (Part(Chain((1, 1, 1), nodes)),))
conversion = Conversion(graph, RECIPES["float32"], None)
ConversionProcess().run("onnx", conversion, Path("never"))
"""


def test_child_dies_with_its_parent_in_the_middle_of_a_conversion(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PARENT, pipe], cwd=tmp_path, env=environment, check=False
    )
    assert done.returncode == -signal.SIGKILL
    # The child held the pipe open, and would for ten minutes; its end is the pipe's.
    ended, _, _ = select.select([reader], [], [], 60)
    os.close(reader)
    assert ended


def test_close_ends_the_child_and_again_is_nothing(temporary: Path, tmp_path: Path) -> None:
    process = ConversionProcess()
    pid = child_of(process)
    assert list(temporary.iterdir())
    process.close()
    process.close()
    assert (process.pid, is_running(pid)) == (None, False)
    assert not list(temporary.iterdir())
    with pytest.raises(UsageError, match="was closed; make a new ConversionProcess or Exporter"):
        process.run("onnx", giving(), tmp_path / "model")


def test_temporary_files_of_a_dead_child_are_removed(temporary: Path, tmp_path: Path) -> None:
    with ConversionProcess() as process:
        conversion = giving(Call(tempfile.mkdtemp), Call(tempfile.mkstemp), Call(os.abort))
        failure(process, conversion, tmp_path / "model")
        assert not list(temporary.iterdir())


def test_modules_in_the_current_folder_do_not_stand_in_for_the_librarys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "queue", "edgecell_export"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')")
    monkeypatch.chdir(tmp_path)
    with ConversionProcess() as process:
        assert isinstance(failure(process, giving(Call(find_recipe, "")), Path("m")), UsageError)


def test_process_is_refused_when_python_does_not_know_its_program(
    monkeypatch: pytest.MonkeyPatch, temporary: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(ConversionError, match=r"sys\.executable is empty"):
        ConversionProcess()
    monkeypatch.setattr(sys, "executable", str(temporary / "no-python"))
    with pytest.raises(ConversionError, match=r"no-python could not be started .*: No such file"):
        ConversionProcess()
    assert not list(temporary.iterdir())


def test_converted_is_what_a_conversion_here_gives_too(
    conversions: Conversions, tmp_path: Path
) -> None:
    found = ConvertHere().run("tflite", conversions.conversion("float32"), tmp_path / "model")
    assert isinstance(found, Converted)
    assert (tmp_path / "model").stat().st_size > 0
