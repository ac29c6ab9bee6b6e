"""Prompts that are texts: fixed tokens, places of cell vectors, and texts with named fields.

One decision: what lies between two fixed tokens is one text, which is made into tokens as a whole.
Byte-pair encoding joins letters across any seam, so a text in pieces would have other tokens than
the one that the model was trained on. Fields are filled from outside, and their texts never become
special tokens: only fixed ids are special.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import msgspec

from c2t.runtime.bundle.text_encoder import TextEncoder
from c2t.runtime.system.errors import C2TError

# What a text can have filled in. genes: the gene sentence. count: how many genes it has. organism:
# of the cell. question: of the user. cells: the gene sentences of several cells, a line each.
# labels: those that a question lets choose from, a line each. instruction: of a chat's system turn.
FIELDS = ("genes", "count", "organism", "question", "cells", "labels", "instruction")
# In all texts of a template together: each time that a field stands there its value is copied.
FIELDS_MAX = 16
# A line of the field {cells}, as in CellPuzzles (Cell-o1; Fang et al., 2025, arXiv 2506.02911).
CELL_LINE = "Cell {number}: {genes}"
_FIELD = re.compile(r"\{([a-z_]+)\}", re.ASCII)
THOUGHT = "<think>"  # how a thought begins


class FixedIds(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="ids",
):
    """Text tokens that are the same in every prompt, special ones among them."""

    ids: tuple[int, ...]


class TextPart(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="text",
):
    """A text with fields, such as "of a {organism} cell: {genes}."."""

    text: str
    longest: int  # most text tokens; a cell that needs more gets an error

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of its fields."""
        return tuple(_FIELD.findall(self.text))

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with its fields filled; what is filled in is not looked at again.

        Raises:
            KeyError: A field has no value.
        """
        return _FIELD.sub(lambda match: values[match[1]], self.text)


class VectorPlace(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="kind",
    tag="vectors",
):
    """Where the cell vectors stand."""


TemplatePart = FixedIds | TextPart | VectorPlace
Template = tuple[TemplatePart, ...]


def cell_lines(cells: Sequence[Sequence[str]], separator: str) -> str:
    """What several cells fill into the field {cells}.

    Args:
        cells: The genes of each, the highest first.
        separator: Between two genes.
    """
    return "\n".join(
        CELL_LINE.format(number=number, genes=separator.join(genes))
        for number, genes in enumerate(cells, 1)
    )


def longest_prompt(template: Template, vectors: int) -> int:
    """Most text tokens of a template, with so many cell vectors at each place of them."""
    total = 0
    for part in template:
        if isinstance(part, FixedIds):
            total += len(part.ids)
        else:
            total += part.longest if isinstance(part, TextPart) else vectors
    return total


def template_fields(template: Template) -> frozenset[str]:
    """Names of all fields of its texts."""
    return frozenset(name for part in _texts(template) for name in part.fields)


def opens_thought(template: Template) -> bool:
    """Whether prompts end with the beginning of a thought, so that the text begins within it."""
    last = template[-1] if template else None
    return isinstance(last, TextPart) and last.text.rstrip().endswith(THOUGHT)


def fill_template(
    template: Template, encoder: TextEncoder, values: Mapping[str, str]
) -> list[tuple[int, ...]]:
    """Text tokens of a template, parted at each place of cell vectors.

    Args:
        template: Of the manifest.
        encoder: Makes text tokens of texts, never special ones.
        values: What its fields say.

    Raises:
        C2TError: A text that cannot be made into tokens, or has more than its part may.
        KeyError: A field has no value.
    """
    spans: list[list[int]] = [[]]
    for part in template:
        if isinstance(part, FixedIds):
            spans[-1] += part.ids
        elif isinstance(part, TextPart):
            tokens = encoder.encode_letters(part.fill(values))
            if len(tokens) > part.longest:
                problem = f"the prompt's text has {len(tokens):,} tokens, not {part.longest:,}"
                raise C2TError(problem, hint="give a shorter text")
            spans[-1] += tokens
        else:
            spans.append([])
    return [tuple(span) for span in spans]


def template_problems(template: Template) -> Iterator[str]:
    """What cannot be right about a template, whatever the bundle."""
    texts = list(_texts(template))
    for part in texts:
        if strangers := sorted(set(part.fields) - set(FIELDS)):
            yield f"template: no field is called {strangers[0]!r}"
    count = sum(len(part.fields) for part in texts)
    if count > FIELDS_MAX:
        yield f"template has {count:,} fields; {FIELDS_MAX} are taken"
    if any(isinstance(a, TextPart) and isinstance(b, TextPart) for a, b in pairwise(template)):
        yield "template: two texts stand side by side"


def _texts(template: Template) -> Iterator[TextPart]:
    return (part for part in template if isinstance(part, TextPart))
