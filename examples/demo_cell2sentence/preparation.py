"""Labelled files become cells, symbols, a tokenizer and the tokens of prompts.

One decision: training and evaluation both rebuild all but the tokenizer from the files, so that no
prepared data is kept.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer
from transformers import PreTrainedTokenizerFast

from c2t.examples.demo.captions import read_caption_table
from c2t.examples.demo.cells import LabelledSet, read_gene_symbols, read_labelled_sets
from c2t.examples.demo.sampling import CellPool, cell_tokens
from c2t.examples.demo_cell2sentence.model_parts import Sizes
from c2t.examples.demo_cell2sentence.sentences import (
    ANSWER,
    GENES,
    Phrasebook,
    build_pool,
    make_phrasebook,
    pool_symbols,
    prompt_text,
    symbols_of,
)
from c2t.examples.demo_cell2sentence.text_tokenizer import train_tokenizer

SENTENCES = 600  # of each set, which the tokenizer is trained on
ANSWERS = 50  # times that each answer stands among them


@dataclass(frozen=True, kw_only=True, eq=False)
class Preparation:
    """Cells, tokenizer and the tokens of all parts of prompts."""

    sets: list[LabelledSet]
    symbols: list[str]
    names: list[str]  # of cell types
    pool: CellPool
    tokenizer: PreTrainedTokenizerFast
    phrases: Phrasebook


def read_cells(
    cell_files: list[Path], gene_table: Path
) -> tuple[list[LabelledSet], list[str], list[str], CellPool]:
    """Labelled sets, symbols, names of cell types, and the pool of their cells.

    Files in which no cell type is recorded are refused: there is no answer to learn from them.
    """
    table = read_caption_table()
    for path in cell_files:
        if path.stem not in table.sets:
            problem = f"the demo's caption_table.json has no entry for {path.name}"
            raise typer.BadParameter(problem)
        if set(table.sets[path.stem]["labels"].values()) == {"cell"}:
            problem = f"{path.name}: no cell types are recorded there"
            raise typer.BadParameter(problem)
    # The table's order, so that the order of the arguments does not change the result.
    files = sorted(cell_files, key=lambda path: list(table.sets).index(path.stem))
    sets = read_labelled_sets(files, table, read_gene_symbols(gene_table))
    names = sorted({name for labelled in sets for name in labelled.cell_types})
    symbols = pool_symbols(sets)
    return sets, symbols, names, build_pool(sets, symbols, names)


def prepare(
    cell_files: list[Path], gene_table: Path, sizes: Sizes, report: Callable[[str], None]
) -> Preparation:
    """Read cells, and train the tokenizer on sentences of cells that are not held out."""
    sets, symbols, names, pool = read_cells(cell_files, gene_table)
    seen = np.flatnonzero(~pool.held_out)
    report(f"{len(pool.held_out):,} labelled cells, {len(symbols):,} symbols")
    # Small sets would have few tokens of their own: every set gives as many sentences.
    rng = np.random.default_rng(0)
    texts = [ANSWER.format(cell_type=name) for name in names] * ANSWERS
    for index in range(len(sets)):
        of_set = seen[pool.set_of[seen] == index]
        for cell in rng.choice(of_set, SENTENCES, replace=len(of_set) < SENTENCES):
            texts.append(prompt_text(symbols_of(symbols, cell_tokens(pool, cell, longest=GENES))))
    tokenizer = train_tokenizer(texts, vocabulary_size=sizes.vocabulary, positions=sizes.positions)
    phrases = make_phrasebook(tokenizer, symbols, names)
    lengths = [len(phrases.prompt(cell_tokens(pool, c, longest=GENES))) for c in seen[::7]]
    report(
        f"{len(tokenizer):,} text tokens; a prompt has {np.mean(lengths):.0f}, at most "
        f"{max(lengths)}, of which {len(phrases.before) + len(phrases.after)} are its words"
    )
    return Preparation(
        sets=sets, symbols=symbols, names=names, pool=pool, tokenizer=tokenizer, phrases=phrases
    )


def cell_type_of(text: str) -> str:
    """What an answer names: its words without the space before and the full stop behind."""
    return text.strip().removesuffix(".")
