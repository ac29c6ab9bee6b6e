"""What every projector is: encoder rows in, cell vectors of the decoder's hidden size out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

# What presets have. Weights show no heads, and published runs had 8 or 2: of a checkpoint they are
# never assumed.
DEFAULT_PERCEIVER_HEADS = 8


@dataclass(frozen=True, kw_only=True)
class ProjectorFacts:
    """What a projector's weights do not show; None: not stated anywhere.

    Attributes:
        heads: Attention heads of a perceiver: nn.MultiheadAttention leaves no trace of them.
        positions: Whether positions are added to the input: a buffer that some saves leave out.
        qformer_heads: Attention heads of a Q-Former, where its width does not tell them.
    """

    heads: int | None = None
    positions: bool | None = None
    qformer_heads: int | None = None


NOTHING_STATED = ProjectorFacts()


@dataclass(frozen=True, kw_only=True)
class ProjectorConfig:
    """Sizes of a projector, as a saved checkpoint names them.

    The fields of other kinds keep their defaults.
    """

    kind: str  # a key of `c2t.export.projectors.families`
    input_width: int  # H of the encoder
    output_width: int  # D of the decoder
    dropout: float = 0.0  # for training only; in `mlp`, > 0 shifts the indices of the second half
    # mlp: intermediate_size; qformer: hidden_size of its BERT; mlp2x_8t: size of the joint space
    hidden: int = 0
    bias: bool = True  # mlp
    # perceiver and qformer
    heads: int = DEFAULT_PERCEIVER_HEADS
    feed_forward: int = 0  # intermediate_size
    # perceiver
    num_latents: int = 0
    cross_layers: int = 1
    self_layers: int = 4
    positions: int = 0  # rows of the sinusoidal table; 0: none is added
    # qformer
    queries: int = 0
    layers: int = 0
    cross_every: int = 0  # every how many layers, from the first on, the rows are read
    # joint and mlp2x_8t
    pooling: str = "mean"  # over the genes, or "cls": the first row
    special_tokens: bool = False  # whether <cls> and <eos> stand around the genes

    def to_json(self) -> dict[str, Any]:
        """The fields as a JSON object."""
        return asdict(self)


class Projector(nn.Module):
    """A projector of any family.

    Its `forward` takes encoder rows [B, K, H] float32 and gives cell vectors [B, K', D].
    """

    # Whether it sees the first `top_k` rows only; else it sees all of them.
    takes_top_k = False
    # Whether a cell reaches it as one row. It then takes the rows of several cells as a group, and
    # the encoder's graph makes the one row of all of a cell's.
    takes_cells = False

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config

    def mean_of(self) -> slice | None:
        """The encoder rows whose mean a cell is, where it is one."""
        return None

    def longest_input(self) -> int | None:
        """Most encoder rows that it takes; None: any number."""
        return None
