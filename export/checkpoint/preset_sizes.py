"""Sizes of the published Geneformers and Llamas, and of tiny ones with the same structure."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EncoderSizes:
    """Sizes of a Geneformer."""

    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    positions: int
    vocabulary: int
    special_tokens: int  # 2: V1 (<pad>, <mask>), 4: V2 (and <cls>, <eos>)


@dataclass(frozen=True, kw_only=True)
class DecoderSizes:
    """Sizes of a Llama."""

    layers: int
    hidden_size: int
    heads: int
    kv_heads: int
    head_size: int
    intermediate_size: int
    vocabulary: int
    positions: int = 131072
    rope: dict[str, Any] = field(
        default_factory=lambda: {
            "rope_type": "llama3",
            "factor": 32.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
    )


ENCODERS = {
    "geneformer-v1-10m": EncoderSizes(
        layers=6, hidden_size=256, heads=4, intermediate_size=512, positions=2048, vocabulary=25426,
        special_tokens=2,
    ),
    "geneformer-v2-104m": EncoderSizes(
        layers=12, hidden_size=768, heads=12, intermediate_size=3072, positions=4096,
        vocabulary=20275,
        special_tokens=4,
    ),
    "geneformer-v2-316m": EncoderSizes(
        layers=18, hidden_size=1152, heads=18, intermediate_size=4608, positions=4096,
        vocabulary=20275,
        special_tokens=4,
    ),
    "geneformer-tiny": EncoderSizes(
        layers=3, hidden_size=64, heads=4, intermediate_size=128, positions=512, vocabulary=2004,
        special_tokens=4,
    ),
}  # fmt: skip
DECODERS = {
    "llama-3.2-1b": DecoderSizes(
        layers=16, hidden_size=2048, heads=32, kv_heads=8, head_size=64, intermediate_size=8192,
        vocabulary=128256,
    ),
    "llama-3.2-3b": DecoderSizes(
        layers=28, hidden_size=3072, heads=24, kv_heads=8, head_size=128, intermediate_size=8192,
        vocabulary=128256,
    ),
    "llama-tiny": DecoderSizes(
        layers=4, hidden_size=128, heads=4, kv_heads=2, head_size=32, intermediate_size=256,
        vocabulary=1024,
    ),
}  # fmt: skip
