"""Questions of a file in CellVerse's form: what is asked, the options, and the right one.

Format (Zhang et al., "CellVerse", 2025, `data/*.json`): a list of `{"messages": [system, user,
assistant]}`. The user's text may have the lines "{gene_names}: A B" and "{cell_types}: 'a', 'b'.";
else the options stand in it as "'Final Answer: X'". The assistant's text is the right option.

One decision: a text of another form is refused, with its number. A benchmark without some of its
questions has another result.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import EvaluationError

FILE_BYTES_MAX = 256 << 20
QUESTIONS_MAX = 100_000
HINT = "give a file of CellVerse, or one of that form: see `c2t help ask`"
CELL_TYPE, DRUG, SIGNIFICANT, DIRECTION = (
    *("cell type annotation", "drug response"),
    *("perturbation: whether", "perturbation: direction"),
)
_GENES, _TYPES = "{gene_names}: ", "{cell_types}: "
_FINAL = re.compile(r"'Final Answer: ([^']+)'")
_NO_CHOICE = "Prediction"  # what stands for any option
# Of questions without genes: the task, by the options.
_TASKS: dict[tuple[str, ...], str]
_TASKS = {("Yes", "No"): SIGNIFICANT, ("Up", "Down"): DIRECTION}


class _Message(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    messages: list[_Message]


@dataclass(frozen=True, kw_only=True)
class PublishedQuestion:
    """One question.

    Args:
        task: What kind of question it is.
        instruction: The system message.
        message: The user message, as published.
        text: What it asks, without the line of genes; the options are in it.
        genes: Symbols, the highest expression first; empty where no cell is asked about.
        options: To choose from.
        right: The right one.
    """

    task: str
    instruction: str
    message: str
    text: str
    genes: tuple[str, ...]
    options: tuple[str, ...]
    right: str


def read_questions(path: Path) -> tuple[PublishedQuestion, ...]:
    """Read a file of questions.

    Raises:
        EvaluationError: It cannot be read, has none, or one of another form, which is named.
    """
    items = read_json(path, list[_Item], bytes_max=FILE_BYTES_MAX, error=EvaluationError, hint=HINT)
    if not 0 < len(items) <= QUESTIONS_MAX:
        problem = f"{path} has {len(items):,} questions"
        raise EvaluationError(problem, hint=HINT)
    return tuple(_question(item, f"question {n} of {path}") for n, item in enumerate(items))


def _question(item: _Item, where: str) -> PublishedQuestion:
    roles = [message.role for message in item.messages]
    if roles != ["system", "user", "assistant"]:
        problem = f"{where} has the messages {', '.join(roles) or 'none'}"
        raise EvaluationError(problem, hint=f"they must be system, user, assistant; {HINT}")
    system, user, assistant = (message.content for message in item.messages)
    lines = user.split("\n")
    genes = _line(lines, _GENES).split()
    options = _options(user, _line(lines, _TYPES))
    right = assistant.strip()
    if len(options) < 2 or len(set(options)) < len(options):
        problem = f"{where} has no options that are known to be such"
        raise EvaluationError(problem, hint=HINT)
    if right not in options:
        problem = f"{where}: its answer, {right[:60]!r}, is none of its {len(options)} options"
        raise EvaluationError(problem, hint=HINT)
    task = CELL_TYPE if _TYPES in user else DRUG
    if not genes:
        task = _TASKS.get(options, "")
    if not task or (task == DRUG and "drug" not in user):
        problem = f"{where} is of a kind that is not known"
        raise EvaluationError(problem, hint=HINT)
    text = "\n".join(line for line in lines if not line.startswith(_GENES))
    return PublishedQuestion(
        task=task,
        instruction=system,
        message=user,
        text=text,
        genes=tuple(gene.upper() for gene in genes),
        options=options,
        right=right,
    )


def _line(lines: list[str], begins: str) -> str:
    """The rest of the line with a beginning, without a full stop; "" if there is none."""
    found = [line.removeprefix(begins) for line in lines if line.startswith(begins)]
    return found[0].strip().removesuffix(".") if len(found) == 1 else ""


def _options(text: str, types: str) -> tuple[str, ...]:
    if types:
        inside = types.removeprefix("'").removesuffix("'")
        return tuple(inside.split("', '"))
    named = dict.fromkeys(_FINAL.findall(text))
    named.pop(_NO_CHOICE, None)
    return tuple(named)
