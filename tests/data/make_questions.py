"""Write `tiny_questions.json`: questions in CellVerse's form about cells of pbmc3k.

The words are ours; the form is the published one. Run it again only to change them:

    PYTHONPATH=tests/support python -P tests/data/make_questions.py
"""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
from shared_data import shared

CELLS = "cells/pbmc3k_labelled_raw.h5ad"
OUTPUT = Path(__file__).with_name("tiny_questions.json")
GENES = 12
SYSTEM = "You help with the analysis of single cells."
TYPES = ("B cell", "natural killer cell", "CD14-positive monocyte", "platelet")
# Begin of the names that the file has for these.
MARKERS = {"MS4A1": TYPES[0], "NKG7": TYPES[1], "LYZ": TYPES[2], "PPBP": TYPES[3]}


def main() -> None:
    """Write the file."""
    cells = anndata.read_h5ad(shared(CELLS))
    items = [annotation(cells, gene, right) for gene, right in MARKERS.items()]
    items += [annotation(cells, gene, right, skip=1) for gene, right in MARKERS.items()]
    items.append(
        item(
            "The cell was given the drug Examplinib. Choose its response: [resistant, sensitive]. "
            "Answer as 'Final Answer: resistant' or 'Final Answer: sensitive'.\n"
            f"{{gene_names}}: {' '.join(top_genes(cells, 0))}.",
            "sensitive",
        )
    )
    items.append(
        item(
            "Does perturbing GENE1 change GENE2? Answer as 'Final Answer: Yes' or "
            "'Final Answer: No'.",
            "No",
        )
    )
    OUTPUT.write_text(json.dumps(items, indent=1) + "\n", encoding="utf-8")


def annotation(
    cells: anndata.AnnData, gene: str, right: str, *, skip: int = 0
) -> dict[str, object]:
    """A question about a cell with most counts of a gene."""
    counts = np.asarray(cells[:, gene].X.todense()).ravel()
    cell = int(np.argsort(-counts, kind="stable")[skip])
    names = top_genes(cells, cell)
    listed = ", ".join(f"'{name}'" for name in TYPES)
    return item(
        "A list of {gene_names} of a cell, by falling expression. Choose one of {cell_types}. "
        "Answer as 'Final Answer: Prediction'.\n"
        f"{{gene_names}}: {gene} {' '.join(name for name in names if name != gene)}\n"
        f"{{cell_types}}: {listed}.",
        right,
    )


def top_genes(cells: anndata.AnnData, cell: int) -> list[str]:
    """The genes of a cell with most counts, without those of ribosomes and mitochondria."""
    counts = np.asarray(cells.X[cell].todense()).ravel()
    order = np.lexsort((np.array(cells.var_names), -counts)).tolist()
    plain = (str(cells.var_names[place]) for place in order)
    named = [name for name in plain if not name.startswith(("RP", "MT-"))]
    return named[:GENES]


def item(question: str, answer: str) -> dict[str, object]:
    """A question as the files have it."""
    roles = zip(("system", "user", "assistant"), (SYSTEM, question, answer), strict=True)
    return {"messages": [{"role": role, "content": content} for role, content in roles]}


if __name__ == "__main__":
    main()
