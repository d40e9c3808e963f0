"""A prepared graph becomes a model of Keras's own layers that answers the same."""

from typing import Any

import numpy as np
import pytest
from support.keras_models import train_a_little

from edgecell_export.keras_build import layer_names
from edgecell_export.keras_graph import read_graph
from edgecell_export.keras_layers import build_trainable
from edgecell_export.prepare import for_integers, prepare
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)


def make_model(head: Head) -> Any:
    """Branches, and BatchNormalization where it folds, where it leaves a shift, and where not."""
    keras = import_keras()
    layers = keras.layers
    image = keras.Input((12, 12, 3))
    first = layers.Conv2D(4, 3, padding="same", activation="relu")(layers.Rescaling(1 / 99)(image))
    tensor = layers.BatchNormalization()(layers.MaxPooling2D()(first))
    tensor = layers.Conv2D(4, 3, padding="same")(tensor)
    left = layers.ReLU()(layers.BatchNormalization()(tensor))
    right = layers.DepthwiseConv2D(3, padding="same", activation="relu")(left)
    tensor = layers.Dropout(0.2)(layers.Add()([left, layers.BatchNormalization()(right)]))
    tensor = layers.BatchNormalization()(layers.Activation("tanh")(tensor))
    tensor = layers.Flatten()(layers.AveragePooling2D(2)(layers.ReLU()(tensor)))
    single = head.kind == "sigmoid"
    activation = "softmax" if head.kind == "softmax" else "sigmoid"
    model = keras.Model(image, layers.Dense(1 if single else 2, activation)(tensor))
    train_a_little(model)
    return model


@pytest.mark.parametrize(
    "head", [Head("softmax"), Head("normalised_sigmoid"), Head("sigmoid", "yes")], ids=str
)
def test_built_model_answers_as_the_one_that_was_prepared(head: Head) -> None:
    model = make_model(head)
    expected = model.predict(PIXELS, verbose=0)
    assert np.ptp(expected, axis=0).max() > 0.01  # it does look at the image
    graph = prepare(read_graph(model), head)
    for form in (graph, for_integers(graph, PIXELS, float_layers=layer_names(graph))):
        built = build_trainable(form, head)
        np.testing.assert_allclose(built.predict(PIXELS, verbose=0), expected, atol=1e-5)
        again = prepare(read_graph(built), head)  # it can be exported like any other
        logits = again.evaluate(PIXELS.astype(float))
        np.testing.assert_allclose(logits, graph.evaluate(PIXELS.astype(float)), atol=1e-3)


def test_built_model_has_layers_of_keras_alone_and_a_relu_within_them() -> None:
    head = Head("softmax")
    built = build_trainable(prepare(read_graph(make_model(head)), head), head)
    assert all(isinstance(layer, import_keras().layers.Layer) for layer in built.operations)
    kinds = [type(layer).__name__ for layer in built.layers]
    assert "BatchNormalization" in kinds or "Rescaling" in kinds
    assert "Dropout" not in kinds
    convolutions = [x for x in built.layers if type(x).__name__ == "Conv2D"]
    assert [x.activation.__name__ for x in convolutions] == ["relu", "relu"]
