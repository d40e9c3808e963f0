"""Intervals over patients: whole patients are drawn again and again, each with all their images.

Cells of one patient share a slide, a stain and a microscope, so that they are right or wrong
together. An interval that took each image as a witness of its own would be too narrow. Hence the
cluster bootstrap (Efron & Tibshirani 1993, "An Introduction to the Bootstrap"; Field & Welsh 2007,
"Bootstrapping clustered data").
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from edgecell_runtime.manifest import Figure

BOUNDS: Final = (0.025, 0.975)
"""Of a 95 % interval, as shares of the resamples."""

_CELLS_AT_ONCE = 1 << 18
"""Resamples are drawn in blocks of about this many multiplicities, so that they fit a cache."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Which images are drawn together.

    Attributes:
        of_image: int (n,), the group of each image.
        count: Number of groups.
        patients: Number of groups that are a patient and not a lone image.
    """

    of_image: NDArray[np.intp]
    count: int
    patients: int

    @staticmethod
    def of(patients: Sequence[str | None]) -> "Groups":
        """Groups images by patient; an image without one is a group of its own."""
        numbers: dict[str | int, int] = {}
        of_image = [
            numbers.setdefault(image if patient is None else patient, len(numbers))
            for image, patient in enumerate(patients)
        ]
        named = sum(isinstance(key, str) for key in numbers)
        return Groups(np.array(of_image, dtype=np.intp), len(numbers), named)

    def totals(self, values: NDArray[np.bool_] | NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the images of each group: bool or float (n,) -> float64 (groups,)."""
        totals: NDArray[np.float64] = np.zeros(self.count)
        np.add.at(totals, self.of_image, values)
        return totals

    def draws(self, seed: int, resamples: int) -> Iterator[NDArray[np.int64]]:
        """Draws as many groups as there are, with replacement, ``resamples`` times.

        Yields:
            int64 (some resamples, groups), how often each group was drawn.
        """
        generator = np.random.default_rng(seed)
        at_once = max(1, _CELLS_AT_ONCE // len(self.of_image))
        for done in range(0, resamples, at_once):
            rows = min(at_once, resamples - done)
            drawn = generator.integers(self.count, size=(rows, self.count))
            drawn += np.arange(rows)[:, np.newaxis] * self.count
            flat = np.bincount(drawn.ravel(), minlength=rows * self.count)
            yield flat.reshape(rows, self.count)


class Statistic(Protocol):
    """One figure, on the images themselves and on resamples of them."""

    @property
    def value(self) -> float | None:
        """On the images themselves; None where it has no meaning."""

    def has_spread(self) -> bool:
        """Whether at least two groups have images that count, so that there is an interval."""

    def resampled(self, draws: NDArray[np.int64]) -> NDArray[np.float64]:
        """On resamples: int64 (resamples, groups) -> float64 (resamples,), NaN where undefined."""


def resample(
    groups: Groups, statistics: Sequence[Statistic], seed: int, resamples: int
) -> NDArray[np.float64]:
    """Each statistic on the same resamples; the same seed and groups give the same ones again.

    Returns:
        float64 (statistics, resamples), NaN where a resample leaves a statistic without a meaning.
    """
    # scipy.stats.bootstrap draws single observations and calls back for each statistic: over
    # groups of unequal size it would hold resamples x images values, and draw anew each time.
    blocks = [
        np.stack([statistic.resampled(draws) for statistic in statistics])
        for draws in groups.draws(seed, resamples)
    ]
    return np.concatenate(blocks, axis=1)


def figure(statistic: Statistic, resampled: NDArray[np.float64]) -> Figure | None:
    """A statistic with its interval: the 2.5th and 97.5th percentile over the resamples.

    Args:
        statistic: The statistic.
        resampled: float64 (resamples,), its values on them.

    Returns:
        None where it has no value. 0 to 1 is the interval where fewer than two groups have images
        that count, or no resample defines it. The interval holds the value, also that of a
        statistic that is larger on nearly every resample than on the images.
    """
    if statistic.value is None:
        return None
    defined = resampled[~np.isnan(resampled)]
    if not statistic.has_spread() or defined.size == 0:
        return Figure(statistic.value, 0.0, 1.0)
    low, high = (float(bound) for bound in np.quantile(defined, BOUNDS))
    return Figure(statistic.value, min(low, statistic.value), max(high, statistic.value))
