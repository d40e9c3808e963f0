"""Converts to ``static_int8`` in this process alone; ``calibration_memory.py`` starts it.

The last line of standard output is the most memory that the process held, in bytes.
"""

import sys
import tempfile
from pathlib import Path

from edgecell_export.formats import CONVERTERS
from edgecell_export.formats.base import Conversion
from edgecell_export.keras_graph import read_graph
from edgecell_export.pixels import PixelFile
from edgecell_export.prepare import IMAGES, for_integers, prepare
from edgecell_export.recipes import RECIPES
from edgecell_runtime.measure import peak_memory_bytes
from edgecell_train.runs import find_run


def main() -> None:
    """Takes the run, a file of calibration images, the format and the rule for ranges."""
    run_folder, calibration, form, ranges = sys.argv[1:]
    source = find_run(Path(run_folder)).source_model()
    pixels = PixelFile(Path(calibration), source.preprocessing.shape)
    recipe, converter = RECIPES["static_int8"], CONVERTERS[form]
    graph = for_integers(
        prepare(read_graph(source.model), source.head),
        pixels.first(IMAGES),
        largest=converter.largest_weight(recipe, "any"),
    )
    with tempfile.TemporaryDirectory() as folder:
        conversion = Conversion(graph, recipe, pixels, ranges=ranges)  # type: ignore[arg-type]
        converter.convert(conversion, Path(folder) / f"model{converter.suffix}")
    print(f"\n{peak_memory_bytes() or 0}")


if __name__ == "__main__":
    main()
