"""How evidence is looked for, and how the runs of a cell are spent.

One decision: a cell has a budget of runs (an encoder run and a score of the words each), and what
it buys is fixed before the first run. So the time is known, and no cell depends on another.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.system.errors import C2TError

RUNS_MIN = 48
RUNS_MAX = 1 << 20
TOGETHER = 10  # genes that are left out together at the end
DRAWS = 5  # sets of as many random genes, against which they are held
# Of the runs that controls leave: those for single genes. Of the others: those for whole blocks.
# Tried on 24 cells of the demonstration against full leave-one-out: 0.3 to 0.5, 0.6 to 0.95.
CHOSEN_SHARE = 0.5
BLOCK_SHARE = 0.8


@dataclass(frozen=True, kw_only=True)
class ExplainOptions:
    """How evidence is looked for.

    Args:
        field: The field of the text whose words are explained.
        label: Another name than the written one, whose evidence is wanted; None: the written one.
        runs: Most runs of a cell. One with fewer genes than that has every gene left out.
        seed: Of the random genes of the controls.

    Raises:
        C2TError: A number that is too small or too large.
    """

    field: str = "cell_type"
    label: str | None = None
    runs: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not RUNS_MIN <= self.runs <= RUNS_MAX:
            problem = f"runs is {self.runs:,}"
            raise C2TError(problem, hint=f"give a number from {RUNS_MIN} to {RUNS_MAX:,}")
        if not 0 <= self.seed < 1 << 63:
            problem = f"seed is {self.seed}"
            raise C2TError(problem, hint="give a whole number of at least 0")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the runs of one cell are spent on, besides the cell as it is and the check at the end.

    Args:
        controls: Random genes that are left out one by one, evenly spread over the ranks.
        block: Neighbouring ranks that are blanked together first.
        splits: Groups that are divided afterwards; a run each.
        chosen: Genes that are left out one by one because a blanked group moved the words.
    """

    controls: int
    block: int
    splits: int
    chosen: int

    @property
    def complete(self) -> bool:
        """Whether every gene is left out by itself."""
        return self.block == 0


def make_plan(genes: int, runs: int) -> Plan:
    """Divide a budget: an eighth for controls, half of the rest for single genes.

    Args:
        genes: Genes that the encoder sees.
        runs: Most runs of the cell.
    """
    left = runs - 2 - DRAWS
    if genes <= left:
        return Plan(controls=genes, block=0, splits=0, chosen=0)
    controls = left // 8
    chosen = int((left - controls) * CHOSEN_SHARE)
    screen = left - controls - chosen
    block = 2
    while -(-genes // block) > screen * BLOCK_SHARE:
        block *= 2
    return Plan(controls=controls, block=block, splits=screen - -(-genes // block), chosen=chosen)
