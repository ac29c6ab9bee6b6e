"""The definition of the gene embedding is what PyTorch computes in BERT's embedding layer."""

import numpy as np
import pytest
from tolerance import FLOAT32, worst_difference

from c2t.kernels.gene_embedding.cpu import embed_genes
from c2t.kernels.gene_embedding.definition import embed_genes_reference
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables

VOCABULARY, POSITIONS = 500, 128


@pytest.mark.parametrize("hidden_size", [64, 768])
def test_agrees_with_bert_embeddings(hidden_size):
    torch = pytest.importorskip("torch")
    bert = pytest.importorskip("transformers.models.bert.modeling_bert")
    config = bert.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden_size,
        max_position_embeddings=POSITIONS,
        num_attention_heads=1,
        layer_norm_eps=1e-12,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    layer = bert.BertEmbeddings(config).eval()
    torch.nn.init.normal_(layer.LayerNorm.weight)
    torch.nn.init.normal_(layer.LayerNorm.bias)

    def table(parameter):
        return np.ascontiguousarray(parameter.detach().numpy())

    tables = GeneEmbeddingTables(
        word=table(layer.word_embeddings.weight),
        position=table(layer.position_embeddings.weight),
        token_type=table(layer.token_type_embeddings.weight)[0].copy(),
        gamma=table(layer.LayerNorm.weight),
        beta=table(layer.LayerNorm.bias),
        epsilon=config.layer_norm_eps,
    )
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (2, POSITIONS)).astype(np.int32)
    lengths = np.full(2, POSITIONS, np.int32)
    with torch.inference_mode():
        expected = layer(torch.from_numpy(tokens.astype(np.int64))).numpy()
    for embed in (embed_genes, embed_genes_reference):
        out = embed(tokens, lengths, tables, np.empty((2, POSITIONS, hidden_size), np.float32))
        assert worst_difference(out, expected) <= FLOAT32
