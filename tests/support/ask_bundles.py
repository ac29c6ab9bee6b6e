"""Bundles that answer questions: the committed tiny ones, with templates that have a place for one.

Their weights are random, so their answers mean nothing. What is tested is what reaches the decoder,
and what comes out for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
from tiny_data import BUNDLES, SENTENCES

ONE_CELL = "Genes: {genes}.\nQuestion: {question}\nAnswer:"
BEHIND = "Question: {question}\nAnswer:"  # behind cell vectors
SEVERAL = "{cells}\n\n{question}\n{labels}\nAnswer:"


def sentence_bundle(
    folder: Path, text: str = ONE_CELL, *, longest: int = 400, **changes: Any
) -> Path:
    """A copy of the tiny bundle of gene sentences, with another prompt."""
    manifest = {
        "tasks": ["ask"],
        "template": [{"kind": "text", "text": text, "longest": longest}],
        **changes,
    }
    return _copy(SENTENCES, folder, manifest)


def vector_bundle(
    folder: Path, text: str = "Question: {question}\nAnswer:", **changes: Any
) -> Path:
    """A copy of the tiny bundle of cell vectors, with a question behind them."""
    prompt = msgspec.json.decode((BUNDLES["mlp"] / "manifest.json").read_bytes())["prompt"]
    manifest = {
        "tasks": ["ask", "embed"],
        "prompt": None,
        "template": [
            {"kind": "ids", "ids": prompt["prefix_ids"]},
            {"kind": "vectors"},
            {"kind": "text", "text": text, "longest": 100},
        ],
        **changes,
    }
    return _copy(BUNDLES["mlp"], folder, manifest)


def _copy(source: Path, folder: Path, changes: dict[str, Any]) -> Path:
    shutil.copytree(source, folder)
    path = folder / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes()) | changes
    manifest = {name: value for name, value in manifest.items() if value is not None}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    return folder


def chat_bundle(folder: Path) -> Path:
    """A bundle that describes cells and answers questions, as CellWhisperer's chat does."""
    return vector_bundle(folder, tasks=["describe", "ask", "embed"], question="Which cell is it?")
