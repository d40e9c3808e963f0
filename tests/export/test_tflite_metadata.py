"""The format's own metadata: what others read of it, and that the model stays what it was."""

import dataclasses
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from support import artifacts, chains, mediapipe_reader
from support.small_run import HEAD, LABELS, SPEC, Conversions, SmallRun

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.tflite_metadata import ENTRY_NAME, with_metadata
from edgecell_export.formats.tflite_packing import ALIGNMENT
from edgecell_export.prepare.graph import Chain, Graph, Part
from edgecell_export.recipes import RECIPES
from edgecell_runtime.classifier import Classifier
from edgecell_runtime.containers import container_of
from edgecell_runtime.engines import engine_for
from edgecell_runtime.heads import Head, HeadKind
from edgecell_runtime.manifest import Golden, Manifest

TFLITE = CONVERTERS["tflite"]
RECIPE = pytest.mark.parametrize("recipe", TFLITE.recipes)
NEEDS_MEDIAPIPE = pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="MediaPipe reads the metadata here: pip install --group readers",
)
ONE_LOGIT = "one-logit.tflite"


def manifest_of(model: Path, recipe: str, head: Head = HEAD) -> Manifest:
    return dataclasses.replace(
        artifacts.tiny_manifest(),
        recipe=recipe,
        labels=LABELS,
        signature=TFLITE.signature(model),
        preprocessing=SPEC,
        head=head,
        golden=Golden(),  # the tiny graph's are not this model's
    )


def unpacked(model: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))


@pytest.fixture(scope="module")
def cells(small_run: SmallRun) -> NDArray[np.uint8]:
    return small_run.pixels[::6]


@pytest.fixture(scope="module")
def sealed(conversions: Conversions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model in every recipe, and a graph with a single logit, as artifacts."""
    folder = tmp_path_factory.mktemp("sealed")
    for recipe in TFLITE.recipes:
        model = conversions.path("tflite", recipe)
        TFLITE.seal(model, manifest_of(model, recipe), folder / f"{recipe}.tflite")
    nodes = (chains.FLATTEN, chains.dense(16 * 16 * 3, 1))
    graph = Graph(SPEC.shape, (Part(Chain(SPEC.shape, nodes)),))
    model = folder / "model"
    TFLITE.convert(Conversion(graph, RECIPES["float32"], None), model)
    TFLITE.seal(
        model, manifest_of(model, "float32", Head("sigmoid", "Uninfected")), folder / ONE_LOGIT
    )
    model.unlink()
    return folder


@pytest.fixture(scope="module")
def read_by_mediapipe(
    sealed: Path, cells: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """What ``mediapipe_reader`` prints, by file name."""
    pixels = tmp_path_factory.mktemp("pixels") / "pixels.npy"
    np.save(pixels, cells)
    program = [sys.executable, mediapipe_reader.__file__, pixels, *sorted(sealed.iterdir())]
    run = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@RECIPE
def test_metadata_leaves_the_graph_as_it_was(conversions: Conversions, recipe: str) -> None:
    path = conversions.path("tflite", recipe)
    before = unpacked(path.read_bytes())
    after = unpacked(with_metadata(path.read_bytes(), manifest_of(path, recipe)))
    added = after.metadata.pop()
    assert added.name == ENTRY_NAME.encode()
    assert after.buffers[added.buffer].data[4:8].tobytes() == b"M001"
    assert graph_of(after) == graph_of(before)


def graph_of(model: Any) -> Any:
    """All that an engine computes with; names, and the numbers of buffers, left out."""
    (graph,) = model.subgraphs
    constants = []
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        constants.append(b"" if data is None else data.tobytes())
        tensor.name, tensor.buffer = b"", 0
    return mediapipe_reader.plain([graph, model.operatorCodes, model.signatureDefs]), constants


@RECIPE
def test_tensors_have_names_of_their_own(sealed: Path, recipe: str) -> None:
    (graph,) = unpacked((sealed / f"{recipe}.tflite").read_bytes()).subgraphs
    names = [tensor.name for tensor in graph.tensors]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 40


def test_file_is_smaller_than_the_converters_although_it_says_more(
    conversions: Conversions,
) -> None:
    path = conversions.path("tflite", "static_int8")
    assert (
        len(with_metadata(path.read_bytes(), manifest_of(path, "static_int8")))
        < path.stat().st_size
    )


@RECIPE
def test_equal_shapes_are_written_once(sealed: Path, recipe: str) -> None:
    graph = schema.Model.GetRootAs((sealed / f"{recipe}.tflite").read_bytes(), 0).Subgraphs(0)
    tensors = [graph.Tensors(number) for number in range(graph.TensorsLength())]
    places: dict[tuple[int, ...], set[int]] = {}
    for tensor in tensors:
        table = tensor._tab
        if tensor.ShapeLength():
            shape = tuple(tensor.ShapeAsNumpy().tolist())
            places.setdefault(shape, set()).add(table.Vector(table.Offset(4)))
    assert len(places) < len(tensors)
    assert {len(where) for where in places.values()} == {1}


@RECIPE
def test_file_has_no_buffer_that_nothing_refers_to(sealed: Path, recipe: str) -> None:
    model = unpacked((sealed / f"{recipe}.tflite").read_bytes())
    used = {tensor.buffer for tensor in model.subgraphs[0].tensors}
    assert used | {entry.buffer for entry in model.metadata} | {0} == set(range(len(model.buffers)))


@RECIPE
def test_constants_start_at_multiples_of_16(sealed: Path, recipe: str) -> None:
    model = schema.Model.GetRootAs((sealed / f"{recipe}.tflite").read_bytes(), 0)
    buffers = [model.Buffers(number)._tab for number in range(model.BuffersLength())]
    starts = [table.Vector(table.Offset(4)) for table in buffers if table.Offset(4)]
    assert len(starts) > 8
    assert [start % ALIGNMENT for start in starts] == [0] * len(starts)


@RECIPE
def test_engine_gives_the_same_answers_with_metadata(
    conversions: Conversions, sealed: Path, cells: NDArray[np.uint8], recipe: str
) -> None:
    files = (conversions.path("tflite", recipe), sealed / f"{recipe}.tflite")
    answers = []
    for path in files:
        with engine_for("tflite").open(path.read_bytes(), 1) as session:
            answers.append([session.run((pixels[None],))[0] for pixels in cells])
    assert np.array_equal(*answers)


def test_metadata_gives_the_same_bytes_when_repeated(conversions: Conversions) -> None:
    path = conversions.path("tflite", "float32")
    manifest = manifest_of(path, "float32")
    first = with_metadata(path.read_bytes(), manifest)
    assert with_metadata(path.read_bytes(), manifest) == first


def test_artifact_is_still_read_when_it_has_no_metadata(
    conversions: Conversions, sealed: Path, cells: NDArray[np.uint8], tmp_path: Path
) -> None:
    model = conversions.path("tflite", "float32")
    older = tmp_path / "older.tflite"
    older.write_bytes(
        container_of("tflite").seal(model.read_bytes(), manifest_of(model, "float32"))
    )
    assert ENTRY_NAME.encode() not in older.read_bytes()
    with Classifier.open(older) as before, Classifier.open(sealed / "float32.tflite") as after:
        assert before.manifest == after.manifest
        assert np.array_equal(before.logits(cells), after.logits(cells))


@pytest.mark.parametrize(("name", "lines"), [("labels.txt", LABELS), ("output_labels.txt", None)])
def test_archive_has_one_line_a_label_when_there_is_a_logit_for_each(
    sealed: Path, name: str, lines: tuple[str, ...] | None
) -> None:
    with zipfile.ZipFile(sealed / "float32.tflite") as archive:
        found = archive.read(name).decode().splitlines() if name in archive.namelist() else None
    assert found == (None if lines is None else list(lines))


def test_archive_has_a_file_with_one_line_when_there_is_one_logit(sealed: Path) -> None:
    with zipfile.ZipFile(sealed / ONE_LOGIT) as archive:
        assert archive.read("labels.txt").decode() == "Parasitized\nUninfected\n"
        assert archive.read("output_labels.txt").decode() == "Uninfected\n"


@pytest.mark.parametrize("kind", get_args(HeadKind))
def test_metadata_describes_every_head(conversions: Conversions, kind: HeadKind) -> None:
    path = conversions.path("tflite", "float32")
    manifest = manifest_of(path, "float32", Head(kind, LABELS[1] if kind == "sigmoid" else None))
    if kind == "probabilities":
        text = unpacked(with_metadata(path.read_bytes(), manifest)).buffers[-1].data.tobytes()
        assert b"One probability a label." in text
        assert b"Not probabilities: " not in text
        return
    for temperature, said in ((1.0, False), (1.75, True)):
        manifest = dataclasses.replace(manifest, temperature=temperature)
        text = unpacked(with_metadata(path.read_bytes(), manifest)).buffers[-1].data.tobytes()
        assert b"Not probabilities: " in text
        assert (b"divide by the temperature 1.75" in text) == said


@NEEDS_MEDIAPIPE
@RECIPE
def test_mediapipe_finds_the_labels_and_logits_that_classifier_finds(
    read_by_mediapipe: Any, sealed: Path, cells: NDArray[np.uint8], recipe: str
) -> None:
    scores = read_by_mediapipe[f"{recipe}.tflite"]["scores"]
    assert len(scores) == len(cells) >= 40
    with Classifier.open(sealed / f"{recipe}.tflite") as classifier:
        labels = [classifier.predict(pixels).label for pixels in cells]
        logits = classifier.logits(cells)
    assert [max(row, key=row.__getitem__) for row in scores] == labels
    assert len(set(labels)) == 2
    assert np.allclose([[row[label] for label in LABELS] for row in scores], logits, atol=1e-4)


@NEEDS_MEDIAPIPE
def test_mediapipe_gives_the_one_logit_its_own_label(
    read_by_mediapipe: Any, sealed: Path, cells: NDArray[np.uint8]
) -> None:
    scores = read_by_mediapipe[ONE_LOGIT]["scores"]
    with Classifier.open(sealed / ONE_LOGIT) as classifier:
        expected = classifier.logits(cells)[:, 0]
    assert [set(row) for row in scores] == [{"Uninfected"}] * len(cells)
    assert np.allclose([row["Uninfected"] for row in scores], expected, rtol=1e-5)


@NEEDS_MEDIAPIPE
@pytest.mark.parametrize(("recipe", "std"), [("float32", 1.0), ("static_int8", 255.0)])
def test_metadata_normalises_pixels_to_what_the_input_stands_for(
    read_by_mediapipe: Any, recipe: str, std: float
) -> None:
    (graph,) = read_by_mediapipe[f"{recipe}.tflite"]["metadata"]["subgraphMetadata"]
    (image,) = graph["inputTensorMetadata"]
    assert image["content"]["contentProperties"]["colorSpace"] == 1  # RGB
    assert image["processUnits"] == [{"optionsType": 1, "options": {"mean": [0.0], "std": [std]}}]


@NEEDS_MEDIAPIPE
@pytest.mark.parametrize(
    ("file", "labels"), [("float32.tflite", "labels.txt"), (ONE_LOGIT, "output_labels.txt")]
)
def test_metadata_names_files_of_the_archive(
    read_by_mediapipe: Any, sealed: Path, file: str, labels: str
) -> None:
    metadata = read_by_mediapipe[file]["metadata"]
    (output,) = metadata["subgraphMetadata"][0]["outputTensorMetadata"]
    (axis,) = output["associatedFiles"]
    assert (axis["name"], axis["type"]) == (labels, 2)  # TENSOR_AXIS_LABELS
    named = {labels, *(item["name"] for item in metadata["associatedFiles"])}
    with zipfile.ZipFile(sealed / file) as archive:
        assert named <= set(archive.namelist())


@NEEDS_MEDIAPIPE
def test_metadata_says_what_the_model_is_and_is_not(read_by_mediapipe: Any) -> None:
    metadata = read_by_mediapipe["static_int8.tflite"]["metadata"]
    assert metadata["name"] == "edgecell image classifier, static_int8"
    assert metadata["version"] == "0" * 12  # of the weights' hash
    assert metadata["minParserVersion"] == "1.0.0"
    assert "Parasitized or Uninfected" in metadata["description"]
    assert "Research software, no medical device." in metadata["description"]
    assert not {"author", "license"} & set(metadata)
