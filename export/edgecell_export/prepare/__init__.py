"""Graph preparation: from a trained Keras model to the inference graph that every format takes.

Converters leave BatchNormalization behind pooling as Mul and Add; as 8-bit integers those ruin a
net. Preparation works on a small description of the model, a chain of nodes with float64 weights,
one pass a file, and each pass proves itself on random input before the next one runs.
"""

from edgecell_export.prepare.chain import Chain
from edgecell_export.prepare.drop_training import DropTraining
from edgecell_export.prepare.end_in_logits import EndInLogits
from edgecell_export.prepare.fold_batchnorm import FoldBatchNorm
from edgecell_export.prepare.fold_rescaling import FoldRescaling, taking_fractions
from edgecell_export.prepare.integers import IMAGES, for_integers
from edgecell_runtime.heads import Head

__all__ = ["IMAGES", "Chain", "for_integers", "prepare", "taking_fractions"]


def prepare(chain: Chain, head: Head) -> Chain:
    """Runs all passes.

    Args:
        chain: A trained model, as ``read_chain`` describes it.
        head: The head that takes over from the model's last activation.

    Returns:
        A chain from pixels (0-255) to logits, without BatchNormalization and training layers.

    Raises:
        PreparationError: A pass does not apply, or broke its promise.
    """
    for step in (DropTraining(), EndInLogits(head), FoldBatchNorm(), FoldRescaling()):
        chain = step(chain)
    return chain
