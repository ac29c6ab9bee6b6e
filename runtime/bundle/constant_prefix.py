"""Keys and values of what every prompt begins with, kept in a quantised bundle as float32.

The first token of many decoders carries activations a thousand times as large as the others'. One
int8 scale cannot serve both. As the first tokens of a prompt are the same for every cell, their
keys and values are computed once, by the float32 model, and never pass an int8 product.
Source: M. Chen et al., "PrefixQuant", 2024 (arXiv 2410.05265).

One decision: the manifest only names the tokens. Where the numbers lie and how many there are
follows from it, so that nothing can contradict it but the file's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from c2t.runtime.bundle.manifest import PREFIX_NAME, Decoder, TensorReference


@dataclass(frozen=True, eq=False, kw_only=True)
class ConstantPrefix:
    """What prompts begin with, as the decoder's caches hold it.

    Args:
        token_ids: Text tokens [P].
        keys_values: [L,2,KV,P,head_size] float32; may be memory-mapped.
    """

    token_ids: tuple[int, ...]
    keys_values: NDArray[Any]

    def common(self, token_ids: Sequence[int]) -> int:
        """How many tokens a prompt begins with that are this prefix's first ones."""
        count = 0
        for own, other in zip(self.token_ids, token_ids, strict=False):
            if own != other:
                break
            count += 1
        return count


def prefix_reference(decoder: Decoder, token_ids: Sequence[int]) -> TensorReference:
    """Where a bundle's keys and values of these tokens lie: alone in their file, from its start."""
    shape = (decoder.layers, 2, decoder.kv_heads, len(token_ids), decoder.head_size)
    return TensorReference(file=PREFIX_NAME, offset=0, shape=shape, dtype="float32")
