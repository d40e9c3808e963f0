"""A fixed piece of work that every result carries beside its own.

Absolute times of one machine drift from day to day, by its neighbours, heat and frequency; the
ratio of a model's time to that of the same work in the same minute drifts less, and tells a slower
model from a slower day.

The work is what engines do, in numpy alone: products of small float32 matrices, products and sums
of integers, and passes through more memory, 8 MB in all, than most second-level caches hold. It is
one thread's: numpy has no threads of its own for the latter two, and its BLAS starts none for
matrices this small (a test counts the threads).

What it cannot do: follow every model alike. One whose weights exceed the caches suffers more from
neighbours that use memory, one that fits them suffers less, and an engine with several threads
suffers more from other load. It has no 8-bit dot product, which numpy lacks, and does not compare
machines, whose engines have kernels that numpy has not. NumPy's version is part of it, and stands
in ``SystemInfo``. A change of the work raises the results' schema version.
"""

from typing import Final

import numpy as np

MATRIX: Final = 48
"""Rows and columns: 48 cubed is 110,592; BLAS libraries take threads from larger products on."""

MATRICES: Final = 192
INTEGERS: Final = 1 << 17
MEMORY_BYTES: Final = 1 << 21


class ReferenceKernel:
    """The work and its data, which are made once."""

    def __init__(self) -> None:
        """Makes the data by formulas, so that they are the same everywhere."""
        ramp = np.arange(MATRICES * MATRIX * MATRIX, dtype=np.float32)
        self._left = (ramp % 7 - 3).reshape(MATRICES, MATRIX, MATRIX)
        self._right = (ramp % 5 - 2).reshape(MATRICES, MATRIX, MATRIX)
        self._products = np.empty_like(self._left)
        steps = np.arange(INTEGERS, dtype=np.int32)
        self._codes = (steps % 251 - 125).astype(np.int16)
        self._weights = (steps % 241 - 120).astype(np.int16)
        self._wide = np.empty(INTEGERS, np.int32)
        self._memory = np.arange(MEMORY_BYTES // 4, dtype=np.int32)

    def __call__(self) -> float:
        """Does the work once: 0.6 to 1 ms on a server's core.

        Returns:
            A sum over all results: always the same, exactly, since all are whole numbers.
        """
        np.matmul(self._left, self._right, out=self._products)
        np.multiply(self._codes, self._weights, out=self._wide, dtype=np.int32, casting="same_kind")
        total = int(self._wide.sum(dtype=np.int64)) + int(np.bitwise_xor.reduce(self._memory))
        return total + float(self._products[:, 0].sum())


def kernel() -> ReferenceKernel:
    """The kernel, ready to be called."""
    return ReferenceKernel()
