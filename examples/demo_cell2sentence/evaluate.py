r"""Accuracy of the saved model on held-out cells, with a control, written to results.json.

One decision: the control permutes the counts of each cell over the genes of its file, as the first
demo's does: depth and number of genes stay, their meaning is gone.

    python -m c2t.examples.demo_cell2sentence.evaluate CELLS.h5ad... --gene-table GENES.csv.gz
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from scipy.sparse import vstack
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXForCausalLM

from c2t.examples.demo.describing import accuracy, macro_accuracy
from c2t.examples.demo.sampling import CellPool, cell_tokens, permuted_set
from c2t.examples.demo_cell2sentence.model_parts import answers_of
from c2t.examples.demo_cell2sentence.preparation import Preparation, cell_type_of, read_cells
from c2t.examples.demo_cell2sentence.sentences import (
    ANSWER_TOKENS,
    GENES,
    counts_of_symbols,
    make_phrasebook,
    prompt_text,
    symbols_of,
)

HERE = Path(__file__).parent
ACCURACIES = ("macro_accuracy", "accuracy")


def load(cell_files: list[Path], gene_table: Path, checkpoint: Path) -> Preparation:
    """Cells, with the tokenizer of a checkpoint."""
    sets, symbols, names, pool = read_cells(cell_files, gene_table)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    return Preparation(
        sets=sets,
        symbols=symbols,
        names=names,
        pool=pool,
        tokenizer=tokenizer,
        phrases=make_phrasebook(tokenizer, symbols, names),
    )


def check_prompts(ready: Preparation, cells: Sequence[int]) -> None:
    """Compare prompts that are put together from tokens with prompts that are tokenised whole.

    Raises:
        ValueError: They differ for some cell.
    """
    for cell in cells:
        ranked = cell_tokens(ready.pool, cell, longest=GENES)
        whole = ready.tokenizer.encode(
            prompt_text(symbols_of(ready.symbols, ranked)), add_special_tokens=False
        )
        if whole != ready.phrases.prompt(ranked).tolist():
            problem = f"cell {cell}: its prompt has other tokens as a whole"
            raise ValueError(problem)


def permuted_pool(ready: Preparation, *, seed: int) -> CellPool:
    """The same cells, the counts of each permuted over the genes of its own file."""
    rng = np.random.default_rng(seed)
    permuted = [counts_of_symbols(permuted_set(s, rng), ready.symbols) for s in ready.sets]
    return replace(ready.pool, counts=vstack(permuted).tocsr())


def score(
    ready: Preparation, model: GPTNeoXForCausalLM, pool: CellPool, cells: Sequence[int]
) -> dict[str, Any]:
    """Accuracy on some cells of a pool, and right / all cells of each type."""
    kept = [cell for cell in cells if pool.counts.indptr[cell + 1] > pool.counts.indptr[cell]]
    prompts = [ready.phrases.prompt(cell_tokens(pool, cell, longest=GENES)) for cell in kept]
    said = answers_of(model, prompts, longest=ANSWER_TOKENS)
    texts = dict(zip(kept, map(ready.tokenizer.decode, said), strict=True))
    known = set(ready.names)
    types = [cell_type_of(texts.get(cell, "")) for cell in cells]
    true = [ready.names[ready.pool.cell_type[cell]] for cell in cells]
    right = [(name, name == found) for name, found in zip(true, types, strict=True)]
    return {
        "cells": len(cells),
        "types": len(set(true)),
        "macro_accuracy": round(macro_accuracy(true, types), 4),
        "accuracy": round(accuracy(true, types), 4),
        "answers_that_name_a_type": round(float(np.mean([name in known for name in types])), 4),
        "by_type": {
            name: f"{right.count((name, True))}/{true.count(name)}" for name in sorted(set(true))
        },
    }


def evaluate(
    ready: Preparation, model: GPTNeoXForCausalLM, *, most: int, most_control: int
) -> dict[str, Any]:
    """Score some held-out cells of all sets, spread over each, and their control."""
    held = np.flatnonzero(ready.pool.held_out)
    check_prompts(ready, held.tolist())
    typer.echo(f"prompts of {len(held):,} held-out cells have the tokens of the whole", err=True)
    control = permuted_pool(ready, seed=0)
    results: dict[str, Any] = {}
    for index, labelled in enumerate(ready.sets):
        cells = held[ready.pool.set_of[held] == index]
        row = {"held_out": score(ready, model, ready.pool, spread(cells, most))}
        permuted = score(ready, model, control, spread(cells, most_control))
        row["permuted"] = {name: permuted[name] for name in ("cells", *ACCURACIES)}
        results[labelled.name] = row
        typer.echo(f"{labelled.name}: {json.dumps(row)}", err=True)
    return results


def spread(cells: NDArray[np.int64], most: int) -> list[int]:
    """At most so many of the cells, at equal distances."""
    places = np.linspace(0, len(cells) - 1, min(len(cells), most)).astype(int)
    return [int(cell) for cell in cells[places]]


def main(
    cell_files: Annotated[list[Path], typer.Argument(help="The files that training read.")],
    gene_table: Annotated[Path, typer.Option(help="CELLxGENE gene table (csv.gz).")],
    checkpoint: Annotated[Path, typer.Option(help="The model's folder.")] = HERE / "checkpoint",
    output: Annotated[Path, typer.Option("-o", "--output")] = HERE / "results.json",
    most: Annotated[int, typer.Option(help="Most held-out cells of a file.")] = 500,
    most_control: Annotated[
        int, typer.Option(help="Most of them whose counts are permuted.")
    ] = 500,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Evaluate the model with transformers. Figures of files that are not given stay."""
    began = time.monotonic()
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    ready = load(cell_files, gene_table, checkpoint)
    results = evaluate(ready, model, most=most, most_control=most_control)
    if output.is_file():
        results = json.loads(output.read_text(encoding="utf-8")) | results
    output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8", newline="")
    typer.echo(f"wrote {output} after {(time.monotonic() - began) / 60:.1f} minutes", err=True)


if __name__ == "__main__":
    typer.run(main)
