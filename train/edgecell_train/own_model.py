"""A user's own model in place of a preset: ``path/to/model.keras``, or ``package.module:function``.

All that would make the training, or the export behind it, fail is said before either begins.
"""

import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare.graph import IMAGE, Graph
from edgecell_export.prepare.keras_layer import KerasLayer
from edgecell_export.prepare.nodes import (
    Activation,
    Affine,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool2D,
    Rescale,
    TrainingOnly,
)
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.errors import PreparationError, RunError, UsageError
from edgecell_runtime.heads import HeadKind
from edgecell_runtime.preprocess import PreprocessSpec
from edgecell_train.config import TrainConfig
from edgecell_train.keras_files import load_keras_file
from edgecell_train.own_function import call_function
from edgecell_train.presets.base import KerasModel, Preset

_Ending = Literal["softmax", "sigmoid", "linear"]

_LINEAR: Final = (
    Affine,
    AveragePool2D,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePool2D,
    Rescale,
)
"""Behind these, values are logits."""

_OTHER_SUFFIXES: Final = (".h5", ".hdf5", ".onnx", ".pb", ".tflite")


@dataclass(frozen=True)
class _OwnModel:
    """A model that passed.

    Attributes:
        model: It ends in the activation of its head.
        head: How its outputs become probabilities.
        notes: What the user should know, a sentence each.
    """

    model: KerasModel
    head: HeadKind
    notes: tuple[str, ...]


def load_own_model(text: str, shape: tuple[int, ...] | None, labels: int) -> KerasModel:
    """Loads a ``.keras`` file, or calls the function that makes the model.

    A file keeps its weights, and the training goes on from them; it runs no code of the file's. A
    function is called with (shape, labels), or with nothing where it takes nothing, and its module
    may lie in the current folder. A model that ends in logits gets the activation that makes
    probabilities of them.

    Args:
        text: ``path/to/model.keras`` or ``package.module:function``.
        shape: Of one image, (height, width, channels); None takes the model's own.
        labels: How many there are.

    Returns:
        A Keras model, not compiled by us, that takes pixels (n, height, width, channels), 0-255,
        and ends in softmax or sigmoid.

    Raises:
        UsageError: There is no such model, or it cannot be trained and exported.
    """
    return _load(text, shape, labels).model


def preset_of_own_model(
    text: str,
    shape: tuple[int, ...] | None,
    labels: int,
    say: Callable[[str], object] = lambda words: None,  # noqa: ARG005
) -> Preset:
    """A preset around a user's own model, with the head and the size that the model has.

    Args:
        text: As in ``load_own_model``.
        shape: Likewise.
        labels: Likewise.
        say: Told what was found, and what to look at, a sentence at a time.

    Raises:
        UsageError: As in ``load_own_model``.
    """
    own = _load(text, shape, labels)
    *depth, height, width, channels = own.model.input_shape[1:]
    for note in own.notes:
        say(note)
    return Preset(
        name=_name(text),
        summary=f"own model, {own.model.count_params():,} parameters, head {own.head}",
        published=text,
        preprocessing=PreprocessSpec(
            height, width, "L" if channels == 1 else "RGB", depth=depth[0] if depth else None
        ),
        head=own.head,
        recipe=TrainConfig(preset="", model=text),
        build=lambda shape, labels: load_own_model(text, shape, labels),
    )


def _load(text: str, shape: tuple[int, ...] | None, labels: int) -> _OwnModel:
    from_file = text.endswith(".keras")
    model = _from_file(Path(text)) if from_file else _from_function(text, shape, labels)
    try:
        graph = read_graph(model)
    except PreparationError as error:
        raise UsageError(f"{text} cannot be trained for export. {error}") from error
    _check_input(text, graph.input_shape, shape)
    if not model.trainable_weights:
        raise UsageError(
            f"{text} has no weights to train; expected a layer whose `trainable` is True."
        )
    own = _with_head(text, model, graph, labels)
    if not from_file:
        _require_loading_again(text, own.model)
    notes = list(own.notes)
    if from_file:
        notes.append(f"{text}: the training goes on from the weights in the file.")
    if not _makes_pixels_small(graph):
        notes.append(
            f"{text} begins with no Rescaling or Normalization, so that its layers see pixels as "
            "they are, 0-255, which trains badly. Begin it with keras.layers.Rescaling(1 / 255)."
        )
    return _OwnModel(own.model, own.head, tuple(notes))


def _from_file(path: Path) -> KerasModel:
    if not path.is_file():
        raise UsageError(f"There is no file {path}; expected what `model.save` of Keras 3 wrote.")
    try:
        return load_keras_file(path)
    except RunError as error:
        # Its advice is for the model of a run, which this is not.
        reason = str(error).removesuffix(" Train again with `edgecell train`.")
        raise UsageError(
            f"{reason} Expected what `model.save` of Keras 3 wrote, of Keras's own layers."
        ) from error


def _from_function(text: str, shape: tuple[int, ...] | None, labels: int) -> KerasModel:
    module, _, function = text.partition(":")
    if text and (Path(text).suffix.lower() in _OTHER_SUFFIXES or Path(text).is_dir()):
        raise UsageError(
            f"{text} is no .keras file; in Python, load it and write model.save('model.keras')."
        )
    if module.endswith(".py"):
        dotted = ".".join(Path(module).with_suffix("").parts)
        raise UsageError(
            f"{text} names a file; expected a module: {dotted}:{function or 'function'}, with the "
            "folder that it lies below as the current one."
        )
    if not all(part.isidentifier() for part in (*module.split("."), function)):
        raise UsageError(
            f"{text!r} names no model; expected path/to/model.keras or package.module:function."
        )
    model = call_function(module, function, shape, labels)
    if not isinstance(model, import_keras().Model):
        kind = f"{type(model).__module__}.{type(model).__qualname__}"
        raise UsageError(f"{text} gave a {kind}; expected a model of Keras 3, a keras.Model.")
    return model


def _check_input(text: str, own: tuple[int, ...], asked: tuple[int, ...] | None) -> None:
    if own[-1] not in (1, 3) or max(own) > 4096:
        raise UsageError(
            f"{text} takes {_shown(own)}; expected 1 or 3 channels, behind at most 4096 pixels a "
            "side."
        )
    if asked is not None and tuple(asked) != own:
        raise UsageError(
            f"{text} takes {_shown(own)}, asked for were {_shown(asked)}; leave the size out, or "
            "make the model for that size."
        )


def _with_head(text: str, model: KerasModel, graph: Graph, labels: int) -> _OwnModel:
    """Reads the head off the model; puts the activation behind a model that ends in logits."""
    shape, ending = tuple(model.output_shape[1:]), _ending(text, graph)
    single, one_a_label = shape == (1,) and labels == 2, shape == (labels,)
    if not (one_a_label or single):
        raise UsageError(
            f"{text} gives outputs of the shape {shape}; for {labels} labels, expected "
            f"({labels},)" + (", or a single sigmoid, (1,)." if labels == 2 else ".")
        )
    if single and ending == "softmax":
        raise UsageError(
            f"{text} ends in a softmax of one output, which is 1 whatever the image; expected a "
            f"sigmoid, or {labels} outputs."
        )
    head: HeadKind = "sigmoid" if single else "softmax"
    if ending == "sigmoid" and not single:
        head = "normalised_sigmoid"
    how = f"ends in {ending}"
    if ending == "linear":
        how = f"ends in logits, and gets a {head}"
        model = _ended(model, head)
    return _OwnModel(model, head, (f"{text} {how}: its head is {head}.",))


def _ending(text: str, graph: Graph) -> _Ending:
    """The last activation. Layers that only train are none."""
    nodes = [node for node in graph.last.nodes if not isinstance(node, TrainingOnly)]
    last = nodes[-1] if nodes else None
    if isinstance(last, Activation) and last.kind in ("softmax", "sigmoid"):
        return "softmax" if last.kind == "softmax" else "sigmoid"
    if isinstance(last, _LINEAR):
        return "linear"
    kind = "several layers joined"
    if isinstance(last, Activation):
        kind = last.kind
    elif isinstance(last, KerasLayer):
        kind = f"the layer {last.name}"
    raise UsageError(
        f"{text} ends in {kind}, which gives no probabilities; expected softmax, sigmoid, or a "
        "dense layer without activation."
    )


def _ended(model: KerasModel, head: HeadKind) -> KerasModel:
    keras = import_keras()
    # In mixed precision too, a probability needs more digits than float16 has.
    activation = keras.layers.Activation(head, dtype="float32", name=f"head_{head}")
    if isinstance(model, keras.Sequential):  # which stays one, so that Grad-CAM can look into it
        shape = model.input_shape[1:]
        return keras.Sequential([keras.Input(shape), *model.layers, activation], name=model.name)
    return keras.Model(model.inputs[0], activation(model.outputs[0]), name=model.name)


def _makes_pixels_small(graph: Graph) -> bool:
    """Whether a layer that scales comes before the first one with weights."""
    scales = []
    for part in graph.parts:
        if part.sources != (IMAGE,):
            continue
        for node in part.chain.nodes:
            if isinstance(node, Rescale | Affine):
                return True
            if isinstance(node, KerasLayer):
                scales.append('"class_name": "Normalization"' in node.config)
                return any(scales)
            if isinstance(node, Conv2D | Dense | DepthwiseConv2D):
                break
    return False


def _require_loading_again(text: str, model: KerasModel) -> None:
    """Saves the model as a run does, and opens it as an export does, before it is trained.

    Raises:
        UsageError: It would not open, as with layers of the user's own classes.
    """
    bare = import_keras().Model(model.inputs, model.outputs, name="model")
    with tempfile.TemporaryDirectory(prefix="edgecell-") as folder:
        path = Path(folder) / "model.keras"
        try:
            with warnings.catch_warnings(action="ignore"):
                bare.save(path)
            load_keras_file(path)
        except Exception as error:  # Keras raises of every kind
            reason = str(error).removesuffix(" Train again with `edgecell train`.")
            reason = reason.removeprefix(f"{path} cannot be loaded: ").strip()
            raise UsageError(
                f"{text} cannot be opened again once it is saved: {reason[:300]} Expected a model "
                "of Keras's own layers, without Lambda."
            ) from error


def _name(text: str) -> str:
    """What the run's files are called: the file's name, or the function's."""
    stem = Path(text).stem if text.endswith(".keras") else text.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "model"


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
