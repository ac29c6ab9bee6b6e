"""The export of a model of gene sentences: a folder of Hugging Face's in, a bundle's files out.

One decision: nothing is put together here, as the model is one decoder. So every graph and text is
compared with transformers' own model, on prompts of real cells where there are some.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

import c2t
from c2t.export.bundle_parts import check_space, creation_time, write_parity
from c2t.export.cell2sentence.check import check_prompts, check_sentences
from c2t.export.cell2sentence.outline import LoadedSentences, SentenceOutline, outline_sentences
from c2t.export.cell2sentence.prompts import example_prompts
from c2t.export.checkpoint.check import FLOAT32_BYTES, check_weights
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.tensors.assembly import build_empty, count_parameters
from c2t.export.decoders.families import decoder_family
from c2t.export.field_files import check_fields, write_fields
from c2t.export.graphs.graph_builder import OPSET
from c2t.export.parity.check import check_text_parity
from c2t.export.phrases import read_phrases, write_answers
from c2t.runtime.bundle.bundle import GoldenCell, GoldenCells
from c2t.runtime.bundle.gene_order import GENE_ORDER_NAME, gene_order_bytes
from c2t.runtime.bundle.hashes import file_entries, sha256_of
from c2t.runtime.bundle.manifest import (
    FORMAT_VERSION,
    GOLDEN_NAME,
    TOKENIZER_NAME,
    Manifest,
    Origin,
    TensorReference,
)
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.text_encoder import open_encoder
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.progress import progress_bar

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class SentenceExamples:
    """Text tokens of the prompts that the graph is checked with, and what cells they are of."""

    prompts: list[list[int]]
    source: str


def export_sentences(
    folder: Path,
    options: CheckpointOptions,
    *,
    cells: Path | None,
    golden_cells: int,
    report: Report,
) -> None:
    """Write all files of a bundle of such a model, and check them.

    Args:
        folder: An empty folder.
        options: Where the model is, and its prompt.
        cells: Real cells for the check and the golden cells.
        golden_cells: How many golden cells there are at most.
        report: Called with a few words when a part of the work begins.

    Raises:
        CheckpointError: The model cannot be used; before its weights are read, as far as it shows.
        CellFileError: `cells` cannot be read.
        ParityError: The graph differs from the PyTorch model.
        OutputError: The disk has too little room.
    """
    outline, examples = _check_before_loading(folder, options, cells)
    for sentence in outline.said:
        report(sentence)
    loaded = outline.load()
    report(f"recognised {loaded.layout}")
    check_weights(loaded.model)
    report("writing the graph")
    table = _write_graph(loaded, folder)
    _write_tables(outline, folder, report)
    report("checking the graph against PyTorch")
    results = check_text_parity(loaded.model.decoder, folder, examples.prompts)
    write_parity(folder, examples.source, results)
    report("writing the expected texts")
    golden = _golden_cells(loaded, examples.prompts[:golden_cells])
    (folder / GOLDEN_NAME).write_bytes(json_bytes(golden))
    report("hashing the files")
    write_manifest(folder, _manifest(loaded, folder, table))


def _check_before_loading(
    folder: Path, options: CheckpointOptions, cells: Path | None
) -> tuple[SentenceOutline, SentenceExamples]:
    """Refuse whatever would make the export fail, as far as it shows without the weights."""
    creation_time()
    load_onnxruntime()  # the check against PyTorch runs with it
    outline = outline_sentences(options)
    check_sentences(outline)
    if outline.captions.phrases is not None:
        read_phrases(outline.captions.phrases)
    check_fields(outline.captions)
    (folder / TOKENIZER_NAME).write_text(outline.tokenizer_json, encoding="utf-8", newline="")
    prompts, source = example_prompts(outline, open_encoder(folder / TOKENIZER_NAME), cells)
    check_prompts(outline, prompts)
    empty = build_empty(decoder_family(outline.decoder.model_type), outline.decoder)
    check_space(folder, FLOAT32_BYTES * count_parameters(empty))
    return outline, SentenceExamples(prompts=prompts, source=source)


def _write_graph(loaded: LoadedSentences, folder: Path) -> TensorReference:
    """Write the decoder's graph; returns where the text token table lies."""
    decoder = loaded.model.decoder
    size = FLOAT32_BYTES * count_parameters(decoder)
    with progress_bar("writing", size, unit="bytes") as advance:
        return decoder_family(decoder.config.model_type).write_graph(
            decoder, folder / "decoder.onnx", advance=advance
        )


def _write_tables(outline: SentenceOutline, folder: Path, report: Report) -> None:
    """Write what lies beside graph and tokenizer: phrases, rules for fields, names of terms."""
    captions = outline.captions
    if captions.phrases is not None:
        ends = outline.settings.generation.eos_token_ids
        tokenizer = Tokenizer.from_str(outline.tokenizer_json)
        write_answers(captions.phrases, folder, tokenizer, next(iter(ends), None))
    write_fields(captions, folder, report, usual=outline.rules)
    if outline.listed:
        (folder / GENE_ORDER_NAME).write_bytes(gene_order_bytes(outline.listed))


def _golden_cells(loaded: LoadedSentences, prompts: Sequence[Sequence[int]]) -> GoldenCells:
    """Texts behind some prompts by the PyTorch model, with the bundle's generation settings."""
    cells = []
    generation, tokenizer = loaded.outline.settings.generation, loaded.outline.tokenizer
    with progress_bar("expected texts", len(prompts), unit="cells") as advance:
        for prompt in prompts:
            ids = loaded.model.generate(torch.tensor(list(prompt)), generation, tokenizer=tokenizer)
            text = tokenizer.decode(ids, skip_special_tokens=True)
            cells.append(GoldenCell(gene_tokens=tuple(prompt), token_ids=tuple(ids), text=text))
            advance(1)
    return GoldenCells(cells=tuple(cells))


def _manifest(loaded: LoadedSentences, folder: Path, table: TensorReference) -> Manifest:
    """The manifest of the files that now lie in `folder`."""
    outline, config = loaded.outline, loaded.model.decoder.config
    settings, sentence = outline.settings, outline.sentence
    return Manifest(
        format_version=FORMAT_VERSION,
        name=settings.name,
        precision="fp32",
        opset=OPSET,
        decoder_part=decoder_family(config.model_type).manifest_entry(config, table),
        generation_part=settings.generation,
        origin=Origin(
            c2t_version=c2t.__version__,
            layout=loaded.layout,
            created=creation_time(),
            files={name: sha256_of(path) for name, path in sorted(loaded.source_files.items())},
            notes=settings.notes,
        ),
        licences=settings.licences,
        files=file_entries(folder, [path.name for path in folder.iterdir()]),
        species=next(iter(sentence.organisms)),
        family=outline.family.name,
        tasks=outline.tasks,
        template=outline.template,
        question=outline.question,
        chat=outline.chat,
        plain_answers=outline.family.plain_answers,
        gene_sentence=sentence,
    )
