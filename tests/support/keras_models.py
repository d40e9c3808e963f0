"""Keras models of a few layers, and whether reading and building leave their answers alone."""

from typing import Any

import numpy as np

from edgecell_export.keras_build import build_model
from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare import Graph
from edgecell_export.prepare.nodes import Node

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 12, 3), np.uint8)


def sequential(keras: Any, layers: list[Any]) -> Any:
    return keras.Sequential([keras.Input((12, 12, 3)), *layers])


def functional(keras: Any, layers: list[Any]) -> Any:
    image = tensor = keras.Input((12, 12, 3))
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(image, tensor)


def nodes_of(graph: Graph) -> list[Node]:
    return [node for part in graph.parts for node in part.chain.nodes]


def assert_read_and_built_as_it_is(model: Any) -> Graph:
    """What is read, and what is built from that, answer as the model does."""
    train_a_little(model)
    graph = read_graph(model)
    expected = model.predict(PIXELS / 255, verbose=0)
    limit = 1e-5 * max(1, np.abs(expected).max())
    assert np.ptp(expected, axis=0).max() > 100 * limit  # it does look at the image
    assert np.abs(graph.evaluate(PIXELS / 255) - expected).max() < limit
    built = build_model(graph, input_dtype="float32", batch=None)
    found = built.predict((PIXELS / 255).astype(np.float32), verbose=0)
    assert np.abs(found - expected).max() < limit
    return graph


def train_a_little(model: Any) -> None:
    """Gives every weight a value that initialisation does not."""
    rng = np.random.default_rng(1)
    for variable in model.weights:
        if variable.dtype == "float32":
            signs = rng.choice([-1, 1, 1], variable.shape)
            variable.assign(rng.uniform(0.1, 0.5, variable.shape) * signs)
    for layer in model.layers:
        if hasattr(layer, "moving_variance"):
            layer.moving_variance.assign(rng.uniform(0.1, 2, layer.moving_variance.shape))
