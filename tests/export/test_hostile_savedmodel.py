"""SavedModels that are sealed and would touch files or run Python: refused unloaded."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import artifacts, models

from edgecell_export import savedmodel_session
from edgecell_export.savedmodel_graph import refuse_hostile
from edgecell_export.savedmodel_session import SavedModelSession, open_classifier
from edgecell_export.tensorflow import import_tensorflow
from edgecell_runtime.containers import savedmodel
from edgecell_runtime.errors import ArtifactError, EngineError, FormatError
from edgecell_runtime.manifest import Golden

# The graphs here are others than the one whose golden answers the tiny manifest carries.
MANIFEST = dataclasses.replace(artifacts.tiny_manifest("savedmodel"), golden=Golden())

Body = Callable[[Any, Any, str], Any]


def write(folder: Path, body: Body, target: Path) -> Path:
    """A SavedModel of the tiny signature; ``body`` gets TensorFlow, the pixels and a path."""
    tensorflow = import_tensorflow()

    class Module(tensorflow.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tensorflow.Variable(models.WEIGHTS.T)

        @tensorflow.function(  # type: ignore[untyped-decorator]
            input_signature=[
                tensorflow.TensorSpec((None, *models.SIZE), tensorflow.uint8, "pixels")
            ]
        )
        def serve(self, pixels: Any) -> Any:
            flat = tensorflow.reshape(tensorflow.cast(pixels, tensorflow.float32), [-1, 192])
            extra = body(tensorflow, pixels, str(target))
            return {"logits": flat @ self.weights + extra}

    module = Module()
    path = folder / "hostile.savedmodel"
    tensorflow.saved_model.save(module, str(path), signatures=module.serve)
    target.unlink(missing_ok=True)
    savedmodel.seal(path, MANIFEST)
    return path


def fair(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels, path
    return tensorflow.constant(0.0)


def write_file(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels
    with tensorflow.control_dependencies([tensorflow.io.write_file(path, "x")]):
        return tensorflow.constant(0.0)


def read_file(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels, path
    length = tensorflow.strings.length(tensorflow.io.read_file("/etc/passwd"))
    return tensorflow.cast(length, tensorflow.float32)


def list_files(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels, path
    return tensorflow.cast(
        tensorflow.size(tensorflow.io.matching_files("/etc/*")), tensorflow.float32
    )


def run_python(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels
    found = tensorflow.numpy_function(lambda: np.float32(Path(path).touch() or 0), [], "float32")
    return tensorflow.reshape(found, [])


def run_python_eagerly(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels
    found = tensorflow.py_function(lambda: float(Path(path).touch() or 0), [], "float32")
    return tensorflow.reshape(found, [])


def run_stateless_python(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels, path
    found = tensorflow.numpy_function(lambda: np.float32(0), [], "float32", stateful=False)
    return tensorflow.reshape(found, [])


def print_to_a_file(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels
    with tensorflow.control_dependencies([tensorflow.print("x", output_stream=f"file://{path}")]):
        return tensorflow.constant(0.0)


def save_weights(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels
    operator = tensorflow.raw_ops.SaveV2(
        prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[tensorflow.constant(0.0)]
    )
    with tensorflow.control_dependencies([operator]):
        return tensorflow.constant(0.0)


def restore_weights(tensorflow: Any, pixels: Any, path: str) -> Any:
    del pixels
    (found,) = tensorflow.raw_ops.RestoreV2(
        prefix=path, tensor_names=["x"], shape_and_slices=[""], dtypes=["float32"]
    )
    return tensorflow.reshape(found, [])


def in_a_branch(tensorflow: Any, pixels: Any, path: str) -> Any:
    """In a function that a function calls."""
    return tensorflow.cond(
        tensorflow.reduce_any(pixels > 3),
        lambda: write_file(tensorflow, pixels, path),
        lambda: tensorflow.constant(1.0),
    )


def test_fair_model_is_opened_and_runs(tmp_path: Path) -> None:
    """What the cases below vary."""
    path = write(tmp_path, fair, tmp_path / "written")
    pixels = models.random_pixels(3)
    with open_classifier(path, threads=1) as classifier:
        found = classifier.predict(pixels[0]).probabilities
    logits = models.expected_logits(pixels[:1])[0] - models.BIAS
    expected = np.exp(logits) / np.exp(logits).sum()
    assert np.allclose(list(found.values()), expected, atol=1e-4)


HOSTILE = [
    write_file,
    read_file,
    list_files,
    run_python,
    run_python_eagerly,
    run_stateless_python,
    print_to_a_file,
    save_weights,
    restore_weights,
    in_a_branch,
]


@pytest.mark.parametrize("body", HOSTILE, ids=[body.__name__ for body in HOSTILE])
def test_model_is_refused_when_it_would_do_more_than_compute(tmp_path: Path, body: Body) -> None:
    path, written = write(tmp_path, body, tmp_path / "written"), tmp_path / "written"
    with pytest.raises(FormatError, match=r"has the operator '.*', which may do more than compute"):
        open_classifier(path, threads=1)
    assert not written.exists()


def test_the_writing_model_writes_when_nothing_refuses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is the refusal that keeps the file away."""
    path, written = write(tmp_path, write_file, tmp_path / "written"), tmp_path / "written"
    monkeypatch.setattr(savedmodel_session, "refuse_hostile", lambda _: None)
    with SavedModelSession(path) as session:
        session.run((models.random_pixels(1),))
    assert written.read_text() == "x"


def parsed(path: Path) -> Any:
    import_tensorflow()
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    return SavedModel.FromString((path / "saved_model.pb").read_bytes())


def _call_the_saver(model: Any) -> None:
    """The signature calls the function that saves, which is allowed to write."""
    graph = model.meta_graphs[0]
    names = [function.signature.name for function in graph.graph_def.library.function]
    saver = next(name for name in names if "traced_save" in name)
    for function in graph.graph_def.library.function:
        if "signature_wrapper" in function.signature.name:
            node = function.node_def.add(name="sneaky", op="StatefulPartitionedCall")
            node.attr["f"].func.name = saver


def _name_the_saver(model: Any) -> None:
    """The objects name the function that saves, so that loading gives it to the caller."""
    graph = model.meta_graphs[0]
    names = [function.signature.name for function in graph.graph_def.library.function]
    saver = next(name for name in names if "traced_save" in name)
    graph.object_graph_def.concrete_functions[saver].SetInParent()


def _write_in_the_outer_graph(model: Any) -> None:
    model.meta_graphs[0].graph_def.node.add(name="sneaky", op="WriteFile")


def _unknown_operator(model: Any) -> None:
    model.meta_graphs[0].graph_def.node.add(name="sneaky", op="FromALibrary")


def _operator(name: str) -> Callable[[Any], None]:
    return lambda model: model.meta_graphs[0].graph_def.node.add(name="sneaky", op=name)


def _two_graphs(model: Any) -> None:
    model.meta_graphs.add().CopyFrom(model.meta_graphs[0])


def _no_objects(model: Any) -> None:
    """TensorFlow then runs the outer graph's initialiser, as its version 1 did."""
    model.meta_graphs[0].ClearField("object_graph_def")


def _assets(model: Any) -> None:
    model.meta_graphs[0].asset_file_def.add(filename="../../etc/passwd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_call_the_saver, "traced_save"),
        (_name_the_saver, "which may do more than compute"),
        (_write_in_the_outer_graph, "has the operator 'WriteFile'"),
        (_unknown_operator, "has the operator 'FromALibrary'"),
        (_operator("Abort"), "has the operator 'Abort'"),
        (_operator("ImmutableConst"), "has the operator 'ImmutableConst'"),
        (_operator("DecodeProtoV2"), "has the operator 'DecodeProtoV2'"),
        (_operator("Timestamp"), "has the operator 'Timestamp'"),
        (_operator("DecodeGif"), "has the operator 'DecodeGif'"),
        (_two_graphs, "has several graphs"),
        (_no_objects, "none that names its objects"),
        (_assets, "names files of its own"),
    ],
)
def test_model_is_refused_when_its_graph_was_changed_by_hand(
    tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    path = write(tmp_path, fair, tmp_path / "written")
    model = parsed(path)
    change(model)
    (path / "saved_model.pb").write_bytes(model.SerializeToString())
    savedmodel.seal(path, MANIFEST)
    with pytest.raises(FormatError, match=said):
        open_classifier(path, threads=1)


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\x12\xff\xff\xff\xff\x07"])
def test_graph_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises((EngineError, FormatError), match=r"[Tt]he SavedModel"):
        refuse_hostile(data)


def test_folder_without_a_graph_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"The SavedModel's graph cannot be read: "):
        SavedModelSession(tmp_path)


def test_private_copy_is_what_is_loaded_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, fair, tmp_path / "written")
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    loaded: list[Path] = []
    real = SavedModelSession.__init__

    def remember(self: SavedModelSession, folder: Path, threads: int | None = None) -> None:
        loaded.append(folder)
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        (path / "saved_model.pb").write_bytes(b"replaced between the check and the loading")
        real(self, folder, threads)

    monkeypatch.setattr(SavedModelSession, "__init__", remember)
    with open_classifier(path, threads=1) as classifier:
        assert classifier.predict(models.random_pixels(1)[0]).label in artifacts.LABELS
    assert [private in folder.parents for folder in loaded] == [True]
    assert list(private.iterdir()) == []
    with pytest.raises(ArtifactError):
        open_classifier(path, threads=1)
    assert list(private.iterdir()) == []


def test_private_copy_is_gone_when_loading_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, fair, tmp_path / "written")
    next((path / "variables").glob("variables.index")).write_bytes(b"damaged")
    savedmodel.seal(path, MANIFEST)
    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(private))
    with pytest.raises(EngineError):
        open_classifier(path, threads=1)
    assert list(private.iterdir()) == []
