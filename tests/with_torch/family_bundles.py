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
    tiny_cell,
    tiny_checkpoint,
    tiny_settings,
    tiny_tokenizer,
    write_base_folders,
)
from torch.nn import functional

from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.model.model import Cell2TextModel
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import Prompt

# Of the other parts: the projector writes rows as wide as the decoder's.
SIZES = TinySizes(decoder_width=64)
# Heads 8 wide do not build for TensorRT (no fused attention); 16, 32 and 64 do.
BUILDABLE = TinySizes(decoder_width=128, encoder_width=32)
STEPS, RATE = 120, 3e-3


def family_decoder(family: str, *, seed: int = 1, **changes: Any) -> Any:
    """A tiny decoder with the tiny tokenizer's vocabulary."""
    tokenizer = tiny_tokenizer()
    own = {"vocab_size": len(tokenizer), "hidden_size": SIZES.decoder_width}
    return tiny_decoder_of(family, seed=seed, **(own | changes))


def family_checkpoint(family: str, *, trained: bool = False, **changes: Any) -> LoadedCheckpoint:
    """A whole checkpoint in memory.

    Args:
        family: A key of the table.
        trained: Train the decoder for some seconds on the tokenizer's sentences.
        changes: Fields of its config.
    """
    loaded = tiny_checkpoint(SIZES)
    # Trained weights have no outliers by chance: they begin small.
    begin = {"initializer_range": 0.02, "spread": 0.0} if trained else {}
    decoder = family_decoder(family, **(begin | changes))
    model = Cell2TextModel(
        loaded.model.encoder, loaded.model.projector, decoder, top_k=loaded.model.top_k
    )
    if trained:
        train(model, loaded.prompt)
    return replace(loaded, model=model.eval().requires_grad_(False))


def family_bundle(folder: Path, family: str, **options: Any) -> TinyBundle:
    """Its bundle, without golden cells."""
    folder.mkdir()
    return write_bundle(folder, family_checkpoint(family, **options))


def family_folders(folder: Path, family: str, **changes: Any) -> dict[str, Path]:
    """Base folders as `write_base_folders` makes them, the decoder's of the family."""
    folders = write_base_folders(folder, SIZES)
    place = folders["llama"]
    for old in (*place.glob("model*"), place / "config.json", place / "generation_config.json"):
        old.unlink()
    family_decoder(family, seed=0, **changes).save_pretrained(place)
    ends = list(tiny_settings().generation.eos_token_ids)
    (place / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return folders


def train(model: Cell2TextModel, prompt: Prompt) -> None:
    """Make a decoder write the tokenizer's sentences, one for each of some cells."""
    tokenizer, decoder = tiny_tokenizer(), model.decoder
    texts = [tokenizer(text)["input_ids"] + [tokenizer.eos_token_id] for text in TEXTS]
    longest = max(map(len, texts))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in texts])
    wanted = torch.tensor([row + [-100] * (longest - len(row)) for row in texts])
    cells = torch.stack([tiny_cell(20, SIZES, seed=seed) for seed in range(len(texts))])
    with torch.no_grad():
        vectors = model.project(model.encode(cells))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more would wait for each other, in products as small as these
    decoder.requires_grad_(True)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=RATE)
    try:
        for _ in range(STEPS):
            optimiser.zero_grad()
            front = model.prompt_embeddings(vectors, prompt)
            rows = torch.cat((front, decoder.get_input_embeddings()(ids)), dim=1)
            logits = decoder(inputs_embeds=rows, logits_to_keep=longest + 1).logits[:, :-1]
            functional.cross_entropy(logits.transpose(1, 2), wanted).backward()
            optimiser.step()
    finally:
        torch.set_num_threads(threads)
    decoder.requires_grad_(False)


def bundle_of(folder: Path, family: str, **changes: object) -> Bundle:
    """A bundle in a new folder.

    Args:
        folder: Made here.
        family: Of the decoder.
        changes: To its configuration.
    """
    loaded = tiny_checkpoint(BUILDABLE)
    own = {"vocab_size": len(loaded.tokenizer), "hidden_size": 128, "intermediate_size": 256}
    decoder = tiny_decoder_of(family, **(own | changes))
    model = Cell2TextModel(loaded.model.encoder, loaded.model.projector, decoder, top_k=8).eval()
    folder.mkdir()
    return write_bundle(folder, replace(loaded, model=model)).bundle
