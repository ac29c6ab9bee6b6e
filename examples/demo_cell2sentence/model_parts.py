"""A small GPT-NeoX, and its losses over padded batches of prompts with their answers.

One decision: besides the answer, two things are learnt that a reader of the sentence needs. A
linear layer reads the cell type from the mean over the genes (it only speeds up training, and is
not saved), and at some places the next gene is predicted, as the published models do everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from transformers import DynamicCache, GPTNeoXConfig, GPTNeoXForCausalLM


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the model; all else is as in Pythia."""

    hidden_size: int = 192
    layers: int = 3
    heads: int = 3  # of 64, as in Pythia
    intermediate_size: int = 768
    vocabulary: int = 4096  # upper limit for the tokenizer
    positions: int = 1024


def build_model(sizes: Sizes, *, rows: int, end: int) -> GPTNeoXForCausalLM:
    """A model with fresh weights.

    Args:
        sizes: Hidden sizes, layers and heads.
        rows: Text tokens.
        end: The token that ends a text.
    """
    config = GPTNeoXConfig(
        vocab_size=rows,
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate_size,
        max_position_embeddings=sizes.positions,
        hidden_act="gelu",
        rotary_pct=0.25,
        use_parallel_residual=True,
        tie_word_embeddings=False,
        bos_token_id=end,
        eos_token_id=end,
    )
    # On a CPU, plain attention trains faster than PyTorch's fused one.
    return GPTNeoXForCausalLM._from_config(config, attn_implementation="eager")


class CellTypeHead(nn.Module):
    """Reads the cell type from the mean of the hidden states over the genes; training only."""

    def __init__(self, hidden_size: int, types: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, types)

    def forward(self, hidden: Tensor, genes: Tensor) -> Tensor:
        """Logits [B, types] from hidden states [B, T, D] and the mask [B, T] of gene tokens."""
        mask = genes[..., None].to(hidden.dtype)
        mean: Tensor = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        return self.linear(mean)  # type: ignore[no-any-return]


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Padded prompts with their answers; the words before the first gene are left out.

    Attributes:
        tokens: [B, T], padded behind; a causal model never sees padding before a text ends.
        answer: [B, T] True where the next token is one of the answer.
        genes: [B, T] True at the tokens of genes.
        cell_type: [B].
    """

    tokens: Tensor
    answer: Tensor
    genes: Tensor
    cell_type: Tensor


def make_batch(
    sentences: Sequence[NDArray[np.int64]],
    after: NDArray[np.int64],
    answers: Sequence[NDArray[np.int64]],
    cell_type: NDArray[np.int64],
) -> Batch:
    """Pad sentences with what follows them.

    Args:
        sentences: Token ids of each cell's genes.
        after: Token ids of the prompt behind them.
        answers: Token ids of each answer.
        cell_type: Index of each cell's type.
    """
    longest = max(len(g) + len(a) for g, a in zip(sentences, answers, strict=True)) + len(after)
    tokens = np.zeros((len(sentences), longest), dtype=np.int64)
    answer, genes = (np.zeros(tokens.shape, dtype=bool) for _ in range(2))
    for row, (sentence, said) in enumerate(zip(sentences, answers, strict=True)):
        begin = len(sentence) + len(after)
        end = begin + len(said)
        tokens[row, :end] = np.concatenate([sentence, after, said])
        answer[row, begin - 1 : end - 1] = True
        genes[row, : len(sentence)] = True
    return Batch(
        tokens=torch.from_numpy(tokens),
        answer=torch.from_numpy(answer),
        genes=torch.from_numpy(genes),
        cell_type=torch.from_numpy(cell_type),
    )


def read_prompts(model: GPTNeoXForCausalLM, before: Tensor, tokens: Tensor) -> Tensor:
    """Hidden states [B, T, D] of tokens [B, T] that follow the same words [P] in every row.

    The words are read once for all rows, which saves a quarter of the work.
    """
    cache: DynamicCache = model.gpt_neox(before[None], use_cache=True).past_key_values
    cache.batch_repeat_interleave(len(tokens))
    hidden: Tensor = model.gpt_neox(tokens, past_key_values=cache).last_hidden_state
    return hidden


def losses_of(
    model: GPTNeoXForCausalLM,
    head: CellTypeHead,
    before: Tensor,
    batch: Batch,
    generator: torch.Generator,
    places: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses a cell: of the answer (summed over its tokens), of the cell type, of the next gene.

    Args:
        model: The model.
        head: Reads the cell type.
        before: Token ids [P] of the prompt before the first gene.
        batch: Prompts with answers.
        generator: Chooses the places.
        places: At how many genes of the batch the next one is predicted.
    """
    # Matrix products in bfloat16 are two to four times faster on current server CPUs; the weights
    # stay float32.
    with torch.autocast("cpu", torch.bfloat16):
        hidden = read_prompts(model, before, batch.tokens)
        followed = batch.genes[:, :-1] & batch.genes[:, 1:]
        chosen = followed.nonzero()
        chosen = chosen[torch.randperm(len(chosen), generator=generator)[:places]]
        spoken = batch.answer.nonzero()
        rows, columns = torch.cat([spoken, chosen]).T
        logits = model.embed_out(hidden[rows, columns]).float()
        each = F.cross_entropy(logits, batch.tokens[rows, columns + 1], reduction="none")
        answer = each[: len(spoken)].sum() / len(batch.tokens)
        gene = each[len(spoken) :].mean()
        cell_type = F.cross_entropy(head(hidden, batch.genes).float(), batch.cell_type)
    return answer, cell_type, gene


@torch.no_grad()
def answers_of(
    model: GPTNeoXForCausalLM,
    prompts: Sequence[NDArray[np.int64]],
    *,
    longest: int,
    batch: int = 32,
) -> list[list[int]]:
    """Greedy answers, without the token that ends them.

    Prompts are padded on the left and masked, so that each gets the answer that it gets alone.

    Args:
        model: The model.
        prompts: Token ids of each prompt.
        longest: Most tokens of an answer.
        batch: Prompts at a time.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    said: list[list[int]] = [[] for _ in prompts]
    end = model.config.eos_token_id
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        width = max(len(prompts[i]) for i in chosen)
        tokens = np.full((len(chosen), width), end, dtype=np.int64)
        mask = np.zeros_like(tokens)
        for row, i in enumerate(chosen):
            tokens[row, width - len(prompts[i]) :] = prompts[i]
            mask[row, width - len(prompts[i]) :] = 1
        written = model.generate(
            torch.from_numpy(tokens),
            attention_mask=torch.from_numpy(mask),
            max_new_tokens=longest,
            do_sample=False,
            pad_token_id=end,
        )[:, width:].tolist()
        for i, ids in zip(chosen, written, strict=True):
            said[i] = ids[: ids.index(end)] if end in ids else ids
    return said
