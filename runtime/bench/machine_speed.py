"""What the machine can do while the benchmark runs: reading memory, and multiplying matrices.

A token cannot be written faster than the weights are read, and a prompt not faster than its
products are computed: results are given as shares of these two.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.native import core_count
from c2t.runtime.bench.interleave import seconds_of

READ_BYTES = 512 << 20  # larger than any cache
PIECES = 8  # of each thread's share, so that one slow core does not decide
GEMM_ROWS, GEMM_INNER, GEMM_COLUMNS = 320, 2048, 8192  # a prompt through a 1B decoder's layer


class SpeedProbe:
    """Measures the machine whenever asked, so that it can take turns with contestants.

    Args:
        threads: Threads to use; None: all cores of this process.
        read_bytes: Bytes read in one go.
    """

    def __init__(self, threads: int | None = None, *, read_bytes: int = READ_BYTES) -> None:
        self.threads = threads or core_count()
        self._large = np.ones(read_bytes // 4, dtype=np.float32)
        self._pieces = np.array_split(self._large, self.threads * PIECES)
        self._pool = ThreadPoolExecutor(self.threads)
        draw = np.random.default_rng(0)
        self._left = draw.standard_normal((GEMM_ROWS, GEMM_INNER), dtype=np.float32)
        self._right = draw.standard_normal((GEMM_INNER, GEMM_COLUMNS), dtype=np.float32)
        self._product = np.empty((GEMM_ROWS, GEMM_COLUMNS), dtype=np.float32)
        self.read()
        self.multiply()

    def read(self) -> None:
        """Read all of a large array on all threads; NumPy releases the interpreter lock.

        A scalar product reads fastest of what NumPy has: 46 GB/s where a maximum reads 40.
        """
        list(self._pool.map(_square, self._pieces))

    def multiply(self) -> None:
        """One float32 matrix product, by the library that NumPy uses, on all cores.

        That library is not the fastest there is: a share of its rate can be more than one.
        """
        np.matmul(self._left, self._right, out=self._product)

    def bytes_per_second(self, seconds: float) -> float:
        """Bandwidth of a `read` that took so long."""
        return self._large.nbytes / seconds

    def flops_per_second(self, seconds: float) -> float:
        """Rate of a `multiply` that took so long."""
        return 2.0 * GEMM_ROWS * GEMM_INNER * GEMM_COLUMNS / seconds

    def measure(self, rounds: int = 5) -> dict[str, float]:
        """Bandwidth and rate, medians."""
        reads = [seconds_of(self.read) for _ in range(rounds)]
        products = [seconds_of(self.multiply) for _ in range(rounds)]
        return {
            "read_bytes_per_second": self.bytes_per_second(float(np.median(reads))),
            "gemm_flops_per_second": self.flops_per_second(float(np.median(products))),
        }


def _square(piece: NDArray[np.float32]) -> float:
    return float(np.dot(piece, piece))
