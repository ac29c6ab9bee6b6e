"""A prompt's template: found by name or in a file, and cut into what a bundle keeps of it.

One decision: special tokens are looked for here, once. They become fixed ids; whatever a cell or a
user fills in later is text, and never a special token.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter

from transformers import PreTrainedTokenizerBase

from c2t.export.cell2sentence.published import SentenceFamily, Turns
from c2t.export.checkpoint.text.tokenizer import encode
from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.template import (
    FixedIds,
    Template,
    TemplatePart,
    TextPart,
    cell_lines,
)
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import CheckpointError

TEMPLATE_BYTES_MAX = 1 << 16
GENES, CELLS, INSTRUCTION = "genes", "cells", "instruction"
# Fields by the names that the published prompts and this package have. `num_genes` is no field of
# a bundle: the published code writes the number that was asked for, however many a cell has.
FIELDS = {
    "cell_sentence": GENES,
    GENES: GENES,
    "organism": "organism",
    "count": "count",
    CELLS: CELLS,
    "question": "question",
    "labels": "labels",
    INSTRUCTION: INSTRUCTION,
}
# Text tokens that a text without genes has room for: a question, labels.
QUESTION_TOKENS = 512
ASKED = "num_genes"
# How models write special tokens: <|eot_id|>, DeepSeek's <｜User｜>, <s>, <bos>, <start_of_turn>,
# [CLS]. As letters they would be another prompt. Llama 2's [INST] is none: it is letters there.
_SPECIAL = re.compile(
    r"<\|[^\s<>|]+\|>|<\uff5c[^<>\uff5c]+\uff5c>|</?s>|<(?:bos|eos|pad|unk|mask|sep|cls|im_start|im_end)>"
    r"|<(?:start|end)_of_(?:turn|text|image)>|<extra_id_\d+>|\[(?:CLS|SEP|PAD|UNK|MASK|BOS|EOS)\]"
)
_HINT = (
    "a template is a text with {cell_sentence} or {cells} in it, and {num_genes}, {organism}, "
    "{count}, {question} or {labels} where they are needed"
)


def read_template(wanted: str | None, family: SentenceFamily) -> tuple[str, str | Turns]:
    """A template's text, or messages of a chat.

    Args:
        wanted: A name, or a file in UTF-8 (its last newline is dropped); None: the usual one.
        family: Whose names they are.

    Returns:
        What it is, in words, and its text with fields as `FIELDS` and `ASKED` name them.

    Raises:
        CheckpointError: There is no such template, or the file cannot be read.
    """
    name = family.usual_template if wanted is None else wanted
    if name in family.templates:
        return f"the published prompt {name!r}", family.templates[name]
    path = Path(name)
    if not path.is_file():
        problem = f"there is no template {name!r}, as a name or file"
        hint = f"the names are: {', '.join(family.templates)}; or give a text file"
        if name in family.other_tasks:
            problem = f"the template {name!r} is none for one cell: {family.other_tasks[name]}"
        raise CheckpointError(problem, hint=hint)
    content = read_bounded(path, bytes_max=TEMPLATE_BYTES_MAX, error=CheckpointError, hint=_HINT)
    try:
        return f"the prompt of {path.name}", content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        problem = f"cannot read {path}: {error}"
        raise CheckpointError(problem, hint="give a text file in UTF-8") from error


def with_bundle_fields(template: str, top_genes: int, *, cells: int = 1) -> str:
    """A template whose fields have the names of a bundle; the asked number of genes is filled in.

    Args:
        template: Of `read_template`.
        top_genes: Most genes of a sentence.
        cells: How often it must have the genes: once, or never in a chat about no cell.

    Raises:
        CheckpointError: Braces that are no field, an unknown field, or none for the genes.
    """
    parts, genes = [], 0
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        problem = f"the template cannot be read: {error}"
        raise CheckpointError(problem, hint=_HINT) from error
    for literal, field, form, conversion in pieces:
        if "{" in literal or "}" in literal:
            problem = "the template has a brace that begins or ends no field"
            raise CheckpointError(problem, hint=_HINT)
        parts.append(literal)
        if field is None:
            continue
        if form or conversion or field not in (*FIELDS, ASKED) or (cells and field == INSTRUCTION):
            problem = f"the template has a field {field!r}, which nothing is filled into"
            raise CheckpointError(problem, hint=_HINT)
        genes += FIELDS.get(field) in (GENES, CELLS)
        parts.append(str(top_genes) if field == ASKED else f"{{{FIELDS[field]}}}")
    if genes != cells:
        problem = f"the template has the genes of the cell {genes} times"
        raise CheckpointError(problem, hint=_HINT)
    return "".join(parts)


def template_parts(template: str, tokenizer: PreTrainedTokenizerBase, *, longest: int) -> Template:
    """What a bundle keeps of a template.

    The tokens around it are those that the tokenizer adds to any text, such as Gemma's <bos>.

    Args:
        template: Of `with_bundle_fields`.
        tokenizer: The model's.
        longest: Most text tokens of the part with the genes. Others have room for a question, or
            as many as they have without fields.

    Raises:
        CheckpointError: It begins with a token that the tokenizer adds already, or has one of
            another tokenizer.
    """
    before, after = added_tokens(tokenizer)
    parts: list[TemplatePart] = [FixedIds(ids=before)] if before else []
    for text, ids in _pieces(template, tokenizer):
        if not ids and (stranger := _stranger(text, tokenizer)):
            problem = f"the template has {stranger!r}, which the tokenizer does not know"
            raise CheckpointError(problem, hint="write the special tokens of this model")
        if ids and parts == [FixedIds(ids=ids)] and before:
            problem = f"the template begins with {text!r}, which the tokenizer adds to every text"
            raise CheckpointError(problem, hint="leave it out of the template")
        if ids and parts and isinstance(parts[-1], FixedIds):
            parts[-1] = FixedIds(ids=(*parts[-1].ids, *ids))
        else:
            parts.append(FixedIds(ids=ids) if ids else _text_part(text, tokenizer, longest))
    if after and parts and isinstance(parts[-1], FixedIds):
        parts[-1] = FixedIds(ids=(*parts[-1].ids, *after))
    elif after:
        parts.append(FixedIds(ids=after))
    return tuple(parts)


def _stranger(text: str, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A special token of other models in a text; None: there is none.

    Tokens of their own that are not special, such as Qwen's <think>, are no strangers.
    """
    own = {token.content for token in tokenizer.added_tokens_decoder.values()}
    found = (match[0] for match in _SPECIAL.finditer(text))
    return next((marker for marker in found if marker not in own), None)


def _text_part(text: str, tokenizer: PreTrainedTokenizerBase, longest: int) -> TextPart:
    fields = TextPart(text=text, longest=1).fields
    if not fields:
        longest = len(encode(tokenizer, text))
    elif GENES not in fields and CELLS not in fields:
        longest = QUESTION_TOKENS
    return TextPart(text=text, longest=longest)


def added_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The text tokens that a tokenizer puts before and behind every text."""
    plain = encode(tokenizer, "a")
    whole = [int(token) for token in tokenizer("a")["input_ids"]]
    places = [n for n in range(len(whole)) if whole[n : n + len(plain)] == plain]
    if not places:
        problem = "the tokenizer changes a text when it adds its special tokens to it"
        raise CheckpointError(problem, hint="save it again with transformers 4.57")
    return tuple(whole[: places[0]]), tuple(whole[places[0] + len(plain) :])


def _pieces(
    template: str, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Texts without an id, and special tokens with theirs, in their order."""
    special = {
        token.content: number
        for number, token in tokenizer.added_tokens_decoder.items()
        if token.special and token.content
    }
    if not special:
        yield template, ()
        return
    longest_first = sorted(special, key=len, reverse=True)
    for piece in re.split(f"({'|'.join(map(re.escape, longest_first))})", template):
        if piece:
            yield piece, (special[piece],) if piece in special else ()


# What a prompt asks when an export is checked.
EXAMPLE = {"question": "Which type of cell is this?", "labels": "B cell\nT cell"}


def example_values(
    sentence: GeneSentence, genes: Sequence[str], organism: str | None = None, question: str = ""
) -> dict[str, str]:
    """What a cell with these genes fills into any template.

    Args:
        sentence: How a cell becomes genes.
        genes: Symbols.
        organism: What is said of it; None: of the first species.
        question: The usual one, if there is one.
    """
    first = next(iter(sentence.organisms.values()))
    return {
        GENES: sentence.separator.join(genes),
        CELLS: cell_lines([genes], sentence.separator),
        "count": str(len(genes)),
        "organism": first if organism is None else organism,
        **example_question(question),
    }


def example_question(usual: str) -> dict[str, str]:
    """What is asked when an export is checked."""
    return EXAMPLE | ({"question": usual} if usual else {})


def rendered(
    template: Template, tokenizer: PreTrainedTokenizerBase, values: Mapping[str, str]
) -> list[int]:
    """The text tokens of a template whose fields are filled, by transformers' tokenizer."""
    ids: list[int] = []
    for part in template:
        if isinstance(part, FixedIds):
            ids += part.ids
        elif isinstance(part, TextPart):
            ids += encode(tokenizer, part.fill(values))
    return ids
