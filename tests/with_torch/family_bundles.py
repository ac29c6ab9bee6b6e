"""Whole tiny checkpoints and bundles whose decoder is of any family."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tiny_bundle import TinyBundle, write_bundle
from tiny_decoders import tiny_decoder_of
from tiny_models import (
    TEXTS,
    TinySizes,
    tiny_checkpoint,
    tiny_settings,
    tiny_tokenizer,
    write_base_folders,
)

from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.model.model import Cell2TextModel

WIDTHS = {"gpt_neox": 64}  # a quarter of a head of 16 numbers is rotated
STEPS, RATE = 120, 3e-3


def sizes_for(family: str) -> TinySizes:
    """Sizes of the other parts: the projector writes rows as wide as the decoder's."""
    return TinySizes(decoder_width=WIDTHS.get(family, 32))


def family_decoder(family: str, *, seed: int = 1, **changes: Any) -> Any:
    """A tiny decoder with the tiny tokenizer's vocabulary."""
    tokenizer = tiny_tokenizer()
    own = {"vocab_size": len(tokenizer), "hidden_size": sizes_for(family).decoder_width}
    return tiny_decoder_of(family, seed=seed, **(own | changes))


def family_checkpoint(family: str, *, trained: bool = False, **changes: Any) -> LoadedCheckpoint:
    """A whole checkpoint in memory.

    Args:
        family: A key of the table.
        trained: Train the decoder for some seconds on the tokenizer's sentences.
        changes: Fields of its config.
    """
    loaded = tiny_checkpoint(sizes_for(family))
    decoder = family_decoder(family, **changes)
    if trained:
        train(decoder)
    model = Cell2TextModel(
        loaded.model.encoder, loaded.model.projector, decoder, top_k=loaded.model.top_k
    )
    return replace(loaded, model=model.eval().requires_grad_(False))


def family_bundle(folder: Path, family: str, **options: Any) -> TinyBundle:
    """Its bundle, without golden cells."""
    folder.mkdir()
    return write_bundle(folder, family_checkpoint(family, **options))


def family_folders(folder: Path, family: str, **changes: Any) -> dict[str, Path]:
    """Base folders as `write_base_folders` makes them, the decoder's of the family."""
    folders = write_base_folders(folder, sizes_for(family))
    place = folders["llama"]
    for old in (*place.glob("model*"), place / "config.json", place / "generation_config.json"):
        old.unlink()
    family_decoder(family, seed=0, **changes).save_pretrained(place)
    ends = list(tiny_settings().generation.eos_token_ids)
    (place / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return folders


def train(decoder: Any) -> None:
    """Make a decoder continue the tokenizer's sentences, as far as some seconds allow."""
    tokenizer = tiny_tokenizer()
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    labels = torch.tensor([row + [-100] * (longest - len(row)) for row in rows])
    decoder.requires_grad_(True)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=RATE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for each other, in products as small as these
    try:
        for _ in range(STEPS):
            optimiser.zero_grad()
            decoder(input_ids=ids, labels=labels).loss.backward()
            optimiser.step()
    finally:
        torch.set_num_threads(threads)
    decoder.requires_grad_(False)
