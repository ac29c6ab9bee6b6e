"""Bundles with more and more linears left out of quantisation, until one passes the gate.

One decision: the most sensitive linears are left out first. Their number is doubled until a bundle
passes, then the gap to the last failure is halved, because each try describes all held-out cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from c2t.calibration.evaluate.quality_gate import GateResult, QualityGate
from c2t.calibration.evaluate.vector_gate import VectorGate
from c2t.calibration.quantise.float_prefix import FloatPrefix
from c2t.calibration.quantise.quantised_bundle import write_quantised_bundle
from c2t.calibration.quantise.recipe import GraphRecipe
from c2t.calibration.results.calibration import Attempt, Sensitivity
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.system.errors import CalibrationError

# Share of the linears that may stay float32; with more, a bundle does not count as quantised.
MOST_LEFT_OUT = 0.5


class Trials:
    """Writes bundles to a folder, one after another, and judges each.

    Args:
        source: The float32 bundle.
        gate: What judges.
        recipes: By graph file, every linear quantised.
        ranked: All linears, the most sensitive first.
        folder: An empty folder.
        precision: Of the bundles.
        prefix: What all prompts begin with, where that stays float32.
        report: Called with a sentence about each step.

    Attributes:
        attempts: The tries so far, in their order.
    """

    def __init__(
        self,
        source: Bundle,
        gate: QualityGate | VectorGate,
        recipes: Mapping[str, GraphRecipe],
        ranked: Sequence[Sensitivity],
        *,
        folder: Path,
        precision: Precision,
        prefix: FloatPrefix | None,
        report: Callable[[str], None],
    ) -> None:
        self.attempts: list[Attempt] = []
        self._source = source
        self._gate = gate
        self._recipes = recipes
        self._ranked = ranked
        self._folder = folder
        self._precision = precision
        self._prefix = prefix
        self._report = report
        self._results: dict[int, GateResult] = {}
        self._written: int | None = None

    def run(self, *, force: bool) -> int:
        """Find how many linears to leave out; as few as pass the gate.

        Args:
            force: If no bundle passes, take the one with the highest agreement or cosine.

        Raises:
            CalibrationError: No bundle passes.
        """
        left_out = fewest(int(MOST_LEFT_OUT * len(self._ranked)), self._passes)
        if left_out is not None:
            return left_out
        best = max(self.attempts, key=lambda a: a.token_agreement or a.cosine or 0.0).left_out
        if not force:
            failures = "; ".join(self._results[best].failures)
            problem = f"the bundle does not pass the gate: {failures}"
            hint = "calibrate on more cells like these, allow more, or pass --force-gate; see "
            hint += "`c2t help problems`"
            raise CalibrationError(problem, hint=hint)
        return best

    def result(self, left_out: int) -> GateResult:
        """What the gate found with `left_out` linears in float32."""
        return self._results[left_out]

    def bundle(self, left_out: int) -> Bundle:
        """The bundle with `left_out` linears in float32, in the folder."""
        if self._written != left_out:
            return self._write(left_out)
        return open_bundle(self._folder, verify=False)

    def recipes(self, left_out: int) -> dict[str, GraphRecipe]:
        """Recipes by graph file with the most sensitive `left_out` linears in float32."""
        items = self._ranked[:left_out]
        return {
            name: recipe.without({item.linear for item in items if item.graph == name})
            for name, recipe in self._recipes.items()
        }

    def _passes(self, left_out: int) -> bool:
        self._report(
            f"judging with {left_out} linear layers in float32"
            if left_out
            else "judging on held-out cells"
        )
        result = self._gate.judge(self._write(left_out))
        self._results[left_out] = result
        self.attempts.append(_attempt(left_out, result))
        self._report("passed" if not result.failures else "; ".join(result.failures))
        return not result.failures

    def _write(self, left_out: int) -> Bundle:
        for path in self._folder.iterdir():
            path.unlink()
        self._written = left_out
        recipes = self.recipes(left_out)
        return write_quantised_bundle(
            self._source,
            self._folder,
            recipes,
            precision=self._precision,
            prefix=self._prefix,
        )


def fewest(most: int, passes: Callable[[int], bool]) -> int | None:
    """The smallest number that passes, if every larger number passes too.

    Args:
        most: The largest number to try.
        passes: Tries a number; called at most once for each.

    Returns:
        None if `most` does not pass.
    """
    failed, number = -1, 0
    while not passes(number):
        if number >= most:
            return None
        failed = number
        number = min(most, max(1, 2 * number))
    while number - failed > 1:
        middle = (number + failed) // 2
        if passes(middle):
            number = middle
        else:
            failed = middle
    return number


def _attempt(left_out: int, result: GateResult) -> Attempt:
    evaluation, comparison, vectors = result.evaluation, result.comparison, result.vectors
    agreement = None if comparison is None else comparison.token_agreement
    accuracy = None
    if evaluation is not None:
        accuracy = evaluation.judged.fields["cell_type"].accuracy.value
    return Attempt(
        left_out=left_out,
        token_agreement=None if agreement is None else agreement.value,
        accuracy=accuracy,
        failures=result.failures,
        cosine=None if vectors is None else vectors.cosine.value,
    )
