"""Drops what only training uses: Dropout and its kin do nothing at inference."""

from edgecell_export.prepare.base import Pass
from edgecell_export.prepare.graph import Chain
from edgecell_export.prepare.nodes import TrainingOnly


class DropTraining(Pass):
    """Removes ``TrainingOnly`` nodes."""

    name = "drop-training"

    def rewrite(self, chain: Chain) -> Chain:
        """Keeps every other node."""
        return chain.with_nodes(*(n for n in chain.nodes if not isinstance(n, TrainingOnly)))
