"""The joint space: a tiny BERT for texts, and a block for each side, under CellWhisperer's names.

One decision: sizes are small enough that the weights are committed, and shapes are CellWhisperer's,
so that the checkpoint is exported by the same code as a published one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNKNOWN, CLS, SEP, _ = SPECIAL_TOKENS


@dataclass(frozen=True, kw_only=True)
class TowerSizes:
    """Sizes of the text tower and of the joint space."""

    cell_hidden_size: int = 128  # of the frozen encoder
    joint_size: int = 128
    hidden_size: int = 128
    layers: int = 2
    heads: int = 4
    intermediate_size: int = 256
    vocabulary: int = 1600  # upper limit for the tokenizer
    positions: int = 128


class JointBlock(nn.Module):
    """One side's way into the joint space, under the names of CellWhisperer's `discriminator`."""

    def __init__(self, inputs: int, joint_size: int) -> None:
        super().__init__()
        self.feature_nonlinear = nn.Sequential(
            nn.Linear(inputs, joint_size, bias=False),
            nn.BatchNorm1d(joint_size),
            nn.ReLU(),
            nn.Linear(joint_size, joint_size),
        )
        self.feature_shortcut = nn.Linear(inputs, joint_size)
        self.feature_block_ln = nn.LayerNorm(joint_size)

    def forward(self, value: Tensor) -> Tensor:
        """Map [B, inputs] to vectors [B, J] of length 1."""
        sum_ = self.feature_nonlinear(value) + self.feature_shortcut(value)
        return F.normalize(self.feature_block_ln(sum_), dim=-1)


class Discriminator(nn.Module):
    """The two blocks and the temperature; a score is exp(temperature) times the dot product."""

    def __init__(self, sizes: TowerSizes) -> None:
        super().__init__()
        self.img_block = JointBlock(sizes.cell_hidden_size, sizes.joint_size)
        self.text_block = JointBlock(sizes.hidden_size, sizes.joint_size)
        self.temperature = nn.Parameter(torch.tensor(2.66))  # log(1 / 0.07), as CLIP starts with


class JointModel(nn.Module):
    """All that is trained: the text tower and the joint space."""

    def __init__(self, sizes: TowerSizes, *, vocabulary: int, pad: int) -> None:
        super().__init__()
        self.text_model = BertModel(
            BertConfig(
                vocab_size=vocabulary,
                hidden_size=sizes.hidden_size,
                num_hidden_layers=sizes.layers,
                num_attention_heads=sizes.heads,
                intermediate_size=sizes.intermediate_size,
                max_position_embeddings=sizes.positions,
                hidden_act="gelu",
                pad_token_id=pad,
            )
        )
        self.discriminator = Discriminator(sizes)

    def cells(self, embeddings: Tensor) -> Tensor:
        """Vectors [B, J] of cells, from the means [B, H] of the encoder's output."""
        vectors: Tensor = self.discriminator.img_block(embeddings)
        return vectors

    def texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Vectors [B, J] of texts, from token ids and what of them is real, both [B, T]."""
        pooled = self.text_model(input_ids=ids, attention_mask=mask).pooler_output
        vectors: Tensor = self.discriminator.text_block(pooled)
        return vectors


def train_tokenizer(texts: Sequence[str], *, sizes: TowerSizes) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer, trained on texts."""
    backend = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    letters = [chr(code) for code in range(33, 127)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=sizes.vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=[letter for letter in letters if letter == letter.lower()],
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    cls, sep = backend.token_to_id(CLS), backend.token_to_id(SEP)
    backend.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", special_tokens=[(CLS, cls), (SEP, sep)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        unk_token=UNKNOWN,
        cls_token=CLS,
        sep_token=SEP,
        mask_token="[MASK]",
        model_max_length=sizes.positions,
        clean_up_tokenization_spaces=False,
    )


def token_rows(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], *, longest: int
) -> tuple[Tensor, Tensor]:
    """Token ids of texts and what of them is real, both [B, T]."""
    encoded = tokenizer(
        list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt"
    )
    return encoded["input_ids"], encoded["attention_mask"]
