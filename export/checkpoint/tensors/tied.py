"""Tables that a config ties and an adapter trained apart: token table and output table.

One decision: PEFT trains a copy of a table (`modules_to_save`), or a LoRA pair beside it, and the
other table keeps what it had. So the tie is gone, and the model is exported with two tables.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import PretrainedConfig

from c2t.export.checkpoint.tensors.layout import DECODER, SortedTensors
from c2t.export.model.family import ModelFamily


def untie(
    family: ModelFamily,
    config: PretrainedConfig,
    base: dict[str, Tensor],
    trained: SortedTensors,
    pairs: Mapping[tuple[str, str], Any],
) -> PretrainedConfig:
    """Give the other table what it had, where an adapter trained one of two tied tables.

    Args:
        family: The decoder's.
        config: The decoder's.
        base: The decoder's tensors before what was trained replaces them; a table is added.
        trained: What the adapter trained whole.
        pairs: The LoRA pairs by part and module.

    Returns:
        The config; a copy without the tie where the tables are apart now.
    """
    if not config.tie_word_embeddings:
        return config
    apart = False
    for second, first in family.tied_by_config.items():
        whole = trained.parts[DECODER]
        copied = [name for name in (first, second) if (DECODER, name) in trained.copies]
        paired = (DECODER, second.rpartition(".")[0]) in pairs
        original = _original(trained, base, first, second)
        if copied and original is not None:
            base.setdefault(first, original)
            base.setdefault(second, original)
            if copied == [first] and second not in whole:
                base[second] = original
            apart = True
        elif first in whole and second not in whole:
            base.pop(second, None)  # saved as it is: both names mean this table
        table = whole.get(first, base.get(first))
        if paired and not apart and table is not None:
            base.setdefault(second, table)
            apart = True
    if not apart:
        return config
    config = copy.deepcopy(config)
    config.tie_word_embeddings = False
    return config


def _original(
    trained: SortedTensors, base: Mapping[str, Tensor], first: str, second: str
) -> Tensor | None:
    """The tied table as it was before the adapter trained a copy."""
    for name, tensor in trained.originals.items():
        plain = name.replace(".original_module.", ".")
        if plain.endswith((first, second)):
            return tensor
    return base.get(second, base.get(first))
