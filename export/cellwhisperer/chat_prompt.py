"""The prompt of CellWhisperer's chat, from a file: turns of text around a cell.

Two decisions. The wording is not in the model's files, so it is asked for and never guessed. And
text before and behind the cell is made into tokens apart, each as a text of its own, as LLaVA does
with what stands around an image; the tokens that the tokenizer adds come once, in front.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from c2t.export.cell2sentence.template import QUESTION_TOKENS, added_tokens, template_parts
from c2t.export.checkpoint.text.tokenizer import encode
from c2t.export.projectors.mlp2x import VECTORS
from c2t.runtime.bundle.manifest import TOKENIZER_NAME, Prompt
from c2t.runtime.bundle.template import (
    FixedIds,
    Template,
    TextPart,
    VectorPlace,
    fill_template,
    longest_prompt,
    template_fields,
)
from c2t.runtime.bundle.text_encoder import open_encoder
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import CheckpointError

CELLS = "<image>"
TEMPLATE_BYTES_MAX = 1 << 16
LEAST_QUESTION = 64  # text tokens that there must be room for
# {question}, or {question:what is asked where nobody asks}
_QUESTION = re.compile(r"\{question(?::([^{}]+))?\}")
_EXAMPLE = "Which cells are these?"
_HINT = (
    f"its text has {CELLS} once, for the cell, and {{question}} once, or "
    "{question:Describe the biological state of these cells} for a usual one"
)


@dataclass(frozen=True, kw_only=True)
class ChatPrompt:
    """What a bundle keeps of a prompt, and what it is checked with.

    Attributes:
        template: The prompt with a place for the cell vectors and one for a question.
        question: What is asked where nobody asks; "" if the template does not say.
        usual: The prompt with that question.
    """

    template: Template
    question: str
    usual: Prompt


def read_chat_prompt(
    path: str | None, tokenizer: PreTrainedTokenizerBase, tokenizer_json: str, *, room: int
) -> ChatPrompt:
    """Read a template's file.

    Args:
        path: The file, in UTF-8; its last newline is dropped.
        tokenizer: The chat's.
        tokenizer_json: What the bundle keeps of it.
        room: Most positions of the decoder that a prompt may take.

    Raises:
        CheckpointError: There is no such file; its places are not those that are needed; there is
            no room for a question; or c2t's own tokenizer makes other tokens than transformers'.
    """
    if path is None:
        problem = "the wording of the chat's prompt is not in its files"
        raise CheckpointError(problem, hint=f"pass --template FILE: {_HINT}")
    text = _read(Path(path))
    asked = _QUESTION.findall(text)
    plain = _QUESTION.sub("{question}", text)
    before, *behind = plain.split(CELLS)
    rest = plain.replace("{question}", "")
    if len(behind) != 1 or len(asked) != 1 or "{" in rest or "}" in rest:
        problem = f"{path} has {CELLS} {len(behind)} times, {{question}} {len(asked)} times"
        if len(behind) == len(asked) == 1:
            problem = f"{path} has a brace that is none of {{question}}'s"
        raise CheckpointError(problem, hint=_HINT)
    halves = [template_parts(half, tokenizer, longest=0) for half in (before, behind[0])]
    front, _ = added_tokens(tokenizer)
    halves[1] = _without(halves[1], front)
    template = _within((*halves[0], VectorPlace(), *halves[1]), tokenizer, room)
    for question in {asked[0], _EXAMPLE, "</s> [INST] <image>"}:
        _compare(template, (before, behind[0]), question, tokenizer, tokenizer_json)
    prefix, suffix = _filled(template, asked[0], tokenizer_json)
    usual = Prompt(
        prefix_ids=prefix,
        suffix_ids=suffix,
        placeholder_id=(*prefix, *suffix)[0],  # vectors lie over it
        system_message="",
        user_message=asked[0],
        date=None,
    )
    assert "question" in template_fields(template)
    return ChatPrompt(template=template, question=asked[0], usual=usual)


def _read(path: Path) -> str:
    if not path.is_file():
        problem = f"no such file: {path}"
        raise CheckpointError(problem, hint=f"--template is a file here: {_HINT}")
    content = read_bounded(path, bytes_max=TEMPLATE_BYTES_MAX, error=CheckpointError, hint=_HINT)
    try:
        return content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        problem = f"cannot read {path}: {error}"
        raise CheckpointError(problem, hint="give a text file in UTF-8") from error


def _without(half: Template, front: tuple[int, ...]) -> Template:
    """A half without the tokens that the tokenizer puts in front of every text."""
    if not front:
        return half
    first = half[0]
    assert isinstance(first, FixedIds)
    left = first.ids[len(front) :]
    return (FixedIds(ids=left), *half[1:]) if left else half[1:]


def _within(template: Template, tokenizer: PreTrainedTokenizerBase, room: int) -> Template:
    """A template whose question may be as long as is usual, or as the decoder has room for.

    Raises:
        CheckpointError: It has hardly any.
    """
    (asking,) = [part for part in template if isinstance(part, TextPart) and part.fields]
    own = len(encode(tokenizer, asking.fill({"question": ""})))
    others = longest_prompt(template, VECTORS) - asking.longest
    asked = min(QUESTION_TOKENS, room - others - own)
    if asked < LEAST_QUESTION:
        problem = f"the decoder has room for a prompt of {room} tokens; the template has "
        problem += f"{others + own} without a question"
        raise CheckpointError(problem, hint="pass a smaller --max-new-tokens, or shorten it")
    fitted = TextPart(text=asking.text, longest=own + asked)
    return tuple(fitted if part is asking else part for part in template)


def _filled(
    template: Template, question: str, tokenizer_json: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Text tokens before and behind the cell, made as they are when a bundle is asked."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / TOKENIZER_NAME
        path.write_text(tokenizer_json, encoding="utf-8", newline="")
        before, behind = fill_template(template, open_encoder(path), {"question": question})
    return before, behind


def _compare(
    template: Template,
    halves: tuple[str, str],
    question: str,
    tokenizer: PreTrainedTokenizerBase,
    tokenizer_json: str,
) -> None:
    """Refuse a tokenizer whose texts are other tokens in a bundle than in LLaVA.

    A question with the words of special tokens is letters here, so there it is compared only by
    how many of these tokens there are.
    """
    own = _filled(template, question, tokenizer_json)
    special = set(tokenizer.all_special_ids)
    front, _ = added_tokens(tokenizer)
    whole = [
        tuple(int(token) for token in tokenizer(half.replace("{question}", question))["input_ids"])
        for half in halves
    ]
    theirs = (whole[0], whole[1][len(front) :])
    if any(word in question for word in tokenizer.all_special_tokens):
        fixed = [t for part in template if isinstance(part, FixedIds) for t in part.ids]
        found = [t for half in own for t in half if t in special]
        same = found == [t for t in fixed if t in special]
    else:
        same = own == theirs
    if not same:
        problem = "c2t's own tokenizer makes other text tokens of the prompt than transformers'"
        raise CheckpointError(problem, hint="report it with the chat's tokenizer.json")
