r"""Accuracy of the saved checkpoint on held-out cells, with a control, written to results.json.

One decision: the control permutes the counts of each cell over the genes of its file. Depth and
number of genes stay, their meaning is gone. What the model still gets right, it reads off the file.

    python -m c2t.examples.demo.evaluate CELLS.h5ad... --gene-sets SETS.gmt \
        --gene-table GENES.csv.gz
"""

import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from c2t.examples.demo.describing import Speaker, accuracy, describe, field, macro_accuracy
from c2t.examples.demo.preparation import Preparation, Sources, prepare
from c2t.examples.demo.sampling import CellPool, cell_tokens, permuted_pool
from c2t.export.checkpoint.folder import load_checkpoint_folder
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.inputs.rank_value import RankValueInput

HERE = Path(__file__).parent
TYPE_TOKENS = 16  # enough for "This sample consists of a" and the longest cell type
PATHWAYS = re.compile(r"is associated with (.+?)\. Additionally, it involves (.+?)\.")


def check_tokens(ready: Preparation, longest: int, layer_norm_epsilon: float) -> int:
    """Compare training's gene tokens with the runtime's for every cell.

    Returns:
        Number of cells compared.

    Raises:
        ValueError: Some cell's tokens differ.
    """
    genes, pool = ready.genes, ready.pool
    gene_input = GeneInput(
        input_size=longest,
        vocabulary_size=len(genes.token) + 2,
        hidden_size=1,
        layer_norm_epsilon=layer_norm_epsilon,
        pad_token=genes.pad_token,
        cls_token=None,
        eos_token=None,
    )
    columns = np.arange(len(genes.token), dtype=np.int32)
    runtime = RankValueInput(gene_input, genes, columns).encode(pool.counts)
    for cell, tokens in enumerate(runtime.tokens):
        if not np.array_equal(tokens, cell_tokens(pool, cell, longest=longest)):
            problem = f"cell {cell}: training and run time rank its genes differently"
            raise ValueError(problem)
    return len(runtime.tokens)


def through_panel(pool: CellPool, panel: NDArray[np.bool_]) -> CellPool:
    """The same cells, only the genes of another file's panel left."""
    counts = csr_matrix(pool.counts.multiply(panel[None, :].astype(np.float64)))
    counts.eliminate_zeros()
    return replace(pool, counts=counts)


def describe_cells(
    pool: CellPool, speaker: Speaker, cells: Sequence[int], *, only_type: bool = False
) -> list[str]:
    """Texts of some cells of a pool; `only_type` stops after the cell type, which saves time."""
    longest = int(speaker.model.encoder.config.max_position_embeddings)
    tokens = [cell_tokens(pool, cell, longest=longest) for cell in cells]
    kept = [i for i, t in enumerate(tokens) if len(t)]  # a foreign panel can leave nothing
    said = describe(
        speaker, [tokens[i] for i in kept], max_new_tokens=TYPE_TOKENS if only_type else None
    )
    texts = [""] * len(cells)
    for i, text in zip(kept, said, strict=True):
        texts[i] = text
    return texts


def score_types(true: Sequence[str], said: Sequence[str]) -> dict[str, float]:
    """Accuracy of the cell type alone, from captions."""
    types = [str(value) for value in field(true, "cell_type")]
    got = field(said, "cell_type")
    return {
        "cell_type_macro_accuracy": round(macro_accuracy(types, got), 4),
        "cell_type_accuracy": round(accuracy(types, got), 4),
    }


def score(true: Sequence[str], said: Sequence[str]) -> dict[str, Any]:
    """Accuracy of each field, and right / all cells of each type."""
    types, got = field(true, "cell_type"), field(said, "cell_type")
    result: dict[str, Any] = {"cells": len(true), "types": len(set(types))}
    result.update(score_types(true, said))
    for name in ("tissue", "disease", "sex", "age"):
        result[f"{name}_accuracy"] = round(accuracy(field(true, name), field(said, name)), 4)
    pairs = [
        (set(a[0]), set(b[0]) if b else set())
        for a, b in zip(map(PATHWAYS.findall, true), map(PATHWAYS.findall, said), strict=True)
    ]
    shared = float(np.mean([len(a & b) / 2 for a, b in pairs]))
    result["pathways_right_of_two"] = round(shared, 4)
    complete = [bool(PATHWAYS.search(text)) for text in said]
    result["complete_captions"] = round(float(np.mean(complete)), 4)
    right = [(a, a == b) for a, b in zip(types, got, strict=True)]
    result["by_type"] = {
        str(name): f"{right.count((name, True))}/{types.count(name)}"
        for name in sorted(set(types), key=str)
    }
    return result


def evaluate(ready: Preparation, speaker: Speaker) -> dict[str, Any]:
    """Score all sets, their control, and blood cells through other panels."""
    longest = int(speaker.model.encoder.config.max_position_embeddings)
    checked = check_tokens(ready, longest, speaker.model.encoder.config.layer_norm_eps)
    typer.echo(f"gene tokens as at run time in {checked} cells", err=True)
    control = permuted_pool(ready.pool, ready.sets, ready.genes, seed=0)
    results: dict[str, Any] = {}
    for index, labelled in enumerate(ready.sets):
        cells = np.flatnonzero((ready.pool.set_of == index) & ready.pool.held_out).tolist()
        true = [ready.captions[cell] for cell in cells]
        row: dict[str, Any] = {"held_out": score(true, describe_cells(ready.pool, speaker, cells))}
        views = {"permuted": control}
        if labelled.donors[0].tissue == "blood":
            for other, foreign in enumerate(ready.sets):
                if other != index and foreign.donors[0].tissue == "blood":
                    seen = through_panel(ready.pool, ready.pool.panels[other])
                    views[f"through_{foreign.name}"] = seen
        for name, pool in views.items():
            row[name] = score_types(true, describe_cells(pool, speaker, cells, only_type=True))
        results[labelled.name] = row
        typer.echo(f"{labelled.name}: {json.dumps(row)}", err=True)
    return results


def main(
    cell_files: Annotated[list[Path], typer.Argument(help="The files that training read.")],
    gene_sets: Annotated[Path, typer.Option(help="Hallmark gene sets (GMT, symbols).")],
    gene_table: Annotated[Path, typer.Option(help="CELLxGENE gene table (csv.gz).")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder.")] = HERE / "checkpoint",
    output: Annotated[Path, typer.Option("-o", "--output")] = HERE / "results.json",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
) -> None:
    """Evaluate the demo checkpoint."""
    began = time.monotonic()
    torch.set_num_threads(threads)
    loaded = load_checkpoint_folder(checkpoint)
    ready = prepare(
        Sources(cell_files=tuple(cell_files), gene_sets=gene_sets, gene_table=gene_table),
        text_vocabulary=len(loaded.tokenizer),
        report=lambda line: typer.echo(line, err=True),
    )
    same = np.array_equal(ready.genes.ensembl_id, loaded.genes.ensembl_id) and np.array_equal(
        ready.genes.median, loaded.genes.median
    )
    if not same:
        problem = "the checkpoint was not trained on these files: its genes or medians differ"
        raise typer.BadParameter(problem)
    speaker = Speaker(
        model=loaded.model,
        tokenizer=loaded.tokenizer,
        prompt=loaded.prompt,
        generation=loaded.generation,
    )
    results = evaluate(ready, speaker)
    output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8", newline="")
    typer.echo(f"wrote {output} after {(time.monotonic() - began) / 60:.1f} minutes", err=True)


if __name__ == "__main__":
    typer.run(main)
