"""What the tests of TFLite's recipes share: converting the small net, and looking into files."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.formats.tflite_graph import Kernel, TFLiteGraph
from edgecell_export.prepare import Graph
from edgecell_export.prepare.nodes import Conv2D, Dense
from edgecell_export.recipes import RECIPES
from edgecell_runtime.engines import engine_for
from edgecell_runtime.signature import dequantize
from support.small_run import Conversions

TFLITE = CONVERTERS["tflite"]
FLOAT = Kernel("float32", "float32")
KERNELS = {
    "float32": FLOAT,
    "float16": Kernel("float32", "float16", unpacked=True),
    "weight_only_int8": Kernel("float32", "int8", unpacked=True),
    "weight_only_int4": Kernel("float32", "int4", unpacked=True),
    "dynamic_int8": Kernel("float32", "int8"),
    "static_int8": Kernel("int8", "int8"),
    "static_int8_int16": Kernel("int16", "int8"),
}
INTEGERS = [name for name in KERNELS if RECIPES[name].integer_weights]
LAYERS = ("first", "second", "hidden", "last")


def kernels(path: Path, layers: tuple[str, ...] = LAYERS) -> dict[str, Kernel]:
    """What each layer is made of; they come in the order of computation."""
    found = TFLiteGraph(path.read_bytes()).layers()
    return {name: layer.kernel for name, layer in zip(layers, found, strict=True)}


def convert(conversion: Conversion, folder: Path, **changes: Any) -> Path:
    """Converts, and checks what came out."""
    conversion = dataclasses.replace(conversion, **changes)
    path = folder / "model.tflite"
    TFLITE.convert(conversion, path)
    TFLITE.check(path, conversion)
    return path


def logits(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Answers to pixels, all in one batch where the model takes any."""
    with engine_for("tflite").open(path.read_bytes(), 1) as session:
        image, output = session.signature.inputs[0], session.signature.outputs[0]
        batch = image.shape[0] or len(pixels)
        rows = [session.run((part,))[0] for part in np.split(pixels, len(pixels) // batch)]
    answers = np.concatenate(rows)
    if output.quantization is None:
        return answers.astype(np.float64)
    return dequantize(answers, output.quantization)


def largest_difference(path: Path, graph: Graph, conversions: Conversions) -> float:
    """From the graph's own answers, relative to their spread."""
    pixels = conversions.calibration.first(40)
    expected = graph.evaluate(pixels.astype(np.float64))
    return float(np.abs(logits(path, pixels) - expected).max() / expected.std())


def on_grid(graph: Graph, recipe: str, but: str = "") -> Graph:
    """The graph with its kernels rounded as the recipe stores them."""
    largest = 2 ** (RECIPES[recipe].weight_bits - 1) - 1

    def rounded(node: Conv2D | Dense) -> Conv2D | Dense:
        size = np.abs(node.kernel).max(axis=tuple(range(node.kernel.ndim - 1)))
        step = np.where(size > 0, size, 1) / largest
        return dataclasses.replace(node, kernel=np.rint(node.kernel / step) * step)

    return graph.map(
        lambda chain: chain.with_nodes(
            *(
                rounded(node) if isinstance(node, Conv2D | Dense) and node.name != but else node
                for node in chain.nodes
            )
        )
    )


# What activations of fewer bits may cost, two to three times what was found.
LIMITS = {
    "weight_only_int8": 1e-5,
    "weight_only_int4": 1e-5,
    "dynamic_int8": 0.1,
    "static_int8": 0.25,
    "static_int8_int16": 0.005,
}
