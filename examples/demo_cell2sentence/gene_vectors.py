"""First part of the training: vectors of genes that a linear layer can read the cell type from.

One decision: the token table is trained alone before the whole model is. A step of this costs a
hundredth of the model's, and a model that starts with such a table learns in hundreds of steps
what takes thousands from a random one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name


@dataclass(frozen=True, kw_only=True)
class GeneVectors:
    """Settings of this part."""

    steps: int = 300
    batch: int = 256
    learning_rate: float = 3e-3


def train_gene_vectors(
    table: nn.Embedding,
    types: int,
    draw: Callable[[int], tuple[Sequence[NDArray[np.int64]], NDArray[np.int64]]],
    how: GeneVectors,
) -> float:
    """Train the token table in place.

    The linear layer reads a weighted mean of the normalised rows, as the first layer's attention
    can: the model normalises them, too.

    Args:
        table: The token table.
        types: How many cell types there are.
        draw: Gives the gene tokens of so many cells, highest count first, and their types.
        how: Steps and rates.

    Returns:
        The accuracy of the linear layer on the cells of the last fifty steps.
    """
    head = nn.Linear(table.embedding_dim, types)
    optimiser = torch.optim.AdamW(
        [table.weight, *head.parameters()], lr=how.learning_rate, weight_decay=0.01
    )
    right: list[float] = []
    for step in range(how.steps):
        for group in optimiser.param_groups:
            group["lr"] = how.learning_rate * (1 - step / how.steps)
        sentences, true = draw(how.batch)
        places = [np.arange(len(tokens)) for tokens in sentences]
        weight = np.concatenate([_weight(place) for place in places])
        bags = F.embedding_bag(
            torch.from_numpy(np.concatenate(sentences)),
            F.layer_norm(table.weight, table.weight.shape[1:]),
            torch.from_numpy(np.cumsum([0, *map(len, sentences[:-1])])),
            mode="sum",
            per_sample_weights=torch.from_numpy(weight),
        )
        logits = head(bags)
        optimiser.zero_grad()
        F.cross_entropy(logits, torch.from_numpy(true)).backward()
        optimiser.step()
        right.append(float((logits.argmax(dim=1).numpy() == true).mean()))
    return float(np.mean(right[-50:]))


def _weight(place: NDArray[np.int64]) -> NDArray[np.float32]:
    """Weights of a sentence's genes, which sum to 1: higher ranks count more."""
    weight = 1 / np.sqrt(place + 4.0)
    return (weight / weight.sum()).astype(np.float32)
