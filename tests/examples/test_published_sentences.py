"""Gene sentences beside those of the published package, token for token.

`tests/data/make_published_sentences.py` ran the package itself, which orders equal counts by
chance: its record has them sorted.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from shared_data import shared

from c2t.examples.demo.captions import Donor, read_caption_table
from c2t.examples.demo.cells import LabelledSet, read_labelled_sets
from c2t.examples.demo.sampling import cell_tokens
from c2t.examples.demo_cell2sentence.sentences import (
    AFTER,
    ANSWER,
    BEFORE,
    GENES,
    build_pool,
    pool_symbols,
    prompt_text,
    symbols_of,
)

RECORD = Path(__file__).parents[1] / "data" / "published_sentences.json"


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    return json.loads(RECORD.read_text(encoding="utf-8"))


def sentences(labelled: LabelledSet) -> list[list[str]]:
    """All symbols of each cell, as training orders them."""
    symbols = pool_symbols([labelled])
    pool = build_pool([labelled], symbols, sorted(set(labelled.cell_types)))
    return [
        symbols_of(symbols, cell_tokens(pool, cell, longest=len(symbols)))
        for cell in range(len(labelled.cell_ids))
    ]


def labelled(symbols: list[str], counts: list[list[int]]) -> LabelledSet:
    matrix = csr_matrix(np.array(counts, dtype=np.float64))
    number = len(counts)
    return LabelledSet(
        name="mouse",
        cell_ids=[f"cell{i}" for i in range(number)],
        gene_ids=[""] * len(symbols),
        symbols=symbols,
        counts=matrix,
        totals=np.asarray(matrix.sum(axis=1)).ravel(),
        cell_types=["cell"] * number,
        donors=[Donor(tissue="blood", disease="normal", sex=None, age=None)] * number,
        groups=["cell"] * number,
        held_out=np.zeros(number, dtype=bool),
    )


def test_sentences_of_mouse_names(record: dict[str, Any]) -> None:
    mouse = record["mouse"]
    ours = sentences(labelled(mouse["symbols"], mouse["counts"]))
    assert [" ".join(names) for names in ours] == mouse["sentences"]
    equal = [len(set(row)) < np.count_nonzero(row) for row in mouse["counts"]]
    assert sum(equal) == len(equal) - 1  # so ties were there; one cell has a single gene


def test_columns_of_one_symbol_are_summed() -> None:
    cells = labelled(["Cd3e", "CD3E", "Actb"], [[2, 2, 3], [0, 1, 3]])
    assert sentences(cells) == [["CD3E", "ACTB"], ["ACTB", "CD3E"]]


def test_prompt_and_answer(record: dict[str, Any]) -> None:
    ours = prompt_text(record["mouse"]["sentences"][0].split(" "))
    assert ours == record["mouse_prompt"].replace("Mus musculus", "Homo sapiens")
    assert ours.startswith(BEFORE)
    assert ours.endswith(AFTER)
    assert " " + record["answer"] == ANSWER
    assert record["genes"] == GENES


def test_sentences_of_human_cells(record: dict[str, Any]) -> None:
    path = shared("cells/pbmc3k_labelled_raw.h5ad")
    (cells,) = read_labelled_sets([path], read_caption_table(), {})
    ours = dict(zip(cells.cell_ids, sentences(cells), strict=True))
    hashes = {
        name: hashlib.sha256(" ".join(ours[name]).encode()).hexdigest() for name in record["human"]
    }
    assert hashes == record["human"]
    assert len(hashes) == 60
