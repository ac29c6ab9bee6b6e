"""Gene sentences in the order of a bundle's list, and symbols spelled as the file has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cell_libraries import anndata, sp

from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.template import TextPart
from c2t.runtime.cells.inputs.gene_sentence import SentencePrompts
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError

LISTED = ("GNLY", "C15orf48", "CD14", "S100A9")
HUMAN = {"human": "Homo sapiens"}


class Letters:
    """A token for each letter."""

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(map(ord, text))

    encode_letters = encode


def prompts(genes: int = 9, **sentence: Any) -> SentencePrompts:
    listed = LISTED if "upper_case" not in sentence else ()
    return SentencePrompts(
        sentence=GeneSentence(
            genes=genes, organisms=HUMAN, separator=", ", listed=len(listed), **sentence
        ),
        template=(TextPart(text="{genes}", longest=99),),
        encoder=Letters(),
        values={},
        listed=listed,
    )


def said(counts: Any, names: list[str], made: SentencePrompts, **options: Any) -> list[str | None]:
    data = anndata.AnnData(sp.csr_matrix(np.asarray(counts, np.float32)))
    data.var_names = names
    with CellReader(data, None, made, CellOptions(**options)) as reader:
        (chunk,) = reader.chunks()
    texts = ["".join(map(chr, tokens)) for tokens in chunk.tokens]
    return [error or text for error, text in zip(chunk.errors, texts, strict=True)]


def test_genes_stand_as_the_list_has_them() -> None:
    """By its order and spelling; those that a cell lacks, or the list, are left out."""
    names = ["ACTB", "CD14", "C15ORF48", "GNLY", "MALAT1"]
    counts = [[9, 8, 1, 2, 7], [1, 1, 0, 0, 0], [5, 0, 0, 0, 5], [0, 0, 0, 0, 0]]
    assert said(counts, names, prompts()) == [
        "GNLY, C15orf48, CD14",
        "CD14",
        "cell has none of the genes that the bundle reads",
        "cell is empty",
    ]
    assert said(counts[:1], names, prompts(genes=2)) == ["GNLY, C15orf48"]


def test_columns_of_one_gene_are_one() -> None:
    assert said([[1, 2, 0]], ["CD14", "CD14-1", "ACTB"], prompts()) == ["CD14"]


def test_logarithms_have_the_same_genes() -> None:
    values = np.log1p(np.array([[0, 3, 1], [2, 0, 0]], np.float32) * 1.7)
    assert said(values, ["ACTB", "GNLY", "S100A9"], prompts(), values="log1p") == [
        "GNLY, S100A9",
        "cell has none of the genes that the bundle reads",
    ]


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (["ACTB", "MALAT1"], "none of the 4 genes that the bundle reads: it has `ACTB`, `MALAT1`"),
        (["Gnly", "Cd14", "Actb"], "mouse"),
        (["ENSG00000115523", "ENSG00000170458"], "the bundle reads gene symbols"),
    ],
)
def test_files_that_cannot_be_read(names: list[str], problem: str) -> None:
    with pytest.raises(CellFileError, match=problem) as caught:
        said([[3] * len(names)], names, prompts())
    assert caught.value.hint


def test_symbols_are_spelled_as_the_file_has_them() -> None:
    """Cell-o1 was trained on such; Cell2Sentence on upper case."""
    names = ["C15orf48", "ACTB"]
    assert said([[5, 3]], names, prompts(upper_case=False)) == ["C15orf48, ACTB"]
    assert said([[5, 3]], names, prompts(upper_case=True)) == ["C15ORF48, ACTB"]
