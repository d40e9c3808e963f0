"""The reference kernel: the same work everywhere."""

import subprocess
import sys

import numpy as np

from edgecell_runtime.bench import reference


def test_kernel_gives_the_same_answer_each_time_and_in_another_one() -> None:
    kernel = reference.kernel()
    assert {kernel(), kernel(), reference.kernel()()} == {kernel()}


def test_kernels_answer_is_that_of_plain_integers() -> None:
    size, count = reference.MATRIX, reference.MATRICES
    ramp = np.arange(count * size * size).reshape(count, size, size)
    products = np.einsum("bij,bjk->bik", ramp % 7 - 3, ramp % 5 - 2)
    steps = [(step % 251 - 125) * (step % 241 - 120) for step in range(reference.INTEGERS)]
    folded = 0
    for number in range(reference.MEMORY_BYTES // 4):
        folded ^= number
    expected = sum(steps) + folded + int(products[:, 0].sum())
    assert reference.kernel()() == expected


def test_matrices_are_too_small_for_threads() -> None:
    assert reference.MATRIX**3 < 131_072


def test_kernel_takes_one_thread() -> None:
    program = """
import time
from edgecell_runtime.bench import pinning, reference
kernel = reference.kernel()
time.sleep(0.3)  # numpy's BLAS starts its threads at import, and they look for work for a while
before = pinning.thread_times()
for _ in range(300):
    kernel()
print(pinning.threads_seen(before, pinning.thread_times()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) in {0, 1}  # 0 where the system does not say
