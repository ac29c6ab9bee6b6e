r"""Train the demo checkpoint: encoder, projector and decoder together, on captions of cells.

One decision: everything is trained at once, from scratch, by three losses. One is the caption's,
one that of masked genes, which trains the encoder with its last layer as a masked language model.
The third is a linear layer's that reads the cell type from the encoder's mean; it only speeds up
training, and is not saved.

    python -m c2t.examples.demo.train CELLS.h5ad... --gene-sets SETS.gmt \
        --gene-table GENES.csv.gz
"""

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch.nn import functional as F  # noqa: N812 - the usual name

from c2t.examples.demo.describing import Speaker, describe, macro_accuracy
from c2t.examples.demo.describing import field as caption_field
from c2t.examples.demo.model_parts import (
    Batch,
    CellTypeHead,
    Sizes,
    build_model,
    caption_loss,
    encode_padded,
    finish_encoding,
    mask_genes,
    masked_gene_loss,
    pad_batch,
)
from c2t.examples.demo.preparation import Preparation, Sources, prepare
from c2t.examples.demo.sampling import (
    Augmentation,
    balanced_draw,
    cell_tokens,
    sampling_probability,
    varied_cell_tokens,
)
from c2t.export.checkpoint.folder import save_checkpoint
from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.export.model.model import Cell2TextModel
from c2t.runtime.bundle.manifest import Prompt

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the training."""

    steps: int = 1500
    batch: int = 32
    learning_rate: float = 1.5e-3
    warm_up: int = 100
    weight_decay: float = 0.05
    lengths: tuple[int, ...] = (192, 320, 512)  # most genes of a batch's cells
    length_chance: tuple[float, ...] = (0.5, 0.3, 0.2)
    mask_rate: float = 0.15  # of genes, in every other batch until the last part
    unmasked_part: float = 0.15  # last part of the steps, in which no gene is masked
    masked_genes: int = 256  # most genes of a batch in the masked-gene loss
    masked_gene_weight: float = 0.05
    cell_type_weight: float = 0.5
    # Share of each set in a batch: the small sets get enough to be learnt, blood gets most.
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "pbmc3k_labelled_raw": 0.26,
            "kang18_lupus_6donors_raw": 0.37,
            "pbmc68k_reduced_700x765_raw": 0.17,
            "fetal_forebrain_2236x2000_raw": 0.10,
            "sc_celseq2_raw": 0.04,
            "glioblastoma_5000x300_raw": 0.06,
        }
    )
    balance: float = 0.25  # see `sampling_probability`
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 20_26
    threads: int = 2
    look_every: int = 250  # steps between looks at held-out cells and saved states
    look_at: int = 120  # held-out cells of each set


def train(ready: Preparation, sizes: Sizes, how: Training, *, state: Path) -> Cell2TextModel:
    """Train from scratch.

    Args:
        ready: Cells, captions, tokenizer.
        sizes: Sizes of the model.
        how: Steps, rates and shares.
        state: File that the weights are saved to on the way, so that an interruption loses little.

    Returns:
        The trained model, in evaluation mode.
    """
    torch.manual_seed(how.seed)
    torch.set_num_threads(how.threads)
    rng = np.random.default_rng(how.seed)
    generator = torch.Generator().manual_seed(how.seed)
    model = build_model(
        sizes,
        gene_rows=int(ready.genes.token.max()) + 1,
        text_rows=len(ready.tokenizer),
        eos_id=ready.tokenizer.eos_token_id,
    ).train()
    head = CellTypeHead(sizes.encoder_hidden_size, len(ready.cell_type_names))
    prompt = render_prompt(ready.tokenizer, ready.settings)
    optimiser = _optimiser([model, head], how)
    chance = sampling_probability(
        ready.pool, [how.shares.get(s.name, 0.1) for s in ready.sets], balance=how.balance
    )
    queue: list[Batch] = []
    began, recent = time.monotonic(), []
    for step in range(1, how.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, how)
        if not queue:
            queue = draw_batches(ready, chance, how, rng)
        batch = queue.pop()
        whole = step % 2 == 0 or step > how.steps * (1 - how.unmasked_part)
        seen, chosen = mask_genes(batch, 0.0 if whole else how.mask_rate, generator)
        losses = losses_of(model, head, batch, seen, chosen, prompt, how.masked_genes)
        caption, cell_type, masked = losses
        loss = caption + how.cell_type_weight * cell_type + how.masked_gene_weight * masked
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        recent.append([float(value) for value in losses])
        if step % 50 == 0:
            speed = step * how.batch / (time.monotonic() - began)
            mean = np.mean(recent, axis=0)
            recent.clear()
            left = (how.steps - step) * how.batch / speed
            typer.echo(
                f"step {step}/{how.steps}  caption {mean[0]:.3f}  cell type {mean[1]:.3f}  "
                f"masked genes {mean[2]:.2f}  {speed:.0f} cells/s  {left / 60:.1f} min left",
                err=True,
            )
        if step % how.look_every == 0:
            torch.save(model.state_dict(), state)
            typer.echo(f"held out: {_look(ready, model, how)}", err=True)
    return model.eval()


def losses_of(
    model: Cell2TextModel,
    head: CellTypeHead,
    batch: Batch,
    seen: torch.Tensor,
    chosen: torch.Tensor,
    prompt: Prompt,
    most_masked: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The losses of a batch: caption, cell type, masked genes (0 where none is masked).

    Args:
        head: Reads the cell type.
        batch: Padded cells.
        seen: Gene tokens [B, S] with masks.
        chosen: Where they are masked, [B, S].
        prompt: The prompt around the cell vectors.
        most_masked: Most masked genes that count.
    """
    # Matrix products in bfloat16 are two to four times faster on current server CPUs; the weights
    # stay float32.
    with torch.autocast("cpu", torch.bfloat16):
        hidden = encode_padded(model, seen, batch.gene_mask)
        caption = caption_loss(model, hidden, batch, prompt)
        cell_type = F.cross_entropy(head(hidden, batch.gene_mask).float(), batch.cell_type)
        masked = caption.new_zeros(())
        if chosen.any():
            last = finish_encoding(model, hidden, batch.gene_mask)
            masked = masked_gene_loss(model, last, batch, chosen, most_masked)
    return caption, cell_type, masked


def learning_rate(step: int, how: Training) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < how.warm_up:
        return how.learning_rate * step / how.warm_up
    done = (step - how.warm_up) / (how.steps - how.warm_up)
    return how.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def draw_batches(
    ready: Preparation, chance: np.ndarray, how: Training, rng: np.random.Generator
) -> list[Batch]:
    """Draw cells for some batches, varied, and put cells of similar length together."""
    pool = ready.pool
    batches = []
    for longest in rng.choice(how.lengths, size=4, p=how.length_chance):
        cells = balanced_draw(chance, 8 * how.batch, rng)
        tokens = [
            varied_cell_tokens(pool, cell, how.augmentation, rng, longest=int(longest))
            for cell in cells
        ]
        order = np.argsort([len(t) for t in tokens], kind="stable")
        for start in range(0, len(order), how.batch):
            part = order[start : start + how.batch]
            batches.append(
                pad_batch(
                    [tokens[i] for i in part],
                    [pool.caption[c] for c in cells[part]],
                    [pool.weight[c] for c in cells[part]],
                    pool.cell_type[cells[part]],
                )
            )
    return [batches[i] for i in rng.permutation(len(batches))]


def _optimiser(parts: list[torch.nn.Module], how: Training) -> torch.optim.AdamW:
    """AdamW; biases and normalisation are not decayed."""
    parameters = [p for part in parts for p in part.parameters()]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": how.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=how.learning_rate, betas=(0.9, 0.98))


def _look(ready: Preparation, model: Cell2TextModel, how: Training) -> str:
    """Macro accuracy of the cell type on a few held-out cells of each set."""
    model.eval()
    speaker = Speaker(
        model=model,
        tokenizer=ready.tokenizer,
        prompt=render_prompt(ready.tokenizer, ready.settings),
        generation=ready.settings.generation,
    )
    size = model.encoder.config.max_position_embeddings
    results = []
    for index, labelled in enumerate(ready.sets):
        cells = np.flatnonzero((ready.pool.set_of == index) & ready.pool.held_out)[: how.look_at]
        tokens = [cell_tokens(ready.pool, cell, longest=size) for cell in cells]
        with torch.autocast("cpu", torch.bfloat16):
            texts = describe(speaker, tokens, max_new_tokens=16)
        true = [ready.cell_type_names[ready.pool.cell_type[cell]] for cell in cells]
        score = macro_accuracy(true, caption_field(texts, "cell_type"))
        results.append(f"{labelled.name.split('_')[0]} {score:.1%}")
    model.train()
    return ", ".join(results)


def training_phrases(ready: Preparation, *, count: int = 1500, seed: int = 1) -> list[str]:
    """Captions of some training cells, for the phrase table; frequent ones may come twice."""
    seen = np.flatnonzero(~ready.pool.held_out)
    chosen = np.random.default_rng(seed).choice(seen, min(count, len(seen)), replace=False)
    return [ready.captions[cell] for cell in chosen]


def main(
    cell_files: Annotated[list[Path], typer.Argument(help="Labelled .h5ad files.")],
    gene_sets: Annotated[Path, typer.Option(help="Hallmark gene sets (GMT, symbols).")],
    gene_table: Annotated[Path, typer.Option(help="CELLxGENE gene table (csv.gz).")],
    output: Annotated[Path, typer.Option("-o", "--output")] = HERE / "checkpoint",
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = Training.steps,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = Training.threads,
) -> None:
    """Train the demo checkpoint and save it as half-precision weights."""
    began = time.monotonic()
    sizes = Sizes()
    ready = prepare(
        Sources(cell_files=tuple(cell_files), gene_sets=gene_sets, gene_table=gene_table),
        text_vocabulary=sizes.text_vocabulary,
        report=lambda line: typer.echo(line, err=True),
    )
    how = Training(steps=steps, threads=threads)
    output.parent.mkdir(parents=True, exist_ok=True)
    state = output.with_name(output.name + ".partial.pt")
    model = train(ready, sizes, how, state=state)
    save_checkpoint(
        output,
        model=model,
        genes=ready.genes,
        tokenizer=ready.tokenizer,
        settings=ready.settings,
        phrases=training_phrases(ready),
        terms=ready.table.terms,
        half=True,
        force=True,
    )
    record = {"training": asdict(how), "sizes": asdict(sizes)}
    record["minutes"] = round((time.monotonic() - began) / 60, 1)
    (output.parent / "training.json").write_text(
        json.dumps(record, indent=2) + "\n", encoding="utf-8", newline=""
    )
    state.unlink(missing_ok=True)
    typer.echo(f"saved {output} after {record['minutes']} minutes", err=True)


if __name__ == "__main__":
    typer.run(main)
