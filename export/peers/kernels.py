"""PyTorch's eager BertEmbeddings, beside which the benchmark times the gene embedding kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.models.bert.modeling_bert import BertConfig, BertEmbeddings

from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables


def torch_embedder(
    tables: GeneEmbeddingTables, threads: int
) -> Callable[[NDArray[np.int32]], NDArray[np.float32]]:
    """The layer on the tables' weights.

    Args:
        tables: float32 tables.
        threads: PyTorch's threads, of the whole process.

    Returns:
        A function from gene tokens [1, S] to embeddings [1, S, H].
    """
    torch.set_num_threads(threads)
    config = BertConfig(
        vocab_size=tables.vocabulary_size,
        hidden_size=tables.hidden_size,
        max_position_embeddings=tables.positions,
        num_attention_heads=1,
        layer_norm_eps=tables.epsilon,
    )
    layer = BertEmbeddings(config).eval()
    with torch.no_grad():
        layer.word_embeddings.weight.copy_(torch.from_numpy(tables.word))
        layer.position_embeddings.weight.copy_(torch.from_numpy(tables.position))
        layer.token_type_embeddings.weight[0].copy_(torch.from_numpy(tables.token_type))
        layer.LayerNorm.weight.copy_(torch.from_numpy(tables.gamma))
        layer.LayerNorm.bias.copy_(torch.from_numpy(tables.beta))

    def embed(tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            y: NDArray[np.float32] = layer(torch.from_numpy(tokens)).numpy()
        return y

    return embed
