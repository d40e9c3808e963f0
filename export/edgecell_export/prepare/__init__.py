"""Graph preparation: from a trained Keras model to the inference graph that every format takes.

Converters leave BatchNormalization behind pooling as Mul and Add; as 8-bit integers those ruin a
net. Preparation works on a small description of the model, chains of nodes with float64 weights,
one pass a file, and each pass proves itself on random input before the next one runs. A layer that
no pass understands is carried along as it is.
"""

from edgecell_export.prepare.drop_training import DropTraining
from edgecell_export.prepare.end_in_logits import EndInLogits
from edgecell_export.prepare.end_in_probabilities import EndInProbabilities
from edgecell_export.prepare.fold_batchnorm import FoldBatchNorm
from edgecell_export.prepare.fold_rescaling import FoldRescaling, taking_fractions
from edgecell_export.prepare.graph import Graph
from edgecell_export.prepare.integers import IMAGES, for_integers
from edgecell_export.prepare.shift_to_maximum import ShiftToMaximum
from edgecell_runtime.heads import Head

__all__ = [
    "IMAGES",
    "EndInProbabilities",
    "Graph",
    "for_floats",
    "for_integers",
    "prepare",
    "taking_fractions",
]


def prepare(graph: Graph, head: Head) -> Graph:
    """Runs all passes.

    Args:
        graph: A trained model, as ``read_graph`` describes it.
        head: The head that takes over from the model's last activation.

    Returns:
        A graph from pixels (0-255) to logits, without training layers, and without
        BatchNormalization and rescaling where a layer can take them in.

    Raises:
        PreparationError: A pass does not apply, or broke its promise.
    """
    graph = graph.map(DropTraining())
    graph = graph.with_last(EndInLogits(head)(graph.last))
    return graph.map(FoldBatchNorm()).map(FoldRescaling())


def for_floats(graph: Graph) -> Graph:
    """The form of a prepared graph that suits floats: fewest steps."""
    return graph.map(ShiftToMaximum())
