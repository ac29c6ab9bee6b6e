"""What a comparison of a graph's output with PyTorch's says, and the error that lists all failures.

One decision: differences are relative to 1 + |reference|, so that one tolerance serves values near
zero and large ones; it is a named constant per dtype.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from c2t.runtime.system.errors import ParityError

# float32 through up to 30 layers: sums in another order differ by about 1e-6 a layer.
FLOAT32_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ParityResult:
    """One output of one graph in one case, beside PyTorch's."""

    graph: str  # "encoder", ...
    output: str  # "hidden", "logits", "present_key.3", ...
    case: str  # "17 genes", "prefill of 320", ...
    shape: tuple[int, ...]
    expected_shape: tuple[int, ...]
    max_difference: float  # relative to 1 + |reference|; infinite if the output is not finite
    mean_difference: float
    index: tuple[int, ...]  # where the largest difference is
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the shapes agree and the largest difference is within the tolerance."""
        return self.shape == self.expected_shape and self.max_difference <= self.tolerance

    def __str__(self) -> str:
        place = f"{self.graph} {self.output}, {self.case}"
        if self.shape != self.expected_shape:
            return f"{place}: shape {self.shape}, expected {self.expected_shape}"
        return f"{place}: max {self.max_difference:.1e} at {self.index}"


def compare(
    output: np.ndarray,
    expected: np.ndarray,
    *,
    graph: str,
    name: str,
    case: str,
    tolerance: float = FLOAT32_TOLERANCE,
) -> ParityResult:
    """Compare an output with PyTorch's, both of any shape."""
    worst, mean = float("inf"), float("inf")
    index: tuple[int, ...] = ()
    if output.shape == expected.shape:
        difference = np.abs(output - expected) / (1 + np.abs(expected))
        # A NaN or an infinity on either side is the worst difference, not one to skip.
        difference[~np.isfinite(difference)] = np.inf
        worst, mean = float(difference.max(initial=0)), float(difference.mean())
        place = np.unravel_index(int(difference.argmax()), difference.shape)
        index = tuple(int(position) for position in place)
    return ParityResult(
        graph=graph,
        output=name,
        case=case,
        shape=tuple(output.shape),
        expected_shape=tuple(expected.shape),
        max_difference=worst,
        mean_difference=mean,
        index=index,
        tolerance=tolerance,
    )


def raise_failures(results: Sequence[ParityResult]) -> None:
    """Raise one error that lists every result outside its tolerance.

    Raises:
        ParityError: There is one.
    """
    failures = [result for result in results if not result.passed]
    if not failures:
        return
    tolerance = max(result.tolerance for result in failures)
    count = f"{len(failures)} of {len(results)} outputs"
    lines = [
        f"{count} differ from PyTorch (tolerance {tolerance:.0e})",
        *(f"- {failure}" for failure in failures),
    ]
    hint = "the graphs are wrong for this model; please report it with the model's config.json"
    raise ParityError("\n".join(lines), hint=hint)
