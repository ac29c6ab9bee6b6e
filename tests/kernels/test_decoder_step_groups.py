"""A step in groups of rows gives the bits of the whole step; the kernel is emulated."""

from __future__ import annotations

import numpy as np
import pytest
from emulation.device import EmulatedDevice
from emulation.random_step import SMALL, PackedDecoder
from fakes.cuda_driver import FakeDriver

from c2t.kernels.decoder_step.groups import divides_texts
from c2t.kernels.decoder_step.layout import NO_INT8, Int8Linears
from c2t.kernels.errors import KernelError

ALL = Int8Linears(0b11, 0b11, 0b11, 0b11, 1)


@pytest.mark.parametrize("int8", [NO_INT8, ALL])
@pytest.mark.parametrize(
    ("batch", "tokens", "wanted", "most", "launches"),
    [
        (5, 1, 1, 2, 3),
        (5, 3, 2, 7, 3),  # two cells, two, and one
        (2, 2, 5, 5, 2),  # more logits than tokens
        (2, 7, 7, 3, 6),
        (2, 7, 2, 3, 6),  # of two parts; the first one has none
        (1, 8, 1, 4, 2),
    ],
)
def test_groups_give_the_bits_of_the_whole_step(
    int8: Int8Linears,
    batch: int,
    tokens: int,
    wanted: int,
    most: int,
    launches: int,
    driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Logits and cache, each cell behind a past of its own."""
    packed = PackedDecoder.make(SMALL, EmulatedDevice(), int8)
    draw = np.random.default_rng(batch)
    embeds = draw.normal(size=(batch, tokens, SMALL.hidden_size)).astype(np.float32)
    index = draw.integers(0, 30, batch)
    every = np.tile(np.arange(tokens), (batch, 1))
    rows = every[:, -wanted:] if wanted <= tokens else draw.integers(0, tokens, (batch, wanted))
    one, other = packed.new_cache(batch), packed.new_cache(batch)
    whole = packed.step(one, embeds, index, rows)
    started = []
    launch = EmulatedDevice.launch_cooperative
    monkeypatch.setattr(
        EmulatedDevice,
        "launch_cooperative",
        lambda *arguments, **defines: started.append(launch(*arguments, **defines)),
    )
    assert packed.step(other, embeds, index, rows, most=most).tobytes() == whole.tobytes()
    assert other.download().tobytes() == one.download().tobytes()
    assert len(started) == launches


def test_texts_are_divided_only_where_one_does_not_fit() -> None:
    assert not divides_texts(64, tokens=64, logits_per_cell=64)
    assert divides_texts(64, tokens=65, logits_per_cell=1)


def test_more_logits_than_tokens_and_rows_are_refused(driver: FakeDriver) -> None:
    packed = PackedDecoder.make(SMALL, EmulatedDevice())
    embeds, rows = np.zeros((1, 2, SMALL.hidden_size), np.float32), np.zeros((1, 4), np.int64)
    with pytest.raises(KernelError, match="a step of 2 tokens of a cell, 4 of which want logits"):
        packed.step(packed.new_cache(1), embeds, np.zeros(1, np.int64), rows, most=3)
