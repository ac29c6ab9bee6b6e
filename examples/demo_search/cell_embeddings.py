"""Cells of the labelled files as the frozen encoder of the demonstration model sees them.

One decision: the encoder is not trained again, so each cell is run once, and once more for each
variation of a training cell. Training of the joint space then takes minutes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import vstack

from c2t.examples.demo.captions import CaptionTable, Donor, read_caption_table
from c2t.examples.demo.cells import LabelledSet, read_gene_symbols, read_labelled_sets
from c2t.examples.demo.gene_table import PAD_TOKEN, counts_of_genes
from c2t.examples.demo.model_parts import encode_padded
from c2t.examples.demo.sampling import (
    Augmentation,
    CellPool,
    cell_tokens,
    varied_cell_tokens,
)
from c2t.export.checkpoint.folder import load_checkpoint_folder
from c2t.export.model.model import Cell2TextModel

CHECKPOINT = Path(__file__).parent.parent / "demo" / "checkpoint"
BATCH = 32
# Cells of one label in one file. More of them teach little more; and a search among as many cells
# of each label is no easier for the frequent ones.
MOST_TO_TRAIN, MOST_TO_SEARCH = 150, 60


@dataclass(frozen=True, kw_only=True, eq=False)
class EmbeddedCells:
    """Labelled cells, each as the mean [H] of the encoder's output over its genes.

    Of each label of a file there are at most `MOST_TO_TRAIN` and `MOST_TO_SEARCH` held-out ones.

    Attributes:
        cell_types: [N] names of the caption table.
        donors: [N] tissue, disease, sex and age.
        set_of: [N] name of the file.
        held_out: [N] True for cells that training never sees.
        whole: [N, H] the cells as they are.
        varied: [V, N, H] with other panels, thinner counts and noisy ranks; NaN for held-out cells.
    """

    cell_types: list[str]
    donors: list[Donor]
    set_of: list[str]
    held_out: NDArray[np.bool_]
    whole: NDArray[np.float32]
    varied: NDArray[np.float32]


def embed_labelled_cells(
    cell_files: Sequence[Path],
    gene_table: Path,
    *,
    variations: int,
    seed: int,
    report: Callable[[str], None],
) -> EmbeddedCells:
    """Read the labelled files and run the frozen encoder over their cells.

    Args:
        cell_files: Labelled .h5ad; the stem is looked up in the caption table.
        gene_table: CELLxGENE gene table, gzipped CSV.
        variations: Times that each training cell is run in a varied form.
        seed: Of the choice of cells and of their variations.
        report: Called with a line when a part begins.
    """
    table = read_caption_table()
    sets = _labelled_sets(cell_files, gene_table, table)
    checkpoint = load_checkpoint_folder(CHECKPOINT)
    model, genes = checkpoint.model, checkpoint.genes
    pool = _pool(sets, genes.ensembl_id.astype(str).tolist(), genes.median, table)
    longest = int(model.encoder.config.max_position_embeddings)
    rng = np.random.default_rng(seed)
    chosen = _chosen_cells(pool, rng)
    held_out = pool.held_out[chosen]

    def vary(cell: int) -> NDArray[np.int64]:
        return varied_cell_tokens(pool, cell, Augmentation(), rng, longest=longest)

    def embedded(name: str, tokens: Callable[[int], Any], which: NDArray[np.bool_]) -> Any:
        report(f"encoding {which.sum():,} cells, {name}")
        result = np.full((len(chosen), model.encoder.config.hidden_size), np.nan, np.float32)
        result[which] = mean_hidden(model, [tokens(cell) for cell in chosen[which]])
        return result

    cell_types = [name for s in sets for name in s.cell_types]
    donors = [donor for s in sets for donor in s.donors]
    return EmbeddedCells(
        cell_types=[cell_types[cell] for cell in chosen],
        donors=[donors[cell] for cell in chosen],
        set_of=[sets[pool.set_of[cell]].name for cell in chosen],
        held_out=held_out,
        whole=embedded(
            "as they are", lambda cell: cell_tokens(pool, cell, longest=longest), held_out | True
        ),
        varied=np.stack([embedded("varied", vary, ~held_out) for _ in range(variations)]),
    )


def _chosen_cells(pool: CellPool, rng: np.random.Generator) -> NDArray[np.int64]:
    """Some training cells and some held-out cells of each group, in the order of the files."""
    kept = []
    for group in np.unique(pool.group_of):
        for held_out, most in ((False, MOST_TO_TRAIN), (True, MOST_TO_SEARCH)):
            members = np.flatnonzero((pool.held_out == held_out) & (pool.group_of == group))
            kept.append(rng.permutation(members)[:most])
    return np.sort(np.concatenate(kept))


@torch.no_grad()
def mean_hidden(model: Cell2TextModel, tokens: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
    """Mean of the encoder's output over the genes of each cell, [N, H]; NaN for no genes."""
    result = np.full((len(tokens), model.encoder.config.hidden_size), np.nan, np.float32)
    order = [i for i in sorted(range(len(tokens)), key=lambda i: len(tokens[i])) if len(tokens[i])]
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        rows = torch.full((len(chosen), len(tokens[chosen[-1]])), PAD_TOKEN)
        for row, cell in zip(rows, chosen, strict=True):
            row[: len(tokens[cell])] = torch.from_numpy(tokens[cell])
        real = (rows != PAD_TOKEN).long()
        hidden = encode_padded(model, rows, real) * real[..., None]
        result[chosen] = (hidden.sum(1) / real.sum(1, keepdim=True)).numpy()
    return result


def _labelled_sets(
    cell_files: Sequence[Path], gene_table: Path, table: CaptionTable
) -> list[LabelledSet]:
    unknown = [path.name for path in cell_files if path.stem not in table.sets]
    if unknown:
        problem = f"caption_table.json has no entry for {', '.join(unknown)}"
        raise ValueError(problem)
    files = sorted(cell_files, key=lambda path: list(table.sets).index(path.stem))
    return read_labelled_sets(files, table, read_gene_symbols(gene_table))


def _pool(
    sets: Sequence[LabelledSet],
    genes: list[str],
    medians: NDArray[np.float64],
    table: CaptionTable,
) -> CellPool:
    """The cells over the checkpoint's genes; captions are not needed here."""
    groups = [f"{s.name}/{group}" for s in sets for group in s.groups]
    names = list(table.definitions)
    return CellPool(
        counts=vstack([counts_of_genes(labelled, genes) for labelled in sets]).tocsr(),
        medians=medians,
        set_of=np.repeat(np.arange(len(sets)), [len(s.cell_ids) for s in sets]),
        group_of=np.unique(groups, return_inverse=True)[1],
        cell_type=np.array([names.index(t) for s in sets for t in s.cell_types]),
        caption=[],
        weight=[],
        held_out=np.concatenate([s.held_out for s in sets]),
        panels=[np.isin(genes, s.gene_ids) for s in sets],
    )
