"""ONNX conversions of the small net, and reading what came of them."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgecell_export.formats.base import Conversion
from edgecell_export.formats.onnx import ONNXConverter
from edgecell_export.formats.onnx_graph import KERNELS
from edgecell_export.formats.onnx_weights import stored_steps
from edgecell_runtime.engines import engine_for
from support.small_run import Conversions

CONVERTER = ONNXConverter()
Make = Callable[..., tuple[Path, Conversion]]


def maker(conversions: Conversions, folder: Path) -> Make:
    """Converts the small net: a recipe, and what differs from the usual conversion."""

    def made(recipe: str, **changes: Any) -> tuple[Path, Conversion]:
        conversion = dataclasses.replace(conversions.conversion(recipe), **changes)
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        CONVERTER.convert(conversion, path)
        return path, conversion

    return made


def answers(path: Path, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with engine_for("onnx").open(path.read_bytes(), 1) as session:
        return np.asarray(session.run((pixels,))[0], np.float32)


def kernels(model: Any) -> Iterator[tuple[Any, NDArray[np.integer] | None]]:
    """Nodes with weights, and the steps that they are stored as, if they are."""
    for item in model.graph.node:
        if item.op_type in KERNELS:
            yield item, stored_steps(model, item)
