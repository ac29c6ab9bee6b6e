r"""Train the search demonstration: a text tower and the joint space, beside a frozen encoder.

One decision: CLIP's loss in both directions, but every fitting pair of a batch counts as right.

    python -m c2t.examples.demo_search.train CELLS.h5ad... --gene-table GENES.csv.gz \
        --ontology CL.json.zst
"""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from c2t.examples.demo_search.assembling import TEXT_MODEL, WEIGHTS
from c2t.examples.demo_search.cell_embeddings import EmbeddedCells, embed_labelled_cells
from c2t.examples.demo_search.searching import cell_vectors, judge, summary, text_vectors
from c2t.examples.demo_search.texts import (
    TrainingText,
    fitting,
    read_frames,
    read_queries,
    training_texts,
    varied_text,
)
from c2t.examples.demo_search.tower import JointModel, TowerSizes, token_rows, train_tokenizer

HERE = Path(__file__).parent
# A text tower may be searched with sentences longer than it learnt from; these are what it learns.
LONGEST = 32
HIGHEST_TEMPERATURE = math.log(100.0)  # as CLIP limits it


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the training."""

    steps: int = 800
    cells: int = 256  # of a batch
    texts: int = 64  # of a batch
    kinds: tuple[str, ...] = ("type", "group", "origin", "caption")
    kind_chance: tuple[float, ...] = (0.55, 0.2, 0.15, 0.1)
    word_drop: float = 0.15
    cell_noise: float = 0.1  # of an embedding's own standard deviation
    varied: float = 0.5  # chance of a cell to be seen in a varied form
    learning_rate: float = 1.5e-3
    warm_up: int = 100
    weight_decay: float = 0.1
    variations: int = 1
    seed: int = 20_26
    cells_seed: int = 0  # of the choice of cells and of their variations
    look_every: int = 100


def train(
    cells: EmbeddedCells, texts: list[TrainingText], sizes: TowerSizes, how: Training
) -> tuple[JointModel, PreTrainedTokenizerFast]:
    """Train from scratch; the model comes back in evaluation mode."""
    torch.manual_seed(how.seed)
    rng = np.random.default_rng(how.seed)
    frames = read_frames()
    spoken = [text.text for text in texts] + [frame.replace("{}", "") for frame in frames]
    tokenizer = train_tokenizer(spoken, sizes=sizes)
    model = JointModel(sizes, vocabulary=len(tokenizer), pad=tokenizer.pad_token_id).train()
    fits = fitting(texts, cells)
    cell_chance, text_chance = _cell_chance(cells), _text_chance(texts, how)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=how.learning_rate, weight_decay=how.weight_decay
    )
    began, losses = time.monotonic(), []
    for step in range(1, how.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = how.learning_rate * _rate(step, how)
        drawn = rng.choice(len(cell_chance), how.cells, p=cell_chance)
        said = rng.choice(len(texts), how.texts, p=text_chance)
        words = [varied_text(texts[t].text, frames, drop=how.word_drop, rng=rng) for t in said]
        seen = torch.from_numpy(_seen(cells, drawn, how, rng))
        cell = model.cells(seen)
        text = model.texts(*token_rows(tokenizer, words, longest=LONGEST))
        scores = cell @ text.T * model.discriminator.temperature.exp()
        right = torch.from_numpy(fits[np.ix_(drawn, said)])
        loss = (pair_loss(scores, right) + pair_loss(scores.T, right.T)) / 2
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        with torch.no_grad():
            model.discriminator.temperature.clamp_(max=HIGHEST_TEMPERATURE)
        losses.append(float(loss.detach()))
        if step % how.look_every == 0:
            found = look(model.eval(), tokenizer, cells, "choice")
            model.train()
            typer.echo(
                f"step {step}/{how.steps}  loss {np.mean(losses[-how.look_every :]):.3f}  "
                f"choice: majority {found['majority']:.2f} precision {found['precision']:.2f}  "
                f"{time.monotonic() - began:.0f} s",
                err=True,
            )
    return model.eval(), tokenizer


def pair_loss(scores: Tensor, right: Tensor) -> Tensor:
    """Mean over rows of the cross-entropy towards all right columns alike, each scores [R, C]."""
    count = right.sum(1)
    logs = scores.log_softmax(1)
    rows = -(logs * right).sum(1) / count.clamp_min(1)
    return rows[count > 0].mean()


def look(
    model: JointModel, tokenizer: PreTrainedTokenizerFast, cells: EmbeddedCells, part: str
) -> dict[str, Any]:
    """Search the held-out cells for the queries of a part."""
    queries = read_queries(part)
    kept = cells.held_out
    found = cell_vectors(model, cells.whole[kept])
    scores = text_vectors(model, tokenizer, [query.text for query in queries]) @ found.T
    names = [
        f"{name} ({donor.disease})" if donor.disease != "normal" else name
        for name, donor, kept_ in zip(cells.cell_types, cells.donors, kept, strict=True)
        if kept_
    ]
    return summary(
        [
            judge(query, row, query.right(cells.cell_types, cells.donors)[kept], names)
            for query, row in zip(queries, scores, strict=True)
        ]
    )


def _rate(step: int, how: Training) -> float:
    """Share of the learning rate: a linear rise, then half a cosine."""
    if step <= how.warm_up:
        return step / how.warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - how.warm_up) / (how.steps - how.warm_up)))


def _cell_chance(cells: EmbeddedCells) -> NDArray[np.float64]:
    """Chance [N] of each cell; 0 for held-out ones, else all types of all files alike."""
    chance = np.zeros(len(cells.cell_types))
    groups = np.array([f"{s}/{t}" for s, t in zip(cells.set_of, cells.cell_types, strict=True)])
    for group in np.unique(groups[~cells.held_out]):
        members = ~cells.held_out & (groups == group)
        chance[members] = 1 / members.sum()
    return chance / chance.sum()


def _text_chance(texts: Sequence[TrainingText], how: Training) -> NDArray[np.float64]:
    """Chance [T] of each text: by kind, within a kind all targets alike."""
    chance = np.zeros(len(texts))
    for kind, part in zip(how.kinds, how.kind_chance, strict=True):
        members = [i for i, text in enumerate(texts) if text.kind == kind]
        targets = [(texts[i].types, texts[i].origin) for i in members]
        for i, target in zip(members, targets, strict=True):
            chance[i] = part / len(set(targets)) / targets.count(target)
    return chance / chance.sum()


def _seen(
    cells: EmbeddedCells, drawn: NDArray[np.int64], how: Training, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Embeddings [B, H] of drawn cells, some varied, with noise."""
    result = cells.whole[drawn].copy()
    change = rng.random(len(drawn)) < how.varied
    which = rng.integers(len(cells.varied), size=len(drawn))
    result[change] = cells.varied[which[change], drawn[change]]
    spread = cells.whole[~cells.held_out].std(axis=0) * how.cell_noise
    noise = rng.standard_normal(result.shape) * spread
    return (result + noise).astype(np.float32)


def save(folder: Path, model: JointModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Write the text tower's config and tokenizer, and all trained weights in half precision."""
    (folder / TEXT_MODEL).mkdir(parents=True, exist_ok=True)
    model.text_model.config.to_json_file(folder / TEXT_MODEL / "config.json", use_diff=False)
    tokenizer.backend_tokenizer.save(str(folder / TEXT_MODEL / "tokenizer.json"))
    half = {
        f"model.{name}": tensor.half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    save_file(half, folder / WEIGHTS)


def main(
    cell_files: Annotated[list[Path], typer.Argument(help="Labelled .h5ad files.")],
    gene_table: Annotated[Path, typer.Option(help="CELLxGENE gene table (csv.gz).")],
    ontology: Annotated[Path, typer.Option(help="Cell Ontology (json.zst).")],
    output: Annotated[Path, typer.Option("-o", "--output")] = HERE / "checkpoint",
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = Training.steps,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Train the text tower and the joint space, and save them."""
    torch.set_num_threads(threads)
    began = time.monotonic()
    how, sizes = Training(steps=steps), TowerSizes()
    cells = embed_labelled_cells(
        cell_files,
        gene_table,
        variations=how.variations,
        seed=how.cells_seed,
        report=lambda line: typer.echo(line, err=True),
    )
    texts, left_out = training_texts(ontology, cells)
    typer.echo(f"{len(texts)} texts; left out, as they are queries: {left_out}", err=True)
    model, tokenizer = train(cells, texts, sizes, how)
    save(output, model, tokenizer)
    record = {
        "cells": {"train": int((~cells.held_out).sum()), "look": int(cells.held_out.sum())},
        "texts": len(texts),
        "texts_left_out": left_out,
        "choice": look(model, tokenizer, cells, "choice"),
        "training": asdict(how),
        "sizes": asdict(sizes),
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    (output.parent / "training.json").write_text(
        json.dumps(record, indent=2) + "\n", encoding="utf-8", newline=""
    )
    typer.echo(f"saved {output} after {record['minutes']} minutes", err=True)


if __name__ == "__main__":
    typer.run(main)
