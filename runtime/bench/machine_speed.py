"""The machine's speed while the benchmark runs: reading memory, and multiplying matrices.

A token cannot be written faster than the weights are read, nor a prompt run faster than its matrix
products are computed. Results are given as shares of these two speeds.
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
    """Measures the machine, in turns with contestants.

    Args:
        threads: Threads to use; None: all cores of this process.
        read_bytes: Bytes of one `read`.
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
        """Read a large array on all threads; NumPy releases the interpreter lock.

        A scalar product reads faster than NumPy's other functions: 46 GB/s where a maximum reads
        40.
        """
        list(self._pool.map(_square, self._pieces))

    def multiply(self) -> None:
        """One float32 matrix product, by the library that NumPy uses, on all cores.

        Faster libraries exist: a share of its rate can be above one.
        """
        np.matmul(self._left, self._right, out=self._product)

    def bytes_per_second(self, seconds: float) -> float:
        """Bandwidth of a `read` that took `seconds`."""
        return self._large.nbytes / seconds

    def flops_per_second(self, seconds: float) -> float:
        """Rate of a `multiply` that took `seconds`."""
        return 2.0 * GEMM_ROWS * GEMM_INNER * GEMM_COLUMNS / seconds

    def measure(self, rounds: int = 5) -> dict[str, float]:
        """Medians of both speeds."""
        reads = [seconds_of(self.read) for _ in range(rounds)]
        products = [seconds_of(self.multiply) for _ in range(rounds)]
        return {
            "read_bytes_per_second": self.bytes_per_second(float(np.median(reads))),
            "gemm_flops_per_second": self.flops_per_second(float(np.median(products))),
        }


def _square(piece: NDArray[np.float32]) -> float:
    return float(np.dot(piece, piece))
