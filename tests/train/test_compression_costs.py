"""What nets cost by their widths, which channels matter, and which are taken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.chain_models import SHAPE, build_chain, build_depthwise, randomised
from support.small_run import Conversions

from edgecell_export.keras_graph import read_graph
from edgecell_export.macs import tflite_macs
from edgecell_export.prepare import prepare
from edgecell_runtime.heads import Head, HeadKind
from edgecell_train.compression.allocation import keep
from edgecell_train.compression.chain import narrowed, read_chain
from edgecell_train.compression.costs import CostKind, costs_of
from edgecell_train.compression.cutting import Goal, cut
from edgecell_train.compression.importance import importances
from edgecell_train.feeding import LabelledPixels
from edgecell_train.labelling import Labelling

LABELLING = Labelling(("Parasitized", "Uninfected"), Head("normalised_sigmoid"))
KEPT = {"first": np.array([0, 2, 3]), "second": np.array([1, 4])}


def _images(count: int = 64) -> LabelledPixels:
    rng = np.random.default_rng(4)
    images = rng.integers(0, 256, (count, *SHAPE)).astype(np.uint8)
    return LabelledPixels(images, rng.integers(0, 2, count))


def _file(model: Any, head: HeadKind, folder: Path) -> bytes:
    folder.mkdir()
    graph = prepare(read_graph(model), Head(head))
    return Conversions(graph, _images().pixels, folder).path("tflite", "static_int8").read_bytes()


@pytest.mark.parametrize(
    ("build", "head"), [(build_chain, "normalised_sigmoid"), (build_depthwise, "softmax")]
)
def test_costs_are_those_of_converted_files(build: Any, head: HeadKind, tmp_path: Path) -> None:
    model = randomised(build())
    chain = read_chain(model)
    small = narrowed(chain, KEPT)
    files = [_file(net, head, tmp_path / name) for net, name in ((model, "a"), (small, "b"))]
    costs, all_widths = costs_of(chain), (chain.prunable, read_chain(small).prunable)
    macs = [costs.of("macs", widths) for widths in all_widths]
    # Of a BatchNormalization between two convolutions, a shift becomes one more channel.
    assert macs == pytest.approx([tflite_macs(file) for file in files], rel=0.15)
    modelled = costs.of("bytes", all_widths[0]) - costs.of("bytes", all_widths[1])
    assert modelled == pytest.approx(len(files[0]) - len(files[1]), rel=0.2)


def test_costs_count_every_multiplication_of_the_net() -> None:
    chain = read_chain(build_chain())
    macs = 16 * 16 * 8 * 27 + 6 * 6 * 6 * 72 + 216 * 16 + 16 * 2
    assert costs_of(chain).of("macs", chain.prunable) == macs
    weights = 8 * 27 + 6 * 72 + 216 * 16 + 16 * 2
    assert costs_of(chain).of("bytes", chain.prunable) == weights + 20 * (8 + 6 + 16 + 2)


def test_channel_that_nothing_reads_matters_nothing() -> None:
    model = randomised(build_chain())
    kernel, bias = model.get_layer("second").get_weights()
    kernel[:, :, 3] = 0
    model.get_layer("second").set_weights([kernel, bias])
    found = importances(read_chain(model), LABELLING, _images(), seed=0)
    assert {name: len(values) for name, values in found.items()} == read_chain(model).prunable
    assert found["first"][3] == 0
    assert np.count_nonzero(found["first"]) >= 6


def test_importance_is_the_square_of_what_the_loss_changes_by_when_a_gate_closes_a_little() -> None:
    model = randomised(build_chain())
    part = LabelledPixels(_images(1).pixels, np.array([1]))
    found = importances(read_chain(model), LABELLING, part, seed=0)["dense"]
    answer = model.get_layer("answer")
    kernel, bias = answer.get_weights()

    def loss(unit: int, gate: float) -> float:
        moved = kernel.copy()
        moved[unit] *= gate
        answer.set_weights([moved, bias])
        outputs = np.asarray(model(part.pixels.astype(np.float32), training=False), np.float64)[0]
        return -float(np.log(outputs[1] / outputs.sum()))

    slopes = [(loss(unit, 1.01) - loss(unit, 0.99)) / 0.02 for unit in range(16)]
    np.testing.assert_allclose(found, np.square(slopes), rtol=0.05, atol=1e-4)


def _widths(kept: Mapping[str, Any]) -> dict[str, int]:
    return {name: len(channels) for name, channels in kept.items()}


def test_channels_that_matter_least_are_taken_first_until_the_cost_is_met() -> None:
    chain = read_chain(build_chain())
    costs = costs_of(chain)
    matter = {name: np.arange(width, 0, -1.0) for name, width in chain.prunable.items()}
    most = costs.of("bytes", chain.prunable) * 6 // 10
    kept = keep(costs, matter, "bytes", most)
    assert costs.of("bytes", _widths(kept)) <= most
    for name, channels in kept.items():
        assert channels.tolist() == list(range(len(channels))), f"the last of {name} matter least"


@pytest.mark.parametrize(("kind", "dearest"), [("bytes", "second"), ("macs", "first")])
def test_of_channels_that_matter_alike_the_dearest_goes_first(kind: CostKind, dearest: str) -> None:
    chain = read_chain(build_chain())
    costs, widths = costs_of(chain), chain.prunable
    saved = {
        name: costs.of(kind, widths) - costs.of(kind, {**widths, name: width - 1})
        for name, width in widths.items()
    }
    assert max(saved, key=lambda name: saved[name]) == dearest
    matter = {name: np.ones(width) for name, width in widths.items()}
    kept = keep(costs, matter, kind, costs.of(kind, widths) - 1)
    assert _widths(kept) == {**widths, dearest: widths[dearest] - 1}
    matter[dearest] *= 1000
    assert len(keep(costs, matter, kind, costs.of(kind, widths) - 1)[dearest]) == widths[dearest]


def test_no_layer_is_emptied_however_little_a_net_may_cost() -> None:
    chain = read_chain(build_chain())
    matter = {name: np.ones(width) for name, width in chain.prunable.items()}
    kept = keep(costs_of(chain), matter, "macs", 0)
    assert _widths(kept) == {"first": 2, "second": 2, "dense": 3}


def test_cut_splits_a_dense_layer_when_that_loses_less() -> None:
    model = randomised(build_chain())
    dense = model.get_layer("dense")
    kernel, bias = dense.get_weights()
    rng = np.random.default_rng(2)
    low = rng.normal(size=(len(kernel), 2)) @ rng.normal(size=(2, 16))
    dense.set_weights([low / 4, bias])
    images = _images().pixels
    told = np.asarray(model(images.astype(np.float32), training=False)).argmax(axis=1)
    chain = read_chain(model)
    most = costs_of(chain).of("bytes", chain.prunable) // 2
    small = cut(chain, Goal("bytes", most), LABELLING, LabelledPixels(images, told), seed=0)
    widths = read_chain(small).prunable
    assert costs_of(read_chain(small)).of("bytes", widths) <= most
    assert widths["dense_low_rank"] == 2
    assert widths["dense"] > 8, "all of it would have been cut to meet the cost"
