"""A convolution and the pooling behind it, computed as one convolution and a maximum."""

from typing import Any

import numpy as np
import pytest
from support.chain_models import answers, build_chain, randomised

from edgecell_export.keras_graph import read_graph
from edgecell_export.prepare import prepare
from edgecell_export.prepare.nodes import Rescale
from edgecell_export.tensorflow import import_keras
from edgecell_runtime.heads import Head
from edgecell_train.compression.absorbing import absorb_shifts
from edgecell_train.compression.merging import merge_poolings, widths_of


def _net(
    rows: int, columns: int, *between: Any, filters: int = 4, activation: str = "linear"
) -> Any:
    layers = import_keras().layers
    return import_keras().Sequential(
        [
            import_keras().Input((rows, columns, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(filters, 3, padding="same", activation=activation, name="first"),
            *between,
            layers.MaxPooling2D(2, name="pool"),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Conv2D(5, 3, padding="same", activation="relu", name="second"),
            layers.MaxPooling2D(2, name="pool2"),
            layers.Flatten(),
            layers.Dense(2, activation="sigmoid", name="answer"),
        ]
    )


@pytest.mark.parametrize(("rows", "columns", "convolutions"), [(8, 16, 2), (12, 8, 2), (8, 6, 1)])
def test_merged_net_answers_the_same(rows: int, columns: int, convolutions: int) -> None:
    layers = import_keras().layers
    between = layers.BatchNormalization(), layers.ReLU(), layers.Activation("tanh")
    model = randomised(_net(rows, columns, *between))
    merged = merge_poolings(model)
    wide = [one for one in merged.layers if getattr(one, "strides", None) == (2, 1)]
    assert len(wide) == convolutions
    np.testing.assert_allclose(answers(merged), answers(model), atol=1e-5)


def test_batchnorm_before_a_padded_convolution_is_taken_in_exactly() -> None:
    layers = import_keras().layers
    model = randomised(_net(8, 16, layers.ReLU()))
    absorbed = absorb_shifts(model)
    kinds = [type(layer).__name__ for layer in absorbed.layers]
    assert "BatchNormalization" not in kinds
    assert widths_of(absorbed) == {"first": 5, "second": 5}, "one channel is constant"
    np.testing.assert_allclose(answers(absorbed), answers(model), atol=1e-5)
    merged = merge_poolings(absorbed)
    np.testing.assert_allclose(answers(merged), answers(model), atol=1e-5)


def test_batchnorm_stays_where_taking_it_in_would_not_be_exact() -> None:
    layers = import_keras().layers
    for model in (
        _net(8, 16),  # without a ReLU, the constant's sign would not do
        _net(8, 16, layers.ReLU(6.0)),  # the constant may be above it
        _net(8, 16, layers.ReLU(threshold=1.0)),
        _net(8, 16, layers.ReLU(), activation="sigmoid"),
    ):
        randomised(model)
        absorbed = absorb_shifts(model)
        assert "BatchNormalization" in [type(layer).__name__ for layer in absorbed.layers]
        np.testing.assert_allclose(answers(absorbed), answers(model), atol=1e-5)


def test_merged_net_has_the_widths_that_it_had() -> None:
    model = _net(8, 8)
    assert widths_of(merge_poolings(model)) == widths_of(model) == {"first": 4, "second": 5}


def test_convolution_is_left_when_merging_would_not_be_exact_or_faster() -> None:
    layers = import_keras().layers
    for model in (
        _net(8, 8, filters=32),  # too many multiplications
        _net(9, 9),  # the pooling leaves out a row
        _net(8, 8, layers.ZeroPadding2D(1)),
        _net(8, 8, layers.Activation("softmax")),  # of all channels at once
        _net(8, 8, activation="softmax"),
    ):
        names = {layer.name for layer in merge_poolings(model).layers}
        assert "first_phases" not in names


def test_rescaling_is_folded_through_the_merged_columns() -> None:
    merged = merge_poolings(randomised(build_chain((8, 8, 3))))
    assert any(layer.name == "first_columns" for layer in merged.layers)
    graph = prepare(read_graph(merged), Head("normalised_sigmoid"))
    assert not any(isinstance(node, Rescale) for part in graph.parts for node in part.chain.nodes)
