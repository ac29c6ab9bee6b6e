"""What describing cost, stage by stage.

The stages are open, read (cells from the file), encode (cells become gene tokens), embed, encoder,
projector, prefill, decode and text. The time that a caller takes between descriptions is in none.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.system.text_tables import table
from c2t.runtime.system.timing import StageClock


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What one stage cost."""

    name: str
    seconds: float
    calls: int


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a run cost.

    Args:
        stages: In the order of work.
        cells: Cells that got a text.
        tokens: Text tokens written.
        steps: Decoder runs, counted per cell; tokens per step is 1 without drafts.
        drafted: Tokens that drafts proposed.
        accepted: Proposed tokens that the model would have chosen too.
        first_token_seconds: From the beginning of the first cell to its first text token; None if
            there was none.
    """

    stages: tuple[Stage, ...]
    cells: int
    tokens: int
    steps: int
    drafted: int
    accepted: int
    first_token_seconds: float | None

    @property
    def tokens_per_step(self) -> float:
        """Mean text tokens of a decoder run."""
        return self.tokens / self.steps if self.steps else 0.0


ORDER = ("open", "read", "encode", "embed", "encoder", "projector", "prefill", "decode", "text")


def profile(clock: StageClock) -> Profile:
    """What a clock has recorded, in the order of work; stages without a place there come last."""
    names = [*(n for n in ORDER if n in clock.seconds), *sorted(clock.seconds.keys() - set(ORDER))]
    begin, first = clock.marks.get("begin"), clock.marks.get("first token")
    counted = clock.counts.get
    return Profile(
        stages=tuple(Stage(name=n, seconds=clock.seconds[n], calls=clock.calls[n]) for n in names),
        cells=counted("cells", 0),
        tokens=counted("tokens", 0),
        steps=counted("steps", 0),
        drafted=counted("drafted", 0),
        accepted=counted("accepted", 0),
        first_token_seconds=None if begin is None or first is None else first - begin,
    )


def profile_text(cost: Profile) -> str:
    """A profile as a table for people, without a newline at its end."""
    total = sum(stage.seconds for stage in cost.stages) or 1.0
    rows: list[tuple[str, ...]] = [
        (s.name, f"{s.seconds:.3f}", f"{s.seconds / total:.1%}", f"{s.calls:,}")
        for s in cost.stages
    ]
    lines = [table(("stage", "seconds", "share", "calls"), rows).rstrip()]
    if cost.cells:
        lines.append(
            f"{cost.tokens:,} tokens of {cost.cells:,} cells, {cost.tokens_per_step:.2f} a step"
        )
    if cost.first_token_seconds is not None:
        lines.append(f"first token after {cost.first_token_seconds:.3f} s")
    return "\n".join(lines)
