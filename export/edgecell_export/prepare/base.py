"""What a pass promises, checked each time it runs."""

import abc
from typing import ClassVar, Final

import numpy as np

from edgecell_export.prepare.arrays import Array
from edgecell_export.prepare.graph import Chain, probes
from edgecell_runtime.errors import PreparationError

TOLERANCE: Final = 1e-9
"""Largest difference that a pass may make in float64, relative to the largest answer."""

_PROBES: Final = 2


class Pass(abc.ABC):
    """Rewrites a chain into another one that computes the same.

    Calling a pass checks ``requires``, rewrites, checks ``ensures``, and compares both chains in
    float64 on random input.
    """

    name: ClassVar[str]

    def __call__(self, chain: Chain) -> Chain:
        """Runs the pass.

        Raises:
            PreparationError: The pass does not apply here, or it did not keep its promise.
        """
        self.requires(chain)
        rewritten = self.rewrite(chain)
        self.ensures(rewritten)
        self._compare(chain, rewritten)
        return rewritten

    def requires(self, chain: Chain) -> None:  # noqa: B027 - most passes ask for nothing
        """Raises PreparationError where the pass cannot be applied."""

    @abc.abstractmethod
    def rewrite(self, chain: Chain) -> Chain:
        """The new chain; what the pass does not understand it leaves alone."""

    def ensures(self, chain: Chain) -> None:  # noqa: B027
        """Raises PreparationError where the result is not what the pass promises."""

    def comparable(self, chain: Chain) -> Chain:
        """The rewritten chain as it has to be for its answers to equal the original's."""
        return chain

    def expected(self, answers: Array) -> Array:
        """What the rewritten chain has to answer where the original gave ``answers``."""
        return answers

    def _compare(self, before: Chain, after: Chain) -> None:
        inputs = probes(before, _PROBES)
        expected = self.expected(before.evaluate(inputs * (before.white or 1.0)))
        found = self.comparable(after).evaluate(inputs * (after.white or 1.0))
        largest = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1.0))
        if not largest <= TOLERANCE:
            raise PreparationError(
                f"The pass {self.name} changed the model's answers by {largest:.1e} (rounding is "
                f"below {TOLERANCE:.0e}). Weights that are not finite do that; otherwise please "
                "report this model."
            )
