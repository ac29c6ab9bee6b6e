"""The whole export: checkpoint in, verified bundle out, or nothing.

One decision: the bundle appears only after its graphs have been shown to compute what the PyTorch
model computes. Everything is written under a temporary name, checked there, hashed, and renamed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from c2t.export.bundle_parts import make_manifest, write_graphs, write_tables
from c2t.export.checkpoint.check import check_checkpoint
from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions, LoadedCheckpoint
from c2t.export.checkpoint.preset import PresetOptions, load_preset
from c2t.export.parity.parity import ParityResult, check_parity
from c2t.export.token_sequences import example_sequences
from c2t.runtime.bundle.bundle import Bundle, GoldenCell, GoldenCells, open_bundle
from c2t.runtime.bundle.manifest import GOLDEN_NAME
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.files import atomic_folder, check_folder_target

PARITY_NAME = "parity.json"
Report = Callable[[str], None]  # called with a few words when a part of the work begins


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What to export, and where to.

    Exactly one of `checkpoint` and `preset` is given.
    """

    output: Path
    checkpoint: CheckpointOptions | None = None
    preset: PresetOptions | None = None
    cells: Path | None = None  # real cells for the parity check and the golden cells
    golden_cells: int = 4
    force: bool = False  # replace an existing bundle

    def __post_init__(self) -> None:
        if (self.checkpoint is None) == (self.preset is None):
            message = "give either a checkpoint or a preset"
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """The contents of `parity.json`: how far the graphs are from PyTorch, output by output."""

    cells: str
    results: tuple[ParityResult, ...]


def export_bundle(options: ExportOptions, *, report: Report = lambda _: None) -> Bundle:
    """Export a checkpoint to a bundle.

    Args:
        options: Source and target.
        report: Told what is being done.

    Returns:
        The new bundle, opened.

    Raises:
        CheckpointError: The checkpoint cannot be used; the message lists what is wrong with it.
        CellFileError: `options.cells` cannot be read.
        ParityError: The graphs differ from the PyTorch model; nothing is left behind.
        OutputError: The target cannot be written.
    """
    check_folder_target(options.output, force=options.force)  # before minutes of work
    report("loading the checkpoint")
    loaded = load(options)
    report(f"recognised {loaded.layout}")
    check_checkpoint(loaded)
    with atomic_folder(options.output, force=options.force) as folder:
        report("writing the graphs")
        encoder, token_embedding = write_graphs(loaded, folder)
        write_tables(loaded, folder)
        report("checking the graphs against PyTorch")
        sequences, source = example_sequences(loaded, options.cells)
        results = check_parity(loaded, folder, sequences)
        parity = ParityReport(cells=source, results=tuple(results))
        (folder / PARITY_NAME).write_bytes(json_bytes(parity))
        report("writing the expected texts")
        # Random weights never end a text: one cell to its full length says enough.
        cells = 1 if loaded.random_weights else options.golden_cells
        (folder / GOLDEN_NAME).write_bytes(json_bytes(golden_cells(loaded, sequences[:cells])))
        report("hashing the files")
        write_manifest(folder, make_manifest(loaded, folder, encoder, token_embedding))
    return open_bundle(options.output, verify=False)  # hashed a moment ago


def load(options: ExportOptions) -> LoadedCheckpoint:
    """The checkpoint or preset that the options name."""
    if options.preset is not None:
        return load_preset(options.preset)
    assert options.checkpoint is not None
    return load_checkpoint(options.checkpoint)


def golden_cells(loaded: LoadedCheckpoint, sequences: Sequence[list[int]]) -> GoldenCells:
    """Texts of some cells by the PyTorch model, with the bundle's own generation settings."""
    cells = []
    for sequence in sequences:
        ids = loaded.model.generate(torch.tensor(sequence), loaded.prompt, loaded.generation)
        text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
        cells.append(GoldenCell(gene_tokens=tuple(sequence), token_ids=tuple(ids), text=text))
    return GoldenCells(cells=tuple(cells))
