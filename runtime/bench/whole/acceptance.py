"""How drafts fare: at every place of a text, how many tokens are drafted and how many are right.

One decision: random weights write nothing that a phrase table knows. So what drafts save is taken
from texts of the demo model, recorded by `benchmarks/acceptance.py`, or stated: none, or all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from c2t.runtime.generation.drafts import LONGEST
from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import C2TError

RECORDED = Path(__file__).parent / "demo_acceptance.json"
RECORDED_BYTES_MAX = 1 << 20
NONE, DEMO, ALL = "0", "demo", "all"
ACCEPTANCES = (NONE, DEMO, ALL)


class RecordedText(msgspec.Struct, frozen=True):
    """Drafts along one text of N tokens, the EOS token included.

    Args:
        drafted: [N] tokens that are drafted behind the first p tokens, p = 0 ... N - 1.
        right: [N] how many of them are right, up to the first wrong one.
    """

    drafted: list[int]
    right: list[int]

    def __post_init__(self) -> None:
        if len(self.drafted) != len(self.right) or not self.drafted:
            message = "a text has as many drafts as tokens"
            raise ValueError(message)
        left = len(self.right)
        for place, (drafted, right) in enumerate(zip(self.drafted, self.right, strict=True)):
            if not 0 <= right <= min(drafted, LONGEST) or right > left - place:
                message = f"draft {place} has {drafted} tokens, of which {right} are right"
                raise ValueError(message)


class Recording(msgspec.Struct, frozen=True):
    """Texts with their drafts.

    Args:
        what: Whose texts these are.
        command: What recorded them.
        texts: Of some cells.
    """

    what: str
    command: str
    texts: list[RecordedText]


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What is assumed of drafts.

    Args:
        name: One of `ACCEPTANCES`.
        texts: Texts in turn.
        drafts: Whether anything is drafted.
    """

    name: str
    texts: Sequence[RecordedText]

    @property
    def drafts(self) -> bool:
        """Whether anything is drafted."""
        return any(any(text.drafted) for text in self.texts)


def load_acceptance(name: str) -> Acceptance:
    """What is assumed of drafts, with texts as long as those of the demo.

    Raises:
        C2TError: There is no such assumption.
    """
    recorded = read_json(
        RECORDED,
        Recording,
        bytes_max=RECORDED_BYTES_MAX,
        error=C2TError,
        hint="install c2t again",
    ).texts
    if name == NONE:
        nothing = [[0] * len(text.drafted) for text in recorded]
        texts = [RecordedText(drafted=zeros, right=zeros) for zeros in nothing]
    elif name == ALL:
        whole = [_all_right(len(text.drafted)) for text in recorded]
        texts = [RecordedText(drafted=right, right=right) for right in whole]
    elif name == DEMO:
        texts = recorded
    else:
        problem = f"no acceptance is called {name!r}"
        raise C2TError(problem, hint=f"there are {', '.join(ACCEPTANCES)}")
    return Acceptance(name=name, texts=texts)


def _all_right(tokens: int) -> list[int]:
    return [min(LONGEST, tokens - place) for place in range(tokens)]
