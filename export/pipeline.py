"""The whole export: checkpoint in, verified bundle out, or nothing.

One decision: the bundle appears only after its graphs have been shown to compute what the PyTorch
model computes. Everything is written under a temporary name, checked there, hashed, and renamed.
All that can be refused is refused before a weight is read.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from c2t.export.bundle_parts import (
    creation_time,
    graph_bytes,
    make_manifest,
    write_graphs,
    write_tables,
)
from c2t.export.checkpoint.check import (
    check_outline,
    check_projector,
    check_weights,
    float32_bytes,
)
from c2t.export.checkpoint.open import outline_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions, PresetOptions
from c2t.export.model.loaded_checkpoint import CheckpointOutline, LoadedCheckpoint
from c2t.export.parity.check import check_parity
from c2t.export.parity.result import ParityResult
from c2t.export.phrases import read_phrases
from c2t.export.token_sequences import example_sequences
from c2t.runtime.bundle.bundle import Bundle, GoldenCell, GoldenCells, open_bundle
from c2t.runtime.bundle.manifest import GOLDEN_NAME
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_folder
from c2t.runtime.system.progress import progress_bar

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

    @property
    def source(self) -> CheckpointOptions | PresetOptions:
        """The one that is given."""
        source = self.preset if self.checkpoint is None else self.checkpoint
        assert source is not None
        return source


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """The contents of `parity.json`: how far the graphs are from PyTorch, output by output."""

    cells: str
    results: tuple[ParityResult, ...]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Gene tokens of the cells that the graphs are checked with, and what cells they are."""

    sequences: list[list[int]]
    source: str


def export_bundle(options: ExportOptions, *, report: Report = lambda _: None) -> Bundle:
    """Export a checkpoint to a bundle.

    Args:
        options: Source and target.
        report: Called with a few words when a part of the work begins.

    Returns:
        The new bundle, opened.

    Raises:
        CheckpointError: The checkpoint cannot be used; the message lists what is wrong with it.
        CellFileError: `options.cells` cannot be read.
        ParityError: The graphs differ from the PyTorch model; nothing is left behind.
        OutputError: The target cannot be written, or the disk has too little room.
    """
    # The folder is made first: a place that cannot be written is known at once.
    with atomic_folder(options.output, force=options.force) as folder:
        report("loading the checkpoint")
        outline, examples = check_before_loading(options, folder)
        loaded = outline.load(functools.partial(check_projector, outline))
        report(f"recognised {loaded.layout}")
        check_weights(loaded)
        fill_folder(folder, loaded, examples, options.golden_cells, report)
    return open_bundle(options.output, verify=False)  # hashed a moment ago


def check_before_loading(
    options: ExportOptions, folder: Path
) -> tuple[CheckpointOutline, Examples]:
    """Refuse whatever would make the export fail, as far as it shows without the weights.

    Returns:
        The checkpoint without its weights, and the cells to check the graphs with.
    """
    creation_time()
    load_onnxruntime()  # the check against PyTorch runs with it
    outline = outline_checkpoint(options.source)
    check_outline(outline)
    if outline.phrases is not None:
        read_phrases(outline.phrases)
    sequences, source = example_sequences(outline, options.cells)
    check_space(folder, float32_bytes(outline))
    return outline, Examples(sequences=sequences, source=source)


def check_space(folder: Path, needed: int) -> None:
    """Refuse a disk without room for a bundle.

    Raises:
        OutputError: It has less than `needed` bytes left.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        problem = (
            f"the bundle needs about {needed / 1e9:.1f} GB, but {folder.parent} has "
            f"{free / 1e9:.1f} GB left"
        )
        raise OutputError(problem, hint="free some room, or choose a place on another disk")


def fill_folder(
    folder: Path, loaded: LoadedCheckpoint, examples: Examples, golden: int, report: Report
) -> None:
    """Write all files of a bundle, and check its graphs.

    Args:
        folder: An empty folder.
        loaded: The checkpoint.
        examples: The cells to check the graphs with.
        golden: How many of them become golden cells.
        report: Called with a few words when a part of the work begins.

    Raises:
        ParityError: The graphs differ from the PyTorch model.
    """
    report("writing the graphs")
    with progress_bar("writing", graph_bytes(loaded), unit="bytes") as advance:
        encoder, token_embedding = write_graphs(loaded, folder, advance=advance)
    write_tables(loaded, folder)
    report("checking the graphs against PyTorch")
    results = check_parity(loaded, folder, examples.sequences)
    parity = ParityReport(cells=examples.source, results=tuple(results))
    (folder / PARITY_NAME).write_bytes(json_bytes(parity))
    report("writing the expected texts")
    # Random weights never end a text: one cell to its full length says enough.
    chosen = examples.sequences[: 1 if loaded.random_weights else golden]
    (folder / GOLDEN_NAME).write_bytes(json_bytes(golden_cells(loaded, chosen)))
    report("hashing the files")
    write_manifest(folder, make_manifest(loaded, folder, encoder, token_embedding))


def golden_cells(loaded: LoadedCheckpoint, sequences: Sequence[list[int]]) -> GoldenCells:
    """Texts of some cells by the PyTorch model, with the bundle's own generation settings."""
    cells = []
    with progress_bar("expected texts", len(sequences), unit="cells") as advance:
        for sequence in sequences:
            ids = loaded.model.generate(torch.tensor(sequence), loaded.prompt, loaded.generation)
            text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
            cells.append(GoldenCell(gene_tokens=tuple(sequence), token_ids=tuple(ids), text=text))
            advance(1)
    return GoldenCells(cells=tuple(cells))
