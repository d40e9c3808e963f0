import dataclasses
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.small_run import Conversions, SmallRun

from edgecell_export.conversion_process import ConvertHere
from edgecell_export.exporting import Exporter
from edgecell_export.formats import CONVERTERS
from edgecell_export.recipes import RECIPES
from edgecell_export.savedmodel_session import ENGINE_NAME, SavedModelSession, open_classifier
from edgecell_runtime.artifact import read_artifact
from edgecell_runtime.errors import EngineError, IntegrityError, ManifestError


@pytest.fixture(scope="module")
def sealed(small_run: SmallRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sealed")
    with Exporter(small_run.source, small_run.evidence, runner=ConvertHere()) as exporter:
        return exporter.export(CONVERTERS["savedmodel"], RECIPES["float32"], folder).path


@pytest.fixture
def copied(sealed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sealed, tmp_path / sealed.name))


def test_sealed_folder_is_read_and_runs(sealed: Path, small_run: SmallRun) -> None:
    with open_classifier(sealed, threads=1) as classifier:
        found = classifier.probabilities(small_run.pixels[:20])
        assert (classifier.engine, classifier.threads) == (ENGINE_NAME, 1)
    answers = small_run.source.model.predict(small_run.pixels[:20], verbose=0).astype(float)
    assert np.abs(found - answers / answers.sum(axis=1, keepdims=True)).max() < 1e-4


def test_sealed_folder_is_checked_by_sha256sum(sealed: Path) -> None:
    command = ["sha256sum", "-c", "--strict", "assets/edgecell.sha256"]
    found = subprocess.run(command, cwd=sealed, capture_output=True, text=True, check=True)
    checked = {line.partition(": ")[0] for line in found.stdout.splitlines()}
    files = {p.relative_to(sealed).as_posix() for p in sealed.rglob("*") if p.is_file()}
    assert checked == files - {"assets/edgecell.sha256"}
    assert "variables/variables.index" in checked


def change_a_weight(folder: Path) -> None:
    path = next((folder / "variables").glob("variables.data-*"))
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))


def add_a_file(folder: Path) -> None:
    (folder / "assets" / "extra").write_text("new")


def remove_a_file(folder: Path) -> None:
    (folder / "fingerprint.pb").unlink()


def change_a_label(folder: Path) -> None:
    (folder / "assets" / "labels.txt").write_text("Uninfected\nParasitized\n")


@pytest.mark.parametrize("damage", [change_a_weight, add_a_file, remove_a_file, change_a_label])
def test_sealed_folder_is_refused_when_it_was_changed(
    copied: Path, damage: Callable[[Path], None]
) -> None:
    damage(copied)
    said = "holds 'assets/extra'" if damage is add_a_file else "is damaged: its files are not the"
    with pytest.raises(IntegrityError, match=said):
        open_classifier(copied)


def test_folder_is_refused_when_it_was_never_sealed(conversions: Conversions) -> None:
    with pytest.raises(ManifestError, match="carries no edgecell manifest"):
        open_classifier(conversions.path("savedmodel", "float32"))


def test_folder_is_refused_when_its_manifest_is_of_another_format(copied: Path) -> None:
    converter = CONVERTERS["savedmodel"]
    manifest = read_artifact(copied).manifest
    other = dataclasses.replace(manifest, format="onnx")
    converter.seal(copied, other, copied.with_name("other.savedmodel"))
    with pytest.raises(ManifestError, match=r"Its manifest is of .*onnx"):
        open_classifier(copied.with_name("other.savedmodel"))


def test_classifier_is_refused_with_no_threads(sealed: Path) -> None:
    with pytest.raises(EngineError, match="needs at least one thread, not 0"):
        open_classifier(sealed, threads=0)


def test_other_formats_are_opened_by_the_runtime(small_run: SmallRun, tmp_path: Path) -> None:
    with Exporter(small_run.source, small_run.evidence, runner=ConvertHere()) as exporter:
        exported = exporter.export(CONVERTERS["onnx"], RECIPES["float32"], tmp_path)
    with open_classifier(exported.path, threads=1) as classifier:
        assert (classifier.engine, classifier.threads) == ("onnxruntime", 1)


def test_session_says_what_it_takes_when_inputs_do_not_fit(conversions: Conversions) -> None:
    with SavedModelSession(conversions.path("savedmodel", "float32"), 1) as session:
        with pytest.raises(
            EngineError, match=r"takes uint8 \(None, 16, 16, 3\); it was given nothi"
        ):
            session.run(())
        with pytest.raises(EngineError, match=r"it was given uint8 \(16, 16, 3\)"):
            session.run((np.zeros((16, 16, 3), np.uint8),))
