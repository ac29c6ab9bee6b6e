"""Write the tiny models of `tests/data`, and what PyTorch computes with them.

The weights are random with fixed seeds. Run it after a change of the bundle format or of the
export, with c2t[dev]:

    PYTHONPATH=tests/support:tests/with_torch python -P tests/data/make_tiny_data.py
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
import torch
from cli_process import set_golden
from tiny_bundle import reference_tokens, write_bundle
from tiny_data import (
    BUNDLES,
    DATA,
    DECODER_WIDTH,
    DECODERS,
    EXPECTED,
    FAMILY_DECODERS,
    JOINT,
    SENTENCES,
    random_vectors,
    tiny_cell,
)
from tiny_decoder import TinyDecoder, make_decoder
from tiny_decoders import SIZES, tiny_decoder_of
from tiny_joint import tiny_joint, write_joint_folders
from tiny_models import TinySizes, tiny_checkpoint
from tiny_sentences import write_sentence_model
from transformers import NoRepeatNGramLogitsProcessor

from c2t.export.bundle_parts import PARITY_NAME
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.decoders.families import FAMILIES
from c2t.export.decoders.parts import sizes_of
from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import Decoder, Generation, Manifest
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.stated_settings import stated_settings
from c2t.runtime.joint.text_tower import TEXT_TOKENIZER
from c2t.runtime.joint.word_pieces import open_word_pieces

CELL_LENGTHS = (5, 20, 20, 3, 48, 20, 7, 5, 48, 30, 12, 5)
GOLDEN_LENGTHS = (12, 30)
SPREADS = {"sure": 0.3, "unsure": 0.15}
BANNED_LENGTHS = (0, 1, 2, 3, 5, 40)
JOINT_TEXTS = ("activated T cells", "a monocyte from the tumour", "B cell", "CD8 natural killer")
CREATED = "1700000000"  # the moment that the manifests name


def main(folder: Path = DATA) -> None:
    """Write everything to a folder; what is there is replaced."""
    os.environ["SOURCE_DATE_EPOCH"] = CREATED
    expected: dict[str, Any] = {"bundles": {}, "decoders": {}, "ngram_bans": list(ngram_bans())}
    for projector, path in BUNDLES.items():
        loaded = tiny_checkpoint(TinySizes(projector=projector))
        write_golden_bundle(loaded, folder / path.name)
        expected["bundles"][projector] = list(bundle_runs(loaded))
    write_sentence_bundle(folder / SENTENCES.name)
    for name, path in DECODERS.items():
        target = folder / path.name
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        decoder = make_decoder(target, spread=SPREADS[name])
        write_sizes(decoder.engine.sizes, target)
        expected["decoders"][name] = list(decoder_runs(name, decoder))
    for family, path in FAMILY_DECODERS.items():
        write_family_decoder(family, folder / path.relative_to(DATA))
    expected["joint"] = write_joint_bundle(folder / JOINT.name)
    (folder / EXPECTED.name).write_text(as_lines(expected) + "\n", encoding="utf-8")


def write_golden_bundle(loaded: LoadedCheckpoint, folder: Path) -> None:
    """A bundle with golden cells."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_bundle(folder, loaded)
    golden = []
    for length in GOLDEN_LENGTHS:
        cell = tiny_cell(length, seed=length)
        tokens, text = describe(loaded, cell, loaded.generation)
        golden.append({"gene_tokens": cell.tolist(), "token_ids": tokens, "text": text})
    set_golden(folder, golden)


def write_joint_bundle(folder: Path) -> dict[str, Any]:
    """A bundle with a joint space; returns PyTorch's vectors of some cells and texts."""
    shutil.rmtree(folder, ignore_errors=True)
    model = tiny_joint(version=2)
    with TemporaryDirectory() as place:
        parts = write_joint_folders(Path(place), model, version=2)
        options = CheckpointOptions(
            family="cellwhisperer",
            geneformer=parts.geneformer,
            text_model=parts.text_model,
            checkpoint=parts.checkpoint,
            pooling="mean",
        )
        bundle = export_bundle(ExportOptions(output=folder, checkpoint=options))
    manifest = leave_out_measurements(bundle, folder)
    tower, pieces = manifest.text_tower, open_word_pieces(folder / TEXT_TOKENIZER)
    cells = [
        {"length": length, "seed": seed, "vector": numbers(model.embed_cells(cell)[0])}
        for seed, length in enumerate(CELL_LENGTHS)
        for cell in [torch.from_numpy(tiny_cell(length, seed)).long()[None]]
    ]
    texts = [
        {"text": text, "vector": numbers(model.embed_texts(torch.tensor([ids]))[0])}
        for text in JOINT_TEXTS
        for ids in [[tower.cls_token, *pieces.encode(text), tower.sep_token]]
    ]
    return {"temperature": model.temperature, "cells": cells, "texts": texts}


def leave_out_measurements(bundle: Bundle, folder: Path) -> Manifest:
    """Remove what differs from machine to machine; returns the new manifest."""
    (folder / PARITY_NAME).unlink()
    manifest = bundle.manifest.replace(origin=replace(bundle.manifest.origin, files={}))
    names = manifest.files.keys() - {PARITY_NAME}
    manifest = manifest.replace(files=file_entries(folder, names))
    write_manifest(folder, manifest)
    return manifest


def numbers(vector: torch.Tensor) -> list[float]:
    """Seven digits of each."""
    return [float(f"{value:.7g}") for value in vector.tolist()]


def write_sentence_bundle(folder: Path) -> None:
    """A bundle whose cells are gene sentences, with golden cells."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 512, "rotary_pct": 0.5}
    with TemporaryDirectory() as place:
        # Always the same name: the manifest has it.
        model = write_sentence_model(
            Path(place) / "tiny-sentences", "gpt_neox", initializer_range=0.5, **sizes
        )
        options = CheckpointOptions(
            family="cell2sentence", model=model, top_genes=20, max_new_tokens=12
        )
        asked = ExportOptions(checkpoint=options, output=folder, golden_cells=3, force=True)
        bundle = export_bundle(asked)
    leave_out_measurements(bundle, folder)


def write_family_decoder(family: str, folder: Path) -> None:
    """A decoder of a family, its sizes beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    changes = {"partial_rotary_factor": 0.5} if family == "phi3" else {}
    model = tiny_decoder_of(family, hidden_size=DECODER_WIDTH, **changes)
    reference = FAMILIES[family].write_graph(model, folder / "decoder.onnx")
    found = sizes_of(model.config)
    sizes = Decoder(
        model=family,
        layers=found.layers,
        hidden_size=found.hidden_size,
        heads=found.heads,
        kv_heads=found.kv_heads,
        head_size=found.head_size,
        vocabulary_size=found.vocabulary_size,
        max_positions=SIZES["max_position_embeddings"],
        token_embedding=reference,
    )
    write_sizes(sizes, folder)


def write_sizes(sizes: Decoder, folder: Path) -> None:
    """Write what a bundle's manifest says of its decoder."""
    text = msgspec.json.format(msgspec.json.encode(sizes))
    (folder / "sizes.json").write_bytes(text + b"\n")


def bundle_runs(loaded: LoadedCheckpoint) -> Iterable[dict[str, Any]]:
    """Tokens and text of some cells, greedy and by beams, with and without banned repetitions."""
    for beams, ngram in ((1, 3), (4, 3), (1, 0), (3, 3)):
        generation = replace(loaded.generation, num_beams=beams, no_repeat_ngram_size=ngram)
        cells = []
        for seed, length in enumerate(CELL_LENGTHS):
            tokens, text = describe(loaded, tiny_cell(length, seed), generation)
            cells.append({"length": length, "seed": seed, "tokens": tokens, "text": text})
        yield {"generation": stated_settings(generation), "cells": cells}


def describe(
    loaded: LoadedCheckpoint, cell: np.ndarray, generation: Generation
) -> tuple[list[int], str]:
    """Tokens and text of gene tokens [S] by PyTorch."""
    tokens = reference_tokens(loaded, cell, generation)
    return tokens, loaded.tokenizer.decode(tokens, skip_special_tokens=True)


def decoder_generations(name: str) -> Iterable[tuple[range, Generation]]:
    """Seeds and settings."""
    if name == "sure":
        usual = Generation(max_new_tokens=24, eos_token_ids=tuple(range(4, 16)))
        for ngram in range(4):
            yield range(10), replace(usual, no_repeat_ngram_size=ngram)
        yield range(3, 4), Generation(max_new_tokens=12)
        yield range(5, 6), Generation(max_new_tokens=20, no_repeat_ngram_size=1)
        return
    usual = Generation(max_new_tokens=14, eos_token_ids=(4, 8, 15))
    penalties = (1.0, 0.0, 2.0, -1.0)
    for beams, early, penalty, ngram in product((2, 4), (True, False, "never"), penalties, (0, 2)):
        beamed = replace(usual, num_beams=beams, no_repeat_ngram_size=ngram)
        yield range(4), replace(beamed, early_stopping=early, length_penalty=penalty)
    yield range(11, 12), Generation(max_new_tokens=12, num_beams=3, eos_token_ids=(4,))


def decoder_runs(name: str, decoder: TinyDecoder) -> Iterable[dict[str, Any]]:
    """Tokens of Hugging Face `generate`, and PyTorch's probability of each."""
    for seeds, generation in decoder_generations(name):
        cells = []
        for seed in seeds:
            vectors = random_vectors(seed)
            tokens = decoder.reference(vectors, generation)
            logits = torch.from_numpy(decoder.logits(vectors, tokens)[: len(tokens)]).double()
            chosen = torch.softmax(logits, dim=1)[torch.arange(len(tokens)), tokens]
            probabilities = [float(f"{p:.7g}") for p in chosen.tolist()]
            cells.append({"seed": seed, "tokens": tokens, "probabilities": probabilities})
        yield {"generation": stated_settings(generation), "cells": cells}


def ngram_bans() -> Iterable[dict[str, Any]]:
    """Which of five tokens Hugging Face bans behind a sequence."""
    for size in (1, 2, 3, 4):
        generator = np.random.default_rng(size)
        processor = NoRepeatNGramLogitsProcessor(size)
        for length in BANNED_LENGTHS:
            sequences = generator.integers(0, 5, (4, length))
            scores = processor(torch.from_numpy(sequences), torch.zeros(4, 5)).numpy()
            for sequence, row in zip(sequences.tolist(), scores, strict=True):
                banned = np.flatnonzero(np.isinf(row)).tolist()
                yield {"size": size, "sequence": sequence, "banned": banned}


def as_lines(value: Any) -> str:
    """JSON with one line for each innermost object, so that a change of a cell is a line."""
    inner = list(value.values()) if isinstance(value, dict) else value
    if not isinstance(inner, list) or not any(isinstance(item, dict | list) for item in inner):
        return json.dumps(value)
    if isinstance(value, list):
        return "[\n" + ",\n".join(map(as_lines, value)) + "\n]"
    if not any(isinstance(item, dict) or _holds_objects(item) for item in inner):
        return json.dumps(value)
    items = [f"{json.dumps(key)}: {as_lines(item)}" for key, item in value.items()]
    return "{\n" + ",\n".join(items) + "\n}"


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in value)


if __name__ == "__main__":
    main()
