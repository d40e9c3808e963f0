"""How ``edgecell compress`` ends: in a form for latency, as integers, past a net of no use."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.chain_models import CHAIN
from support.command_line import invoke
from support.tiny_training import chain_run

from edgecell_runtime.classifier import Classifier
from edgecell_runtime.errors import ParityError
from edgecell_train.compression import measuring
from edgecell_train.compression.search import Search
from edgecell_train.compression.searching import Searcher
from edgecell_train.presets import PRESETS
from edgecell_train.runs import Run, find_run, weights_sha256

SIZE = 8_200
LIMITS = ("--max-drop", "100", "--epochs", "2", "--max-size")
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "chain", CHAIN)
    # What it takes is not asked for here.
    monkeypatch.setattr(measuring, "_TURNS", dataclasses.replace(measuring._TURNS, rounds=20))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return chain_run(tmp_path_factory.mktemp("source"))


def _compressed(
    capsys: pytest.CaptureFixture[str], source: Run, out: Path, *asked: str | int
) -> tuple[Run, Sequence[Any], str]:
    """The run, the points of its search, and what was said."""
    done = invoke(capsys, "compress", source.folder, "--out", out, "--json", *LIMITS, *asked)
    assert done.status == 0, done.err
    run = find_run(Path(done.document["run"]))
    return run, done.document["compression"]["points"], " ".join(done.err.split())


def _exported(capsys: pytest.CaptureFixture[str], run: Run, out: Path) -> Path:
    asked = ("export", run.folder, "--format", "tflite", "--quantize", "int8", "--out", out)
    done = invoke(capsys, *asked, "--tolerance", "5")
    assert done.status == 0, done.err
    (file,) = out.glob("*.tflite")
    return file


def test_net_in_the_form_for_latency_is_tuned_as_integers_and_exported(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = 11_000  # merged, the few channels that are left take more
    asked = (size, "--max-latency", "10s", "--set", "quantization.epochs=1")
    run, points, _ = _compressed(capsys, source, tmp_path / "runs", *asked)
    kinds = [type(layer).__name__ for layer in run.source_model().model.layers]
    assert "Reshape" in kinds, "the first pooling is merged"
    assert "BatchNormalization" not in kinds, "its shift is absorbed"
    assert [point["kind"] for point in (points[0], points[-1])] == ["source", "final"]
    history = (run.folder / "history.csv").read_text().splitlines()
    assert len(history) == 1 + 2 + 1, "two epochs, and one as integers"
    note = run.record.training_notes[0]
    assert "10000 ms" in note
    assert "judged before the fine-tuning as integers" in note
    file = _exported(capsys, run, tmp_path)
    assert file.stat().st_size <= size
    with Classifier.open(file) as opened:
        assert opened.labels == run.record.labels


def test_net_of_no_use_is_passed_over_until_one_can_be_exported(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    golden_answers, asked = measuring.golden_answers, []

    def wild(*given: Any) -> Any:
        asked.append(given)
        if len(asked) == 2:  # after the source
            raise ParityError("The engine's kernels answer 40 steps apart.")
        return golden_answers(*given)

    monkeypatch.setattr(measuring, "golden_answers", wild)
    run, points, said = _compressed(capsys, source, tmp_path / "runs", SIZE)
    assert [point["problem"] for point in points[:2]] == [
        "",
        "The engine's kernels answer 40 steps apart.",
    ]
    assert points[-1]["step"] == 2
    assert "Step 1 is of no use: The engine's kernels answer 40 steps apart." in said
    assert _exported(capsys, run, tmp_path).stat().st_size <= SIZE


def test_run_gets_the_net_of_the_step_when_the_last_fine_tuning_does_harm(
    source: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finish, begun = Searcher.finish, []

    def harmful(self: Searcher, search: Search, *given: Any) -> Search:
        ended = finish(self, search, *given)
        begun.append(weights_sha256(self._net(search.steps[-1])))
        final = dataclasses.replace(ended.points[-1], drop=100.1)
        return dataclasses.replace(ended, points=(*search.points, final))

    monkeypatch.setattr(Searcher, "finish", harmful)
    run, points, said = _compressed(capsys, source, tmp_path / "runs", SIZE)
    assert points[-1]["drop"] == 100.1
    assert run.record.weights_sha256 == begun[0]
    assert run.record.kept_epoch == 0
    assert "The last fine-tuning did harm" in said
    assert "did harm by these limits" in run.record.training_notes[0]
    assert "Those that the training began with" in (run.folder / "report.html").read_text()
    assert _exported(capsys, run, tmp_path).stat().st_size <= SIZE
