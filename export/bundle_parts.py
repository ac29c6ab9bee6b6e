"""The files of a bundle, and the manifest that describes them."""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save
from tokenizers import Tokenizer

import c2t
from c2t.export.checkpoint.check import FLOAT32_BYTES
from c2t.export.checkpoint.gene_dictionaries.vocabulary import write_genes_npz
from c2t.export.checkpoint.tensors.assembly import count_parameters
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.export.graphs.graph_builder import OPSET, no_progress
from c2t.export.model.family import EncoderGraph
from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.parity.result import ParityResult
from c2t.export.phrases import write_phrases
from c2t.export.projectors.families import cell_vectors, write_projector_graph
from c2t.runtime.bundle.hashes import file_entries, sha256_of
from c2t.runtime.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Manifest,
    Origin,
    Projector,
    TensorReference,
)
from c2t.runtime.bundle.tasks import ASK, CELL2TEXT_TASKS, DESCRIBE, EMBED
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME
from c2t.runtime.cells.genes.organism import bundle_species
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import CheckpointError, OutputError
from c2t.runtime.system.progress import Advance

PARITY_NAME = "parity.json"


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """The contents of `parity.json`: how far the graphs are from PyTorch, output by output."""

    cells: str
    results: tuple[ParityResult, ...]


def write_parity(folder: Path, cells: str, results: Sequence[ParityResult]) -> None:
    """Write what was compared with PyTorch."""
    report = ParityReport(cells=cells, results=tuple(results))
    (folder / PARITY_NAME).write_bytes(json_bytes(report))


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


def graph_bytes(loaded: LoadedCheckpoint) -> int:
    """About the bytes of the graphs' weights: all but the gene tables, which lie beside them."""
    encoder = loaded.model.encoder
    tables = encoder_family(encoder.config.model_type).embedding_tables(encoder).values()
    beside: int = sum(table.numel() for table in tables)
    return FLOAT32_BYTES * (count_parameters(loaded.model) - beside)


def write_graphs(
    loaded: LoadedCheckpoint, folder: Path, *, advance: Advance = no_progress
) -> tuple[EncoderGraph, TensorReference]:
    """Write the three graphs with their data files.

    Args:
        loaded: The checkpoint; its weights are read, not copied.
        folder: Where the graphs go.
        advance: Called with the number of bytes written since its last call.

    Returns:
        What the encoder graph holds, and where the text token table lies.
    """
    model = loaded.model
    encoder = encoder_family(model.encoder.config.model_type).write_graph(
        model.encoder,
        folder / "encoder.onnx",
        emb_layer=model.emb_layer,
        rows=model.rows,
        mean_of=model.mean_of,
        advance=advance,
    )
    write_projector_graph(model.projector, folder / "projector.onnx", advance=advance)
    token_embedding = decoder_family(model.decoder.config.model_type).write_graph(
        model.decoder, folder / "decoder.onnx", advance=advance
    )
    return encoder, token_embedding


def write_tables(loaded: LoadedCheckpoint, folder: Path) -> None:
    """Write what lies beside the graphs: tables of genes, tokenizer, phrases, rules and names."""
    encoder = loaded.model.encoder
    tables = encoder_family(encoder.config.model_type).embedding_tables(encoder)
    contiguous = {name: table.detach().contiguous() for name, table in tables.items()}
    # Not `save_file`: it makes files that only their owner can read.
    (folder / "gene_embedding.safetensors").write_bytes(save(contiguous))
    write_genes_npz(loaded.genes, folder / "genes.npz")
    (folder / "tokenizer.json").write_text(loaded.tokenizer_json, encoding="utf-8", newline="")
    phrases = loaded.captions.phrases
    if phrases is not None:
        write_phrases(
            phrases, folder, Tokenizer.from_str(loaded.tokenizer_json), _end_token(loaded)
        )
    if loaded.captions.unsure is not None:
        shutil.copyfile(loaded.captions.unsure, folder / UNSURE_NAME)


def _end_token(loaded: LoadedCheckpoint) -> int | None:
    """The token that most likely ends a caption: the tokenizer's own, if generation stops there."""
    ends = loaded.generation.eos_token_ids
    own = loaded.tokenizer.eos_token_id
    return own if own in ends else next(iter(ends), None)


def make_manifest(
    loaded: LoadedCheckpoint, folder: Path, graph: EncoderGraph, token_embedding: TensorReference
) -> Manifest:
    """The manifest of the files that now lie in `folder`."""
    model, settings = loaded.model, loaded.settings
    encoder = encoder_family(model.encoder.config.model_type)
    decoder = decoder_family(model.decoder.config.model_type)
    projector = model.projector.config
    names = [entry.name for entry in os.scandir(folder) if entry.name != MANIFEST_NAME]
    question = settings.user_message if loaded.template else ""
    answers = (DESCRIBE, ASK, EMBED) if question else (ASK, EMBED)
    return Manifest(
        format_version=FORMAT_VERSION,
        name=settings.name,
        precision="fp32",
        opset=OPSET,
        gene_input_part=encoder.gene_input(model.encoder.config, loaded.genes),
        encoder_part=encoder.manifest_entry(model.encoder.config, graph),
        projector_part=Projector(kind=projector.kind, vectors=cell_vectors(projector, model.top_k)),
        decoder_part=decoder.manifest_entry(model.decoder.config, token_embedding),
        prompt_part=None if loaded.template else loaded.prompt,
        generation_part=loaded.generation,
        origin=Origin(
            c2t_version=c2t.__version__,
            layout=loaded.layout,
            created=creation_time(),
            files={name: sha256_of(path) for name, path in sorted(loaded.source_files.items())},
            random_weights=loaded.random_weights,
            notes=settings.notes,
        ),
        licences=loaded.licences,
        files=file_entries(folder, names),
        species=_species(loaded),
        family=loaded.family,
        tasks=answers if loaded.template else CELL2TEXT_TASKS,
        template=loaded.template,
        question=question,
    )


def _species(loaded: LoadedCheckpoint) -> str:
    """The species whose genes the vocabulary has."""
    found = bundle_species(loaded.genes)
    return "unknown" if found is None else found.name


def creation_time() -> str:
    """Now in UTC, or the moment that SOURCE_DATE_EPOCH names: an export can be repeated exactly.

    Raises:
        CheckpointError: SOURCE_DATE_EPOCH is not a number of seconds.
    """
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        moment = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC)
    except (ValueError, OverflowError, OSError) as error:
        problem = f"SOURCE_DATE_EPOCH is {epoch!r}"
        raise CheckpointError(problem, hint="set it to seconds since 1970, or unset it") from error
    return moment.isoformat(timespec="seconds")
