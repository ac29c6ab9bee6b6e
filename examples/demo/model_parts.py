"""The demo's model, and its forward pass over padded batches for training.

One decision: sizes are the smallest at which the held-out targets were met, so that checkpoint,
export and demo stay a matter of seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from transformers import BertConfig, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from c2t.examples.demo.gene_table import MASK_TOKEN, PAD_TOKEN
from c2t.export.model.model import Cell2TextModel
from c2t.export.model.projector import ProjectorConfig
from c2t.export.projectors.families import build_projector
from c2t.runtime.bundle.manifest import Prompt


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of the model."""

    input_size: int = 512
    encoder_hidden_size: int = 128
    encoder_layers: int = 3  # the last one serves the masked-gene objective only
    encoder_heads: int = 4
    encoder_intermediate_size: int = 256
    top_k: int = 48
    projector_intermediate_size: int = 256
    decoder_hidden_size: int = 128
    decoder_layers: int = 4
    decoder_heads: int = 4
    decoder_kv_heads: int = 2
    head_size: int = 32
    decoder_intermediate_size: int = 320
    text_vocabulary: int = 1536  # upper limit for the tokenizer
    text_positions: int = 512


def build_model(sizes: Sizes, *, gene_rows: int, text_rows: int, eos_id: int) -> Cell2TextModel:
    """A model with fresh weights.

    Args:
        sizes: Hidden sizes, layers and heads.
        gene_rows: Rows of the gene word table, special tokens included.
        text_rows: Rows of the text token table.
        eos_id: Text token that ends a caption.
    """
    encoder = BertForMaskedLM(
        BertConfig(
            vocab_size=gene_rows,
            hidden_size=sizes.encoder_hidden_size,
            num_hidden_layers=sizes.encoder_layers,
            num_attention_heads=sizes.encoder_heads,
            intermediate_size=sizes.encoder_intermediate_size,
            hidden_act="relu",
            hidden_dropout_prob=0.1,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=sizes.input_size,
            type_vocab_size=2,
            pad_token_id=PAD_TOKEN,
        )
    )
    projector = build_projector(
        ProjectorConfig(
            kind="mlp",
            input_width=sizes.encoder_hidden_size,
            hidden=sizes.projector_intermediate_size,
            output_width=sizes.decoder_hidden_size,
        )
    )
    decoder = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=text_rows,
            hidden_size=sizes.decoder_hidden_size,
            intermediate_size=sizes.decoder_intermediate_size,
            num_hidden_layers=sizes.decoder_layers,
            num_attention_heads=sizes.decoder_heads,
            num_key_value_heads=sizes.decoder_kv_heads,
            head_dim=sizes.head_size,
            max_position_embeddings=sizes.text_positions,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=eos_id,
        )
    )
    _smooth_positions(encoder)
    return Cell2TextModel(encoder, projector, decoder, emb_layer=-1, top_k=sizes.top_k)


def _smooth_positions(encoder: BertForMaskedLM) -> None:
    """Set the table of positions to sines and cosines, so that neighbouring ranks start alike."""
    table = encoder.bert.embeddings.position_embeddings.weight
    rows, size = table.shape
    rank = torch.arange(rows, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, size, 2) * (-np.log(10_000.0) / size))
    with torch.no_grad():
        table[:, 0::2] = 0.02 * torch.sin(rank * rate)
        table[:, 1::2] = 0.02 * torch.cos(rank * rate)


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Padded training cells.

    Attributes:
        genes: [B, S] gene tokens, padded on the right.
        gene_mask: [B, S] 1 for genes.
        text: [B, C] caption tokens, padded on the right.
        text_weight: [B, C] loss weights, 0 for padding.
        cell_type: [B] class of the auxiliary loss.
    """

    genes: Tensor
    gene_mask: Tensor
    text: Tensor
    text_weight: Tensor
    cell_type: Tensor


def pad_batch(
    genes: Sequence[NDArray[np.int64]],
    text: Sequence[NDArray[np.int64]],
    weight: Sequence[NDArray[np.float32]],
    cell_type: NDArray[np.int64],
) -> Batch:
    """Pad cells of different lengths."""
    s, c = max(map(len, genes)), max(map(len, text))
    gene_rows = np.full((len(genes), s), PAD_TOKEN, dtype=np.int64)
    text_rows = np.zeros((len(genes), c), dtype=np.int64)
    weights = np.zeros((len(genes), c), dtype=np.float32)
    for row, (g, t, w) in enumerate(zip(genes, text, weight, strict=True)):
        gene_rows[row, : len(g)] = g
        text_rows[row, : len(t)] = t
        weights[row, : len(t)] = w
    tensor = torch.from_numpy(gene_rows)
    return Batch(
        genes=tensor,
        gene_mask=(tensor != PAD_TOKEN).long(),
        text=torch.from_numpy(text_rows),
        text_weight=torch.from_numpy(weights),
        cell_type=torch.from_numpy(cell_type),
    )


def encode_padded(model: Cell2TextModel, genes: Tensor, gene_mask: Tensor) -> Tensor:
    """Hidden states [B, S, H] that the projector sees, without the layers above.

    Masked padding changes nothing for the real genes, so this equals `model.encode` cell by cell.
    """
    hidden = model.encoder.bert.embeddings(input_ids=genes)
    layers = model.encoder.bert.encoder.layer[: model.layers_run]
    return _run_layers(layers, hidden, gene_mask)


def finish_encoding(model: Cell2TextModel, hidden: Tensor, gene_mask: Tensor) -> Tensor:
    """Run the layers above those of `encode_padded`; only the masked-gene loss uses them."""
    layers = model.encoder.bert.encoder.layer[model.layers_run :]
    return _run_layers(layers, hidden, gene_mask)


def _run_layers(layers: nn.ModuleList, hidden: Tensor, gene_mask: Tensor) -> Tensor:
    mask = None if bool(gene_mask.all()) else gene_mask[:, None, None, :].bool()
    for layer in layers:
        hidden = layer(hidden, attention_mask=mask)[0]
    return hidden


def prompt_padded(
    model: Cell2TextModel, hidden: Tensor, gene_mask: Tensor, prompt: Prompt
) -> tuple[Tensor, Tensor, Tensor]:
    """Decoder input for cells of different lengths, padded on the left.

    Returns:
        Embeddings [B, T, D], mask [B, T] and positions [B, T].
    """
    vectors = model.project(hidden[:, : model.top_k])
    real = gene_mask[:, : model.top_k]
    batch = len(real)
    rows = model.decoder.get_input_embeddings()
    prefix = rows(torch.tensor(prompt.prefix_ids)).expand(batch, -1, -1)
    suffix = rows(torch.tensor(prompt.suffix_ids)).expand(batch, -1, -1)
    embeddings = torch.cat((prefix, vectors, suffix), dim=1)
    ones = real.new_ones
    mask = torch.cat((ones(batch, prefix.shape[1]), real, ones(batch, suffix.shape[1])), dim=1)
    if not bool(real.all()):
        # Move each row's padding from behind its genes to the front; the order stays.
        order = torch.argsort(mask, dim=1, stable=True)
        embeddings = embeddings.gather(1, order[..., None].expand_as(embeddings))
        mask = mask.gather(1, order)
    return embeddings, mask, (mask.cumsum(1) - 1).clamp_min(0)


def caption_loss(model: Cell2TextModel, hidden: Tensor, batch: Batch, prompt: Prompt) -> Tensor:
    """Weighted mean cross-entropy of the caption tokens."""
    embeddings, mask, positions = prompt_padded(model, hidden, batch.gene_mask, prompt)
    front = embeddings.shape[1]
    text_in = batch.text[:, :-1]
    embeddings = torch.cat((embeddings, model.decoder.get_input_embeddings()(text_in)), dim=1)
    steps = torch.arange(1, text_in.shape[1] + 1)
    full = bool(mask.all())
    logits = model.decoder(
        inputs_embeds=embeddings,
        attention_mask=None if full else torch.cat((mask, torch.ones_like(text_in)), dim=1),
        position_ids=torch.cat((positions, positions[:, -1:] + steps), dim=1),
        use_cache=False,
        logits_to_keep=slice(front - 1, None),
    ).logits
    losses = F.cross_entropy(logits.flatten(0, 1).float(), batch.text.flatten(), reduction="none")
    weights = batch.text_weight.flatten()
    return (losses * weights).sum() / weights.sum()


def mask_genes(batch: Batch, rate: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Replace a share of the genes by `<mask>`.

    Returns:
        Tokens [B, S] and where they were replaced [B, S].
    """
    chosen = torch.rand(batch.genes.shape, generator=generator) < rate
    chosen &= batch.gene_mask.bool()
    return batch.genes.masked_fill(chosen, MASK_TOKEN), chosen


def masked_gene_loss(
    model: Cell2TextModel, last: Tensor, batch: Batch, chosen: Tensor, most: int
) -> Tensor:
    """Cross-entropy of masked genes; at most `most` of them, for speed."""
    place = chosen.flatten().nonzero()[:, 0]
    if len(place) > most:
        place = place[:: -(-len(place) // most)]
    logits = model.encoder.cls(last.flatten(0, 1)[place])
    return F.cross_entropy(logits.float(), batch.genes.flatten()[place])


class CellTypeHead(nn.Module):
    """Cell types from the mean of the hidden states. It speeds up training and is not saved."""

    def __init__(self, hidden_size: int, classes: int) -> None:
        super().__init__()
        self.reader = nn.Linear(hidden_size, classes)

    def forward(self, hidden: Tensor, gene_mask: Tensor) -> Tensor:
        """Logits [B, classes] from hidden states [B, S, H]."""
        mask = gene_mask[..., None].to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1)
        logits: Tensor = self.reader(pooled)
        return logits
