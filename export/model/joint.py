"""A joint space of cells and texts in PyTorch: the definition that the graphs are checked against.

One decision: as for `c2t.export.model.model`, it is defined for sequences without padding.

Source: CellWhisperer (Schaefer et al., Nat. Biotechnol. 2025): Geneformer's second to last layer,
mean over the genes, `discriminator.img_block`; BioBERT's pooler, `discriminator.text_block`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import BertModel, PreTrainedModel

from c2t.export.model.model import layers_needed
from c2t.export.model.projector import Projector


class JointBlock(nn.Module):
    """Leads vectors [B, W] of one tower into the joint space: [B, J] of length 1.

    The names of its parameters are those of the published checkpoint.
    """

    def __init__(self, input_width: int, size: int) -> None:
        super().__init__()
        self.feature_nonlinear = nn.Sequential(
            nn.Linear(input_width, size, bias=False),
            nn.BatchNorm1d(size),
            nn.ReLU(),
            nn.Linear(size, size),
        )
        # How many batches made its statistics: of use in training only.
        self.feature_nonlinear[1].num_batches_tracked = None
        self.feature_shortcut = nn.Linear(input_width, size)
        self.feature_block_ln = nn.LayerNorm(size)

    def forward(self, vectors: Tensor) -> Tensor:
        """Vectors [B, W] in the joint space, [B, J]."""
        summed = self.feature_nonlinear(vectors) + self.feature_shortcut(vectors)
        return nn.functional.normalize(self.feature_block_ln(summed), dim=-1)


class TextTower(nn.Module):
    """A BERT, its pooler and its block: texts into the joint space.

    Args:
        bert: With its pooler.
        block: From its width.
    """

    def __init__(self, bert: BertModel, block: JointBlock) -> None:
        super().__init__()
        self.bert = bert
        self.block = block

    def forward(self, text_ids: Tensor) -> Tensor:
        """Vectors [B, J] of texts [B, T] int64 of one length, [CLS] and [SEP] included."""
        pooled = self.bert(
            input_ids=text_ids, attention_mask=torch.ones_like(text_ids)
        ).pooler_output
        vectors: Tensor = self.block(pooled)
        return vectors


class JointModel(nn.Module):
    """Cells and texts in one space.

    Args:
        encoder: Of cells; only its embeddings and the layers that `emb_layer` needs are used.
        projector: Of the kind `joint`.
        text: The text tower; its space is the projector's.
        temperature: A score is exp(temperature) times the dot product.
        emb_layer: Which hidden state the projector sees, see `c2t.export.model.model`.

    Attributes:
        layers_run: Encoder layers that are needed.

    Raises:
        CheckpointError: There is no such hidden state.
    """

    def __init__(
        self,
        encoder: PreTrainedModel,
        projector: Projector,
        text: TextTower,
        *,
        temperature: float,
        emb_layer: int = -1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = projector
        self.text = text
        self.temperature = temperature
        self.emb_layer = emb_layer
        self.layers_run = layers_needed(int(encoder.config.num_hidden_layers), emb_layer)

    @property
    def rows(self) -> int | None:
        """Encoder rows that the projector reads: 1 for `<cls>`, None (all) for the mean."""
        return 1 if self.projector.config.pooling == "cls" else None

    def encode(self, gene_tokens: Tensor) -> Tensor:
        """The hidden state [B, k, H] of gene tokens [B, S], cells of one length."""
        states = self.encoder.base_model(
            input_ids=gene_tokens,
            attention_mask=torch.ones_like(gene_tokens),
            output_hidden_states=True,
        ).hidden_states
        hidden: Tensor = states[self.layers_run][:, : self.rows]
        return hidden

    def embed_cells(self, gene_tokens: Tensor) -> Tensor:
        """Vectors [B, J] of cells [B, S] of one length, special tokens included."""
        vectors: Tensor = self.projector(self.encode(gene_tokens))[:, 0]
        return vectors

    def embed_texts(self, text_ids: Tensor) -> Tensor:
        """Vectors [B, J] of texts [B, T] of one length."""
        vectors: Tensor = self.text(text_ids)
        return vectors

    def scores(self, cells: Tensor, texts: Tensor) -> Tensor:
        """Scores [B, N] of vectors of cells [B, J] and of texts [N, J]."""
        return torch.exp(torch.tensor(self.temperature)) * (cells @ texts.T)
