"""Labelled cells as prompts: which symbols, in which order, in which words, and the answer.

The order is that of the published preprocessing (cell2sentence 1.2.0, `generate_sentences`): by
count, descending. There the order of equal counts is random; here it is that of the symbols.

One decision: the genes of the pool are upper-case symbols in byte order, so that the first demo's
sampling of ranked genes (`c2t.examples.demo.sampling`, with all medians 1) gives this order.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, vstack
from transformers import PreTrainedTokenizerFast

from c2t.examples.demo.cells import LabelledSet
from c2t.examples.demo.gene_table import FIRST_GENE_TOKEN
from c2t.examples.demo.sampling import CellPool
from c2t.export.cell2sentence.published import DEFAULT, ORGANISMS, TEMPLATES, TOP_GENES

GENES = TOP_GENES  # of a sentence
ORGANISM = ORGANISMS["human"]
# The published prompt around the genes.
BEFORE, AFTER = (
    part.format(num_genes=GENES, organism=ORGANISM)
    for part in TEMPLATES[DEFAULT].split(" {cell_sentence}")
)
ANSWER = " {cell_type}."
ANSWER_TOKENS = 16  # more than the longest answer takes


def prompt_text(symbols: Sequence[str]) -> str:
    """The whole prompt of a cell with these genes."""
    return "".join([BEFORE, *(f" {symbol}" for symbol in symbols), AFTER])


def symbols_of(symbols: Sequence[str], ranked: NDArray[np.int64]) -> list[str]:
    """Symbols of gene tokens of `sampling`."""
    return [symbols[token - FIRST_GENE_TOKEN] for token in ranked]


def pool_symbols(sets: Sequence[LabelledSet]) -> list[str]:
    """Upper-case symbols of all files, in byte order."""
    return sorted({s.upper() for labelled in sets for s in labelled.symbols if s})


def counts_of_symbols(labelled: LabelledSet, symbols: Sequence[str]) -> csr_matrix:
    """Counts [N, G] over the symbols of the pool; columns of one symbol are summed."""
    index = {symbol: i for i, symbol in enumerate(symbols)}
    pairs = [(c, index[s.upper()]) for c, s in enumerate(labelled.symbols) if s]
    columns, targets = zip(*pairs, strict=True)
    shape = (len(labelled.symbols), len(symbols))
    move = coo_matrix((np.ones(len(pairs)), (columns, targets)), shape=shape).tocsr()
    counts = csr_matrix(labelled.counts @ move)
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts


def build_pool(
    sets: Sequence[LabelledSet], symbols: Sequence[str], names: Sequence[str]
) -> CellPool:
    """All cells of all sets over the symbols; captions come with the tokenizer.

    Args:
        sets: Labelled sets.
        symbols: `pool_symbols`.
        names: Names of the cell types.
    """
    groups = [f"{s.name}/{group}" for s in sets for group in s.groups]
    return CellPool(
        counts=vstack([counts_of_symbols(s, symbols) for s in sets]).tocsr(),
        medians=np.ones(len(symbols)),
        set_of=np.repeat(np.arange(len(sets)), [len(s.cell_ids) for s in sets]),
        group_of=np.unique(groups, return_inverse=True)[1],
        cell_type=np.array([names.index(t) for s in sets for t in s.cell_types]),
        caption=[],
        weight=[],
        held_out=np.concatenate([s.held_out for s in sets]),
        panels=[np.isin(symbols, [s.upper() for s in labelled.symbols]) for labelled in sets],
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Phrasebook:
    """Token ids of everything that a prompt is put together from.

    Words end at spaces, so the tokens of a prompt are those of its parts, one after the other;
    `c2t.examples.demo_cell2sentence.evaluate` compares both for every held-out cell.

    Attributes:
        before: Token ids of the text before the first gene.
        after: Those of the text behind the last gene.
        genes: Token ids of each symbol of the pool, with the space before it.
        answers: Token ids of each cell type's answer, the end of the text included.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    genes: list[NDArray[np.int64]]
    answers: list[NDArray[np.int64]]

    def prompt(self, ranked: NDArray[np.int64]) -> NDArray[np.int64]:
        """Token ids of a cell's prompt; `ranked` are gene tokens of `sampling`."""
        return np.concatenate([self.before, self.sentence(ranked), self.after])

    def sentence(self, ranked: NDArray[np.int64]) -> NDArray[np.int64]:
        """Token ids of a cell's genes alone."""
        return np.concatenate([self.genes[token - FIRST_GENE_TOKEN] for token in ranked])


def make_phrasebook(
    tokenizer: PreTrainedTokenizerFast, symbols: Sequence[str], names: Sequence[str]
) -> Phrasebook:
    """Tokenise the parts once."""

    def ids(text: str) -> NDArray[np.int64]:
        return np.array(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)

    end = np.array([tokenizer.eos_token_id])
    return Phrasebook(
        before=ids(BEFORE),
        after=ids(AFTER),
        genes=[ids(f" {symbol}") for symbol in symbols],
        answers=[np.append(ids(ANSWER.format(cell_type=name)), end) for name in names],
    )
