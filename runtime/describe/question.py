"""A question to a bundle, and what is refused before any cell is read.

One decision: a question is text and stays text. What looks like a special token in it is letters to
the model (`c2t.runtime.bundle.template`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.tasks import ASK
from c2t.runtime.bundle.template import THOUGHT, fill_template, template_fields
from c2t.runtime.system.errors import C2TError

QUESTION_LETTERS_MAX = 1 << 14
LABELS_MAX = 1024
LABEL_LETTERS_MAX = 300
# None within another: texts speak of their "<answer> tags".
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)(?:</answer>|$)", re.DOTALL)
THOUGHT_ENDS = "</think>"
_THOUGHT = re.compile(rf"{THOUGHT}(.*?)(?:{THOUGHT_ENDS}|$)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked.

    Args:
        text: Of the user.
        labels: What the answer may be chosen from, where the prompt lists them.
    """

    text: str
    labels: tuple[str, ...] = ()

    def check(self, bundle: Bundle) -> None:
        """Refuse what this bundle cannot be asked.

        Raises:
            BundleError: It cannot answer questions.
            C2TError: An empty or too long question, or labels that its prompt has no place for.
        """
        bundle.manifest.need_task(ASK)
        if not isinstance(self.text, str):
            problem = f"the question is {str(self.text)[:60]}, which is no text"
            raise C2TError(problem, hint='give a string: "What cell is this?"')
        if not self.text.strip():
            problem = "the question is empty"
            raise C2TError(problem, hint='give one: "What cell is this?"')
        if len(self.text) > QUESTION_LETTERS_MAX:
            problem = f"the question has {len(self.text):,} letters"
            raise C2TError(problem, hint=f"give one of at most {QUESTION_LETTERS_MAX:,}")
        fields = template_fields(bundle.manifest.template)
        if ("labels" in fields) != bool(self.labels):
            problem = "the bundle's prompt lists labels to choose from, and none are given"
            hint = "give them with --labels"
            if self.labels:
                problem = "labels are given, but the bundle's prompt does not list any"
                hint = "write them into the question"
            raise C2TError(problem, hint=hint)
        self._check_labels()
        same = dict.fromkeys(("genes", "cells", "count", "organism"), "")
        fill_template(bundle.manifest.template, bundle.text_encoder, self.values | same)

    @property
    def values(self) -> dict[str, str]:
        """What it fills into a template."""
        return {"question": self.text, "labels": "\n".join(self.labels)}

    def _check_labels(self) -> None:
        if len(self.labels) > LABELS_MAX:
            problem = f"there are {len(self.labels):,} labels"
            raise C2TError(problem, hint=f"give at most {LABELS_MAX:,}")
        for label in self.labels:
            if not label.strip() or "\n" in label or len(label) > LABEL_LETTERS_MAX:
                problem = f"the label {label[:40]!r} is empty, too long, or not one line"
                raise C2TError(problem, hint=f"give lines of at most {LABEL_LETTERS_MAX} letters")
        if len(set(self.labels)) < len(self.labels):
            problem = "a label is there twice"
            raise C2TError(problem, hint="give different labels")


def own_question(bundle: Bundle, text: str | None, labels: tuple[str, ...] = ()) -> Question:
    """A question, or where none is given the one that the bundle itself asks.

    Raises:
        BundleError: The bundle cannot answer questions.
        C2TError: None is given, and it has none of its own.
    """
    bundle.manifest.need_task(ASK)
    if text is None and not bundle.manifest.question:
        problem = "no question is given, and the bundle has none of its own"
        raise C2TError(problem, hint='give one: "What cell is this?"')
    return Question(text=bundle.manifest.question if text is None else text, labels=labels)


@dataclass(frozen=True, kw_only=True)
class TextParts:
    """What a text consists of.

    Args:
        thought: What the model thought before it answered; None: nothing.
        answer: Its answer; None where there is none.
    """

    thought: str | None
    answer: str | None


def text_parts(
    text: str, *, opened: bool = False, plain: bool = False, whole: bool = True
) -> TextParts:
    """Part a text into thought and answer.

    The answer is what stands in the last <answer>…</answer> outside of thoughts; a text that ends
    at its longest length may lack the closing tag.

    Args:
        text: What the model wrote.
        opened: Whether the prompt ends with <think>, so that the text begins within a thought.
        plain: Whether an answer without tags counts: what is no thought. Where a thought that the
            prompt has opened is never closed, that is the last line of a whole text (so writes
            CellReasoner: `s03.inference.ipynb` of its repository).
        whole: Whether the text ended of itself.
    """
    if opened:
        head, closed, rest = text.partition(THOUGHT_ENDS)
        if not closed and plain and whole:
            head, _, rest = text.rstrip().rpartition("\n")
        thoughts = [head]
    else:
        thoughts, rest = _THOUGHT.findall(text), text
    rest = _THOUGHT.sub("", rest)
    thought = "\n".join(said for one in thoughts if (said := one.strip()))
    found = _ANSWER.findall(rest)
    answer = str(found[-1]).strip() if found else None
    if answer is None and plain:
        answer = rest.strip() or None
    return TextParts(thought=thought or None, answer=answer)
