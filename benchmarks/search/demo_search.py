"""Stated phrases against all held-out cells of the demonstration's files, by an exported bundle.

c2t demo --family cellwhisperer -o DEMO
python benchmarks/search/demo_search.py DEMO/bundle CELLS... --gene-table GENES.csv.gz -o FILE.json

- The phrases are those of `examples/demo_search/queries.json`. "test" was written down before
  anything was trained, and searched for after it; "choice" was watched in training.
- Controls: the same cells, the counts of each permuted over the genes of its file (what a phrase
  still finds, it finds by the panel and the depth of a file: origins, and types that are frequent
  there); and what each phrase found, judged as if another had been searched for, the mean of all
  others.
- Chance: as many cells drawn blindly, by the hypergeometric distribution; and each cell drawn from
  the file of the one that was found.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import anndata
import numpy as np
from numpy.typing import NDArray

from c2t.examples.demo.captions import Donor, read_caption_table
from c2t.examples.demo.cells import LabelledSet, read_gene_symbols, read_labelled_sets
from c2t.examples.demo_search.searching import judge, majority_within_sets, summary
from c2t.examples.demo_search.texts import Query, read_queries
from c2t.runtime.bench.record import finish, record, target
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.embedder import Embedder
from c2t.runtime.describe.searcher import Searcher, joined_scores

SEED = 19
PARTS = ("test", "choice")
# The share of the test queries that must find cells of the right type, most of the first ten.
GOAL = 0.8


def main() -> None:
    """Search, judge, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("cells", type=Path, nargs="+")
    parser.add_argument("--gene-table", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()

    document = record("demo_search", threads=None, seed=SEED)
    bundle = open_bundle(options.bundle)
    document["bundle"] = bundle.digest
    queries = {part: read_queries(part) for part in PARTS}
    words = [query.text for part in PARTS for query in queries[part]]
    searcher = Searcher(bundle, words, Embedder(bundle))
    sets = read_labelled_sets(
        options.cells, read_caption_table(), read_gene_symbols(options.gene_table)
    )
    types = [t for s in sets for t in np.array(s.cell_types)[s.held_out].tolist()]
    donors = [d for s in sets for d, kept in zip(s.donors, s.held_out, strict=True) if kept]
    document["cells"] = {s.name: int(s.held_out.sum()) for s in sets}
    of_sets = np.array([s.name for s in sets for _ in range(int(s.held_out.sum()))])
    names = [_shown(cell_type, donor) for cell_type, donor in zip(types, donors, strict=True)]
    for name, permuted in (("held_out", False), ("genes_permuted", True)):
        rng = np.random.default_rng(SEED) if permuted else None
        scores = np.concatenate([_scores(bundle, searcher, s, len(words), rng) for s in sets])
        column = 0
        for part in PARTS:
            found, within = [], []
            for query in queries[part]:
                right = query.right(types, donors)
                found.append(judge(query, scores[:, column], right, names))
                within.append(majority_within_sets(scores[:, column], right, of_sets))
                column += 1
            document[f"{part}, {name}"] = entry = summary(found)
            entry["majority_by_chance_in_the_files_found"] = round(float(np.mean(within)), 4)
            for of_query, chance in zip(entry["by_query"], within, strict=True):
                of_query["majority_by_chance_in_the_files_found"] = round(chance, 4)
            if not permuted:
                own = scores[:, column - len(queries[part]) : column]
                rights = [query.right(types, donors) for query in queries[part]]
                document[f"{part}, phrases exchanged"] = _exchanged(queries[part], own, rights)
    reached = document["test, held_out"]["majority"]
    finish(document, [target("test phrases that find their cells", reached, GOAL)], options.output)


def _exchanged(
    queries: Sequence[Query], scores: NDArray[np.float32], rights: Sequence[NDArray[np.bool_]]
) -> dict[str, float]:
    """Shares of the pairs in which a query finds what the other was meant to find.

    Only pairs without a common right cell count: helper cells are right for T cells, too.
    """
    found = [
        judge(query, scores[:, place], other, [""] * len(other))
        for place, query in enumerate(queries)
        for other in rights
        if not (rights[place] & other).any()
    ]
    whole = summary(found)
    return {name: whole[name] for name in ("majority", "any", "precision", "any_by_chance")}


def _scores(
    bundle: Bundle,
    searcher: Searcher,
    labelled: LabelledSet,
    queries: int,
    permute: np.random.Generator | None,
) -> NDArray[np.float32]:
    """Scores [N, Q] of a file's held-out cells."""
    counts = labelled.counts[labelled.held_out].copy()
    if permute is not None:
        columns = [
            permute.choice(counts.shape[1], size=n, replace=False) for n in np.diff(counts.indptr)
        ]
        counts.indices = np.concatenate(columns).astype(counts.indices.dtype)
        counts.sort_indices()
    # Columns without an id, and those that are there twice, keep their places under other names.
    seen: set[str] = set()
    genes = []
    for place, gene in enumerate(labelled.gene_ids):
        genes.append(gene if gene and gene not in seen else f"unnamed{place}")
        seen.add(gene)
    cells = anndata.AnnData(counts)
    cells.var_names = genes
    with open_cells(cells, bundle) as reader:
        found = joined_scores(searcher.search(reader), ["" for _ in range(queries)])
    bad = [error for error in found.errors if error]
    if bad:
        problem = f"{labelled.name}: {len(bad)} cells could not be searched: {bad[0]}"
        raise ValueError(problem)
    scores: NDArray[np.float32] = found.scores
    return scores


def _shown(cell_type: str, donor: Donor) -> str:
    return cell_type if donor.disease == "normal" else f"{cell_type} ({donor.disease})"


if __name__ == "__main__":
    main()
