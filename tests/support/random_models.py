"""Random Keras classifiers, each from a seed: what people build, in every order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.keras_build import build_model
from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare import for_floats, for_integers, prepare, taking_fractions
from edgecell_export.source import source_probabilities
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head
from support.random_layers import LayerChoice
from support.random_weights import random_pixels, set_weights

LABELS = ("first", "second", "third")
NO_ROUNDING = 2**40
"""With so many steps weights are hardly moved, and nothing but the rewriting is left."""

_MOST_SHAKEN = 1e-4


@dataclass(frozen=True)
class RandomModel:
    """A Keras model and what it classifies.

    Attributes:
        model: Sequential or Functional.
        head: What it ends in.
        labels: As many as it has classes.
        pixels: uint8 (n, height, width, channels): noise, ramps, black and white.
    """

    model: Any
    head: Head
    labels: tuple[str, ...]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """Largest differences of probabilities.

    Attributes:
        rewriting: Between the graph as read and as prepared, both in float64.
        reading: Between Keras and the graph as read.
        built: Between Keras and the model that is built from the form for floats.
        for_integers: Between Keras and the form for integers, weights not rounded.
        shaken: Between Keras and Keras with weights that are off by a millionth: what may be
            rounding.
    """

    rewriting: float
    reading: float
    built: float
    for_integers: float
    shaken: float

    def faults(self) -> list[str]:
        """Names of the differences that are no rounding."""
        # Folded through a mean, a BatchNormalization subtracts later than Keras does.
        rounding = 5e-5 + 2 * self.shaken
        limits = {
            "rewriting": 1e-9,
            "reading": rounding,
            "built": rounding,
            "for_integers": rounding,
        }
        return [name for name, limit in limits.items() if not getattr(self, name) <= limit]


def random_model(seed: int) -> RandomModel:
    """Draws a model; the same one for the same seed.

    One that answers the same for all images, or turns rounding into another answer, shows nothing
    and is drawn again.
    """
    rng = np.random.default_rng(seed)
    import_keras().utils.set_random_seed(seed)  # noise and augmentation, for the statistics
    while True:
        drawn = _drawn(rng)
        answers = _keras_answers(drawn)
        delicate = np.abs(_shaken_answers(drawn) - answers).max() > _MOST_SHAKEN
        if np.ptp(answers, axis=0).max() > 0.1 and not delicate:
            return drawn


def _drawn(rng: np.random.Generator) -> RandomModel:
    shape = (int(rng.integers(12, 21)), int(rng.integers(12, 21)), int(rng.choice([1, 3])))
    head, labels, activation = _HEADS[rng.integers(len(_HEADS))]
    outputs = head.output_count(labels)
    form = _sequential if rng.random() < 0.3 else _functional
    model = form(LayerChoice(rng), shape, outputs, activation)
    pixels = random_pixels(rng, shape)
    set_weights(rng, model, pixels.astype(np.float32))
    return RandomModel(model, head, labels, pixels)


def agreement(of: RandomModel) -> Agreement:
    """Prepares a model in every form and compares the answers."""
    read = read_graph(of.model)
    graph = prepare(read, of.head)
    pixels = of.pixels.astype(np.float64)
    built = build_model(for_floats(graph), input_dtype="uint8", batch=None)
    integers = taking_fractions(for_integers(graph, of.pixels, largest=NO_ROUNDING))

    def apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
        return float(np.abs(first - second).max())

    keras = _keras_answers(of)
    exact = _source_answers(of, lambda _: read.evaluate(pixels))
    prepared, converted, whole = (
        of.head.probabilities(np.asarray(answer), of.labels)
        for answer in (
            graph.evaluate(pixels),
            built(of.pixels, training=False),
            integers.evaluate(pixels / 255),
        )
    )
    return Agreement(
        rewriting=apart(prepared, exact),
        reading=apart(exact, keras),
        built=apart(converted, keras),
        for_integers=apart(whole, keras),
        shaken=apart(_shaken_answers(of), keras),
    )


def _source_answers(of: RandomModel, compute: Callable[[Any], Any]) -> NDArray[np.float64]:
    """Probabilities from what a source model answers, without tracing, which takes long."""

    class Source:
        def predict(self, pixels: Any, **_: Any) -> Any:
            return np.asarray(compute(pixels))

    return source_probabilities(Source(), of.pixels, of.head, of.labels)


def _keras_answers(of: RandomModel) -> NDArray[np.float64]:
    return _source_answers(of, lambda pixels: of.model(pixels.astype(np.float32), training=False))


def _shaken_answers(of: RandomModel) -> NDArray[np.float64]:
    rng, weights = np.random.default_rng(0), of.model.get_weights()
    of.model.set_weights([w * (1 + 1e-6 * rng.normal(size=w.shape)) for w in weights])
    answers = _keras_answers(of)
    of.model.set_weights(weights)
    return answers


_HEADS: list[tuple[Head, tuple[str, ...], str]] = [
    (Head("softmax"), LABELS, "softmax"),
    (Head("softmax"), LABELS[:2], "softmax"),
    (Head("normalised_sigmoid"), LABELS[:2], "sigmoid"),
    (Head("sigmoid", "first"), LABELS[:2], "sigmoid"),
]


def _sequential(
    choice: LayerChoice, shape: tuple[int, int, int], outputs: int, activation: str
) -> Any:
    keras, rng = import_keras(), choice.rng
    model = keras.Sequential([keras.Input(shape), *choice.first(shape[-1])])
    for _ in range(rng.integers(2, 8)):
        for layer in choice.block(model.output_shape[1:]):
            model.add(layer)
    for layer in [*choice.ending(), *choice.last(outputs, activation)]:
        model.add(layer)
    return model


def _functional(
    choice: LayerChoice, shape: tuple[int, int, int], outputs: int, activation: str
) -> Any:
    keras, rng = import_keras(), choice.rng
    image = keras.Input(shape)
    tensor = _scaled(choice, image)
    for _ in range(rng.integers(2, 8)):
        step = _STEPS[rng.integers(len(_STEPS))]
        tensor = step(choice, tensor)
    tensor = _through(tensor, choice.ending())
    return keras.Model(image, _through(tensor, choice.last(outputs, activation)))


def _through(tensor: Any, layers: list[Any]) -> Any:
    for layer in layers:
        tensor = layer(tensor)
    return tensor


def _scaled(choice: LayerChoice, image: Any) -> Any:
    """The image by a layer, or by bare arithmetic, as a number or as fractions around zero."""
    ways: list[Callable[[], Any]] = [
        lambda: image / 255.0,
        lambda: (image - 127.5) / 127.5,
        lambda: 1 - image * (1 / 255),
        lambda: 0.1 + (1 / 255) * image,
    ]
    way = choice.rng.integers(2 * len(ways))
    if way < len(ways):
        return ways[way]()
    return _through(image, choice.first(image.shape[-1]))


def _plain(choice: LayerChoice, tensor: Any) -> Any:
    return _through(tensor, choice.block(tensor.shape[1:]))


def _inside_a_model(choice: LayerChoice, tensor: Any) -> Any:
    """A block as a model of its own; used twice where it keeps the shape."""
    keras = import_keras()
    inner = keras.Sequential([keras.Input(tensor.shape[1:])])
    for layer in choice.block(tensor.shape[1:]):
        inner.add(layer)
    once = inner(tensor)
    twice = once.shape == tensor.shape and choice.rng.random() < 0.5
    return inner(once) if twice else once


def _same_shape(choice: LayerChoice, tensor: Any) -> Any:
    """Convolutions that keep the shape, with whatever stands between them."""
    channels = tensor.shape[-1]
    for _ in range(choice.rng.integers(1, 3)):
        tensor = _through(tensor, [*choice.keeping(channels), *choice.some_norm()])
    return tensor


def _residual(choice: LayerChoice, tensor: Any) -> Any:
    """What comes in is added to what came of it."""
    layers, branch = import_keras().layers, _same_shape(choice, tensor)
    joins: list[Callable[[], Any]] = [
        lambda: layers.Add()([tensor, branch]),
        lambda: tensor + branch,
        lambda: layers.Average()([tensor, branch]),
        lambda: layers.Maximum()([branch, tensor]),
        lambda: layers.Subtract()([branch, tensor]),
    ]
    joined = joins[choice.rng.integers(len(joins))]()
    return _through(joined, choice.some_norm())


def _side_by_side(choice: LayerChoice, tensor: Any) -> Any:
    """Two branches as channels of one map."""
    pair = [_same_shape(choice, tensor), _same_shape(choice, tensor)]
    return import_keras().layers.Concatenate()(pair)


def _squeeze_and_excite(choice: LayerChoice, tensor: Any) -> Any:
    """Channels weighted by what the whole map holds (Hu et al. 2018)."""
    layers, channels = import_keras().layers, tensor.shape[-1]
    kept = bool(choice.rng.random() < 0.5)
    weights = layers.GlobalAveragePooling2D(keepdims=kept)(tensor)
    if not kept:
        weights = layers.Reshape((1, 1, channels))(weights)
    if choice.rng.random() < 0.5:
        weights = layers.Conv2D(2, 1, activation="relu")(weights)
        weights = layers.Conv2D(channels, 1, activation="sigmoid")(weights)
    else:
        weights = layers.Dense(2, activation="swish")(weights)
        weights = layers.Dense(channels, activation="hard_sigmoid")(weights)
    return layers.Multiply()([tensor, weights]) if choice.rng.random() < 0.5 else tensor * weights


_STEPS: list[Callable[[LayerChoice, Any], Any]] = [
    *[_plain] * 5,
    _inside_a_model,
    _residual,
    _side_by_side,
    _squeeze_and_excite,
]
