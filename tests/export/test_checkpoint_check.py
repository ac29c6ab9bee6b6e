"""A checkpoint that could never write a text is refused before anything is exported."""

from dataclasses import replace

import pytest
import torch
from tiny_models import tiny_checkpoint

from c2t.export.checkpoint.check import check_checkpoint
from c2t.runtime.system.errors import CheckpointError


def with_generation(loaded, **changes):
    generation = replace(loaded.settings.generation, **changes)
    return replace(loaded, settings=replace(loaded.settings, generation=generation))


def test_a_usual_checkpoint_passes():
    check_checkpoint(with_generation(tiny_checkpoint(), max_new_tokens=8))


def test_more_positions_than_the_decoder_has():
    loaded = with_generation(tiny_checkpoint(), max_new_tokens=100_000)
    with pytest.raises(CheckpointError, match="100000 new tokens") as caught:
        check_checkpoint(loaded)
    assert "--max-new-tokens" in caught.value.hint


def test_no_rows_at_all():
    loaded = tiny_checkpoint()
    loaded.model.top_k = 0
    with pytest.raises(CheckpointError, match="top_k is 0"):
        check_checkpoint(loaded)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value):
    loaded = with_generation(tiny_checkpoint(), max_new_tokens=8)
    with torch.no_grad():
        loaded.model.decoder.model.norm.weight[3] = value
    with pytest.raises(CheckpointError, match=r"1 tensors .*: decoder\.model\.norm\.weight"):
        check_checkpoint(loaded)
