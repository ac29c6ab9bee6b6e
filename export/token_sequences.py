"""Gene token sequences to check an export with: of real cells where a file is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from c2t.export.checkpoint.gene_vocabulary import GeneVocabularyArrays
from c2t.export.checkpoint.options import LoadedCheckpoint
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError

CELLS_READ = 256  # cells of the file among which sequences of different lengths are sought
CELLS_CHOSEN = 6
SEED = 20250924  # for genes in random order, where no file is given


def gene_input(loaded: LoadedCheckpoint) -> GeneInput:
    """How a cell of this checkpoint becomes the encoder's input."""
    config, genes = loaded.model.encoder.config, loaded.genes
    return GeneInput(
        input_size=int(config.max_position_embeddings),
        vocabulary_size=int(config.vocab_size),
        hidden_size=int(config.hidden_size),
        layer_norm_epsilon=float(config.layer_norm_eps),
        pad_token=genes.pad_token,
        cls_token=genes.cls_token,
        eos_token=genes.eos_token,
    )


def example_sequences(loaded: LoadedCheckpoint, cells: Path | None) -> tuple[list[list[int]], str]:
    """Token sequences of different lengths, the most typical first.

    Args:
        loaded: The checkpoint; its vocabulary and input size are used.
        cells: An `.h5ad` file of real cells; None: genes of the vocabulary in random order.

    Returns:
        Sequences of gene tokens, special tokens included, and a sentence that says what they are.

    Raises:
        CellFileError: The file cannot be read, or holds no cell with known genes.
    """
    spec = gene_input(loaded)
    if cells is None:
        whole = [_random_sequence(loaded.genes, spec, seed) for seed in range(2)]
        source = "genes of the vocabulary in random order (no file of cells was given)"
    else:
        whole = _cell_sequences(loaded.genes, spec, cells)
        source = f"{len(whole)} cells of {cells.name}"
    return whole, source


def _cell_sequences(arrays: GeneVocabularyArrays, spec: GeneInput, cells: Path) -> list[list[int]]:
    """Sequences of real cells: the median length first, then others from short to long."""
    found: list[list[int]] = []
    with CellReader(cells, arrays.vocabulary(), spec, CellOptions(limit=CELLS_READ)) as reader:
        for chunk in reader.chunks():
            found += [
                tokens.tolist()
                for tokens, error in zip(chunk.tokens, chunk.errors, strict=True)
                if error is None
            ]
    if not found:
        problem = f"none of the first {CELLS_READ} cells of {cells} has a known gene"
        raise CellFileError(problem, hint="give a file of cells that the model can describe")
    found.sort(key=len)
    spread = np.linspace(0, len(found) - 1, min(CELLS_CHOSEN, len(found))).round().astype(int)
    middle = len(found) // 2
    return [found[middle], *(found[i] for i in spread if i != middle)]


def _random_sequence(arrays: GeneVocabularyArrays, spec: GeneInput, seed: int) -> list[int]:
    draw = np.random.default_rng(SEED + seed)
    specials = (spec.cls_token is not None) + (spec.eos_token is not None)
    # One sequence fills the input, the other half of it.
    size = min((spec.input_size - specials) // (seed + 1), len(arrays.token))
    genes: list[int] = draw.permutation(arrays.token)[:size].tolist()
    front = [] if spec.cls_token is None else [spec.cls_token]
    back = [] if spec.eos_token is None else [spec.eos_token]
    return [*front, *genes, *back]
