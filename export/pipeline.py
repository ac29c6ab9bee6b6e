"""The whole export: checkpoint in, verified bundle out, or nothing.

One decision: the bundle appears only after its graphs have been shown to compute what the PyTorch
model computes. Everything is written under a temporary name, checked there, hashed, and renamed.
All that can be refused is refused before a weight is read.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from c2t.export.bundle_parts import (
    check_space,
    creation_time,
    graph_bytes,
    make_manifest,
    write_graphs,
    write_parity,
    write_tables,
)
from c2t.export.cell2sentence.published import FAMILIES as SENTENCES
from c2t.export.cell2sentence.rules import NO_RULES
from c2t.export.cellwhisperer.bundle_files import export_joint
from c2t.export.cellwhisperer.chat import outline_chat
from c2t.export.cellwhisperer.outline import FAMILY as CELLWHISPERER
from c2t.export.checkpoint.check import (
    check_outline,
    check_projector,
    check_weights,
    float32_bytes,
)
from c2t.export.checkpoint.open import outline_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions, PresetOptions
from c2t.export.field_files import check_fields, write_fields
from c2t.export.model.loaded_checkpoint import CheckpointOutline, LoadedCheckpoint
from c2t.export.parity.check import check_parity
from c2t.export.parity.reference import ReferenceCell, compare_with_reference, read_reference
from c2t.export.phrases import read_phrases
from c2t.export.sentence_pipeline import export_sentences
from c2t.export.token_sequences import example_sequences
from c2t.runtime.bundle.bundle import Bundle, GoldenCell, GoldenCells, open_bundle
from c2t.runtime.bundle.manifest import GOLDEN_NAME, TEXT_GRAPH
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.bundle.unsure_rule import read_rule
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.engines.table import EngineName
from c2t.runtime.fields.open import open_fields
from c2t.runtime.generation.phrase_table import PHRASES_NAME, load_phrase_table
from c2t.runtime.joint.text_tower import TextTowerEngine
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import CheckpointError, ParityError
from c2t.runtime.system.files import atomic_folder
from c2t.runtime.system.progress import progress_bar

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
    reference: Path | None = None  # what the author's own code wrote, see `export.parity.reference`
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
class Examples:
    """Gene tokens of the cells that the graphs are checked with, and what cells they are.

    Attributes:
        sequences: Special tokens included.
        source: What cells they are, in words.
        reference: Cells with what the author's own code wrote.
    """

    sequences: list[list[int]]
    source: str
    reference: tuple[ReferenceCell, ...] = ()

    def golden(self, count: int) -> list[list[int]]:
        """Gene tokens of the golden cells: all reference cells, filled up from the others."""
        referred = [list(cell.gene_tokens) for cell in self.reference]
        return referred + self.sequences[: max(0, count - len(referred))]


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
        ParityError: The graphs differ from the PyTorch model, or the texts from the reference's;
            nothing is left behind.
        BundleError: What was written cannot be opened as a bundle; nothing is left behind.
        OutputError: The target cannot be written, or the disk has too little room.
    """
    # The folder is made first: a place that cannot be written is known at once.
    with atomic_folder(options.output, force=options.force) as folder:
        report("loading the checkpoint")
        reference = _fill(folder, options, report)
        check_bundle(folder, reference, report)
    return open_bundle(options.output, verify=False)  # hashed a moment ago


def _fill(folder: Path, options: ExportOptions, report: Report) -> Sequence[ReferenceCell]:
    """Write the files of a bundle of any family; returns the reference cells."""
    checkpoint = options.checkpoint
    if checkpoint is not None and checkpoint.family in SENTENCES:
        if options.reference is not None:
            problem = f"--reference does not go with --family {checkpoint.family}"
            hint = "the model is compared with transformers itself, which is the author's own code"
            raise CheckpointError(problem, hint=hint)
        export_sentences(
            folder,
            checkpoint,
            cells=options.cells,
            golden_cells=options.golden_cells,
            report=report,
        )
        return ()
    chat = checkpoint is not None and checkpoint.family == CELLWHISPERER and checkpoint.chat
    if checkpoint is not None and checkpoint.family == CELLWHISPERER and not chat:
        if options.reference is not None:
            problem = "--reference does not go with --family cellwhisperer: it writes no texts"
            raise CheckpointError(problem, hint="leave it out")
        export_joint(folder, checkpoint, cells=options.cells, report=report)
        return ()
    outline, examples = check_before_loading(options, folder, report)
    loaded = outline.load(functools.partial(check_projector, outline))
    report(f"recognised {loaded.layout}")
    check_weights(loaded.model)
    fill_folder(folder, loaded, examples, options.golden_cells, report)
    return examples.reference


def check_before_loading(
    options: ExportOptions, folder: Path, report: Report = lambda _: None
) -> tuple[CheckpointOutline, Examples]:
    """Refuse whatever would make the export fail, as far as it shows without the weights.

    Returns:
        The checkpoint without its weights, and the cells to check the graphs with.
    """
    creation_time()
    load_onnxruntime()  # the check against PyTorch runs with it
    asked = options.source
    if isinstance(asked, CheckpointOptions) and asked.family == CELLWHISPERER:
        outline, said = outline_chat(asked)
        for sentence in said:
            report(sentence)
    else:
        outline = outline_checkpoint(asked)
    check_outline(outline)
    if outline.captions.phrases is not None:
        read_phrases(outline.captions.phrases)
    check_fields(outline.captions)
    if outline.captions.unsure is not None:
        read_rule(outline.captions.unsure)
    reference = () if options.reference is None else read_reference(options.reference, outline)
    sequences, source = example_sequences(outline, options.cells)
    check_space(folder, float32_bytes(outline))
    return outline, Examples(sequences=sequences, source=source, reference=reference)


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
        ParityError: The graphs differ from the PyTorch model, or its texts from the reference's.
    """
    report("writing the graphs")
    with progress_bar("writing", graph_bytes(loaded), unit="bytes") as advance:
        encoder, token_embedding = write_graphs(loaded, folder, advance=advance)
    write_tables(loaded, folder)
    # Texts behind a template are none of the paper's captions.
    write_fields(loaded.captions, folder, report, usual=NO_RULES if loaded.template else None)
    report("checking the graphs against PyTorch")
    if not examples.reference and not loaded.random_weights:
        report("that is c2t's own reading of the checkpoint: no --reference was given")
    results = check_parity(loaded, folder, examples.sequences)
    write_parity(folder, examples.source, results)
    report("writing the expected texts")
    # Random weights never end a text: one cell to its full length says enough.
    count = 1 if loaded.random_weights else golden
    cells = golden_cells(loaded, examples.golden(count))
    for number, (cell, written) in enumerate(zip(examples.reference, cells.cells, strict=False)):
        compare_with_reference(
            number,
            cell,
            written.token_ids,
            written.text,
            writer="PyTorch, as c2t reads the checkpoint",
            end_tokens=loaded.generation.eos_token_ids,
        )
    (folder / GOLDEN_NAME).write_bytes(json_bytes(cells))
    report("hashing the files")
    write_manifest(folder, make_manifest(loaded, folder, encoder, token_embedding))


def golden_cells(loaded: LoadedCheckpoint, sequences: Sequence[list[int]]) -> GoldenCells:
    """Texts of some cells by the PyTorch model, with the bundle's own generation settings."""
    cells = []
    with progress_bar("expected texts", len(sequences), unit="cells") as advance:
        for sequence in sequences:
            ids = loaded.model.generate(
                torch.tensor(sequence),
                loaded.prompt,
                loaded.generation,
                tokenizer=loaded.tokenizer,
            )
            text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
            cells.append(GoldenCell(gene_tokens=tuple(sequence), token_ids=tuple(ids), text=text))
            advance(1)
    return GoldenCells(cells=tuple(cells))


def check_bundle(folder: Path, reference: Sequence[ReferenceCell], report: Report) -> None:
    """Open a bundle as `c2t describe` would, before it gets its name.

    Args:
        folder: The bundle; its files were hashed a moment ago.
        reference: Cells whose texts the bundle must write.
        report: Called with a few words when a part of the work begins.

    Raises:
        BundleError: A part cannot be opened, or the tokenizer lacks the tokens of a golden cell.
        ParityError: The tokenizer makes other texts of the golden cells than the checkpoint's, or
            a reference cell gets another text.
    """
    report("opening the bundle")
    bundle = open_bundle(folder, verify=False)
    if bundle.manifest.has_decoder:
        _check_texts(bundle)
        assert bundle.token_embedding is not None
    if TEXT_GRAPH in bundle.manifest.graphs:
        TextTowerEngine(bundle).encode(["T cell"])
    if bundle.manifest.has_encoder:
        assert bundle.genes is not None
        assert bundle.gene_embedding_tables is not None
    open_fields(bundle)
    if PHRASES_NAME in bundle.manifest.files:
        load_phrase_table(bundle.file(PHRASES_NAME), bundle.manifest.decoder.vocabulary_size)
    if not reference:
        return
    report("describing the reference cells with the bundle")
    describer = Describer(bundle, DescribeOptions(engine=EngineName.cpu))
    chunk = EncodedCells.of_tokens([cell.gene_tokens for cell in reference])
    for number, (cell, description) in enumerate(
        zip(reference, describer.describe([chunk]), strict=True)
    ):
        compare_with_reference(
            number,
            cell,
            description.tokens,
            description.text or f"(error: {description.error})",
            writer="the bundle",
            end_tokens=bundle.manifest.generation.eos_token_ids,
        )


def _check_texts(bundle: Bundle) -> None:
    """Compare the texts of the bundle's tokenizer with those of the checkpoint's."""
    for number, cell in enumerate(bundle.golden.cells):
        text = decode_text(bundle.tokenizer, cell.token_ids)
        if text != cell.text:
            problem = f"golden cell {number} is {cell.text!r}, by the bundle's tokenizer {text!r}"
            hint = "the checkpoint's tokenizer does more than tokenizer.json can say; report it"
            raise ParityError(problem, hint=hint)
