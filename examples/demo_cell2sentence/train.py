r"""Train the demo's Cell2Sentence model from scratch on sentences of labelled cells.

python -m c2t.examples.demo_cell2sentence.train CELLS.h5ad... --gene-table GENES.csv.gz
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from transformers import GPTNeoXForCausalLM, PreTrainedTokenizerFast

from c2t.examples.demo.captions import read_caption_table
from c2t.examples.demo.describing import macro_accuracy
from c2t.examples.demo.sampling import (
    Augmentation,
    CellPool,
    balanced_draw,
    cell_tokens,
    sampling_probability,
    varied_cell_tokens,
)
from c2t.examples.demo_cell2sentence.gene_vectors import GeneVectors, train_gene_vectors
from c2t.examples.demo_cell2sentence.model_parts import (
    Batch,
    CellTypeHead,
    Sizes,
    answers_of,
    build_model,
    losses_of,
    make_batch,
)
from c2t.examples.demo_cell2sentence.preparation import Preparation, cell_type_of, prepare
from c2t.examples.demo_cell2sentence.sentences import ANSWER_TOKENS, GENES

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Training:
    """Settings of the training."""

    steps: int = 320
    batch: int = 32
    learning_rate: float = 2e-3
    warm_up: int = 40
    weight_decay: float = 0.05
    lengths: tuple[int, ...] = (48, 96, GENES)  # most genes of a batch's sentences
    length_chance: tuple[float, ...] = (0.5, 0.3, 0.2)
    whole_part: float = 0.15  # last part of the steps, in which sentences have all their genes
    cell_type_weight: float = 0.5
    gene_weight: float = 0.1
    gene_places: int = 128  # at which a batch predicts the next gene
    # Share of each set in a batch: the small sets get enough to be learnt, blood gets most.
    shares: dict[str, float] = field(
        default_factory=lambda: {
            "pbmc3k_labelled_raw": 0.36,
            "kang18_lupus_6donors_raw": 0.33,
            "pbmc68k_reduced_700x765_raw": 0.17,
            "fetal_forebrain_2236x2000_raw": 0.10,
            "sc_celseq2_raw": 0.04,
        }
    )
    balance: float = 0.25  # see `sampling_probability`
    augmentation: Augmentation = field(default_factory=Augmentation)
    gene_vectors: GeneVectors = field(default_factory=GeneVectors)
    seed: int = 20_26
    threads: int = 1
    look_every: int = 80  # steps between looks at held-out cells and saved states
    look_at: int = 32  # held-out cells of each set


def train(
    ready: Preparation, sizes: Sizes, how: Training, *, state: Path, report: Callable[[str], None]
) -> GPTNeoXForCausalLM:
    """Train from scratch.

    Args:
        ready: Cells and tokens.
        sizes: Sizes of the model.
        how: Steps, rates and shares.
        state: File that the weights are saved to on the way, so that an interruption loses little.
        report: Called with a line now and then.

    Returns:
        The trained model, in evaluation mode, its weights rounded to float16.
    """
    torch.manual_seed(how.seed)
    torch.set_num_threads(how.threads)
    rng = np.random.default_rng(how.seed)
    generator = torch.Generator().manual_seed(how.seed)
    model = build_model(sizes, rows=len(ready.tokenizer), end=ready.tokenizer.eos_token_id).train()
    head = CellTypeHead(sizes.hidden_size, len(ready.names))
    parameters = [*model.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1], "weight_decay": how.weight_decay},
            {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        ],
        lr=how.learning_rate,
        betas=(0.9, 0.98),
    )
    shares = [how.shares[labelled.name] for labelled in ready.sets]
    chance = sampling_probability(ready.pool, shares, balance=how.balance)

    def draw(number: int) -> tuple[list[np.ndarray], np.ndarray]:
        cells = balanced_draw(chance, number, rng)
        ranked = varied_cells(ready.pool, cells, how, rng, longest=GENES)
        return [*map(ready.phrases.sentence, ranked)], ready.pool.cell_type[cells]

    right = train_gene_vectors(model.gpt_neox.embed_in, len(ready.names), draw, how.gene_vectors)
    report(f"gene vectors: a linear layer names {right:.1%} of varied training cells")
    before = torch.from_numpy(ready.phrases.before)
    queue: list[Batch] = []
    began, recent = time.monotonic(), []
    for step in range(1, how.steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, how)
        if not queue:
            whole = step > how.steps * (1 - how.whole_part)
            queue = draw_batches(ready, chance, how, rng, whole=whole)
        losses = losses_of(model, head, before, queue.pop(), generator, how.gene_places)
        loss = losses[0] + how.cell_type_weight * losses[1] + how.gene_weight * losses[2]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        recent.append([value.item() for value in losses])
        if step % 25 == 0:
            mean, speed = np.mean(recent, axis=0), step / (time.monotonic() - began)
            recent.clear()
            report(
                f"step {step}/{how.steps}  answer {mean[0]:.3f}  cell type {mean[1]:.3f}  "
                f"next gene {mean[2]:.2f}  {(how.steps - step) / speed / 60:.1f} min left"
            )
        if step % how.look_every == 0:
            torch.save(model.state_dict(), state)
            report(f"held out: {_look(ready, model, how)}")
    # What is stored in half precision then says the same as what was trained.
    return model.half().float().eval()


def learning_rate(step: int, how: Training) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < how.warm_up:
        return how.learning_rate * step / how.warm_up
    done = (step - how.warm_up) / (how.steps - how.warm_up)
    return how.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def draw_batches(
    ready: Preparation, chance: np.ndarray, how: Training, rng: np.random.Generator, *, whole: bool
) -> list[Batch]:
    """Draw cells for some batches, varied, and put cells of similar length together."""
    pool, phrases = ready.pool, ready.phrases
    batches = []
    lengths = [GENES] * 4 if whole else rng.choice(how.lengths, size=4, p=how.length_chance)
    for longest in lengths:
        cells = balanced_draw(chance, 4 * how.batch, rng)
        ranked = varied_cells(pool, cells, how, rng, longest=int(longest))
        sentences = [phrases.sentence(tokens) for tokens in ranked]
        order = np.argsort([len(tokens) for tokens in sentences], kind="stable")
        for start in range(0, len(order), how.batch):
            part = order[start : start + how.batch]
            types = pool.cell_type[cells[part]]
            batches.append(
                make_batch(
                    [sentences[i] for i in part],
                    phrases.after,
                    [phrases.answers[t] for t in types],
                    types,
                )
            )
    return [batches[i] for i in rng.permutation(len(batches))]


def varied_cells(
    pool: CellPool, cells: np.ndarray, how: Training, rng: np.random.Generator, *, longest: int
) -> list[np.ndarray]:
    """Gene tokens of cells, each varied anew."""
    return [varied_cell_tokens(pool, c, how.augmentation, rng, longest=longest) for c in cells]


def _look(ready: Preparation, model: GPTNeoXForCausalLM, how: Training) -> str:
    """Macro accuracy of the answers on a few held-out cells of each set."""
    model.eval()
    results = []
    for index, labelled in enumerate(ready.sets):
        cells = np.flatnonzero((ready.pool.set_of == index) & ready.pool.held_out)[: how.look_at]
        prompts = [ready.phrases.prompt(cell_tokens(ready.pool, c, longest=GENES)) for c in cells]
        with torch.autocast("cpu", torch.bfloat16):
            said = answers_of(model, prompts, longest=ANSWER_TOKENS)
        types = [cell_type_of(ready.tokenizer.decode(ids)) for ids in said]
        true = [ready.names[ready.pool.cell_type[cell]] for cell in cells]
        results.append(f"{labelled.name.split('_')[0]} {macro_accuracy(true, types):.1%}")
    model.train()
    return ", ".join(results)


def save(
    output: Path,
    model: GPTNeoXForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    names: Sequence[str],
) -> None:
    """Save a model as Hugging Face does, in half precision, with its answers and their ids.

    Args:
        output: The folder.
        model: The trained model; its weights become float16.
        tokenizer: Its tokenizer.
        names: Of all cell types that it was trained on.
    """
    model.generation_config.max_new_tokens = ANSWER_TOKENS
    model.half().save_pretrained(output)
    tokenizer.save_pretrained(output)
    (output / "phrases.txt").write_text(
        "".join(f"{name}.\n" for name in names), encoding="utf-8", newline=""
    )
    known = read_caption_table().terms["cell_type"]
    terms = {"cell_type": {name: known[name] for name in names}}
    (output / "terms.json").write_text(
        json.dumps(terms, indent=2) + "\n", encoding="utf-8", newline=""
    )


def main(
    cell_files: Annotated[list[Path], typer.Argument(help="Labelled .h5ad files.")],
    gene_table: Annotated[Path, typer.Option(help="CELLxGENE gene table (csv.gz).")],
    output: Annotated[Path, typer.Option("-o", "--output")] = HERE / "checkpoint",
    steps: Annotated[int, typer.Option(help="Optimiser steps.")] = Training.steps,
) -> None:
    """Train the model and save it as Hugging Face does, in half precision."""
    began = time.monotonic()

    def report(line: str) -> None:
        typer.echo(line, err=True)

    sizes, how = Sizes(), Training(steps=steps)
    ready = prepare(cell_files, gene_table, sizes, report)
    output.mkdir(parents=True, exist_ok=True)
    state = output.with_name(output.name + ".partial.pt")
    model = train(ready, sizes, how, state=state, report=report)
    save(output, model, ready.tokenizer, ready.names)
    record = {"training": asdict(how), "sizes": asdict(sizes)}
    record["minutes"] = round((time.monotonic() - began) / 60, 1)
    (output.parent / "training.json").write_text(
        json.dumps(record, indent=2) + "\n", encoding="utf-8", newline=""
    )
    state.unlink(missing_ok=True)
    report(f"saved {output} after {record['minutes']} minutes")


if __name__ == "__main__":
    typer.run(main)
