"""The phrase table of a bundle, from a text file of training captions or definitions.

One decision: a line that names a cell type in the caption's own pattern is a whole caption, any
other line is a stretch from the middle of one; so captions and definitions go through one option.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer

from c2t.runtime.fields.caption import sentences
from c2t.runtime.fields.paper import CELL_TYPE, PAPER_RULES
from c2t.runtime.generation.phrase_table import PHRASES_NAME, PhraseTable, build_phrase_table
from c2t.runtime.system.errors import CheckpointError


def read_phrases(path: Path) -> list[str]:
    """The lines of a UTF-8 file, without empty ones.

    Raises:
        CheckpointError: It cannot be read, or has no line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"the phrases {path} cannot be read: {error}"
        raise CheckpointError(problem, hint="give a UTF-8 text file, a caption a line") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        problem = f"the phrases {path} are empty"
        raise CheckpointError(problem, hint="give a UTF-8 text file, a caption a line")
    return lines


def phrase_table(lines: Iterable[str], tokenizer: Tokenizer, end_token: int | None) -> PhraseTable:
    """Build the table of captions and definitions.

    Args:
        lines: Captions and stretches of captions.
        tokenizer: The bundle's text tokenizer.
        end_token: What the model writes after a caption, None if unknown.
    """
    captions: list[list[int]] = []
    fragments: list[list[int]] = []
    end = [] if end_token is None else [end_token]
    for line in lines:
        if _names_cell_type(line):
            captions.append(tokenizer.encode(line, add_special_tokens=False).ids + end)
        else:  # in a caption, a space stands before it
            fragments.append(tokenizer.encode(f" {line}", add_special_tokens=False).ids)
    return build_phrase_table(captions, fragments)


def write_answers(source: Path, folder: Path, tokenizer: Tokenizer, end_token: int | None) -> None:
    """Write `phrases.npz` for a model that answers a prompt: each line is a whole answer.

    A model is trained on the prompt, a space and the answer, so a space begins the text.

    Raises:
        CheckpointError: The file cannot be read, or has no line.
    """
    end = [] if end_token is None else [end_token]
    answers = [
        tokenizer.encode(f" {line.removesuffix('.')}.", add_special_tokens=False).ids + end
        for line in read_phrases(source)
    ]
    build_phrase_table(answers, []).save(folder / PHRASES_NAME)


def _names_cell_type(line: str) -> bool:
    """Whether it has the sentence that says the cell type, whatever that is."""
    number = PAPER_RULES.sentences.index(CELL_TYPE)
    return any(which == number for which, _, _ in sentences(line, PAPER_RULES))


def write_phrases(source: Path, folder: Path, tokenizer: Tokenizer, end_token: int | None) -> None:
    """Write `phrases.npz` into a bundle's folder, from a text file of captions.

    Raises:
        CheckpointError: The file cannot be read, or has no line.
    """
    phrase_table(read_phrases(source), tokenizer, end_token).save(folder / PHRASES_NAME)
