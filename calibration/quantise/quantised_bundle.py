"""Writes the files of a quantised bundle: graphs, tables, and copies of the rest."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import structs
from safetensors.numpy import save

from c2t.calibration.quantise.float_prefix import FloatPrefix
from c2t.calibration.quantise.quantised_graph import StoredRows, write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe
from c2t.calibration.ranges.linears import StoredGraph
from c2t.kernels.gene_embedding.tables import GeneEmbeddingTables, convert_tables
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import (
    DECODER_GRAPH,
    MANIFEST_NAME,
    PREFIX_NAME,
    Decoder,
    FileEntry,
)
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME
from c2t.runtime.system.progress import progress_bar

GENE_TABLES = "gene_embedding.safetensors"
# Not copied: they describe the float32 graphs, and how sure those are.
LEFT_BEHIND = ("parity.json", UNSURE_NAME)


def write_quantised_bundle(
    source: Bundle,
    folder: Path,
    recipes: Mapping[str, GraphRecipe],
    *,
    precision: str,
    prefix: FloatPrefix | None = None,
) -> Bundle:
    """Write a bundle into an empty folder.

    Args:
        source: The float32 bundle.
        folder: The empty folder.
        recipes: By graph file; a graph without one is copied.
        precision: The precision for the manifest.
        prefix: What all prompts begin with, where its keys and values stay float32.

    Returns:
        The new bundle, opened. It has no hashes until `complete_manifest`.
    """
    table, graphs = None, source.manifest.graphs
    total = sum(source.file(f"{name}.data").stat().st_size for name in graphs)
    with progress_bar("writing the graphs", total, unit="bytes") as advance:
        for name in graphs:
            graph = StoredGraph(source.file(name))
            recipe = recipes.get(name, GraphRecipe())
            is_decoder = name == DECODER_GRAPH
            reference = source.manifest.decoder.token_embedding if is_decoder else None
            rows = write_quantised(graph, folder / name, recipe, reference, progress=advance)
            table = rows if is_decoder else table
            if is_decoder and prefix is not None:
                stored = prefix.under(graph, recipe).keys_values
                (folder / PREFIX_NAME).write_bytes(stored.astype("<f4").tobytes())
    if source.manifest.has_encoder:
        write_gene_tables(source.gene_embedding_tables, folder / GENE_TABLES)
    written = {GENE_TABLES, *graphs, *(f"{name}.data" for name in graphs)}
    for name in set(source.manifest.files) - written - set(LEFT_BEHIND):
        shutil.copyfile(source.file(name), folder / name)
    manifest = source.manifest.replace(
        precision=precision,
        files={},
        stored_prefix=() if prefix is None else prefix.token_ids,
    )
    if table is not None:
        manifest = manifest.replace(decoder=_decoder(source.manifest.decoder, table))
    write_manifest(folder, manifest.replace(files=_unhashed(folder)))
    return open_bundle(folder, verify=False)


def complete_manifest(bundle: Bundle) -> None:
    """Write the manifest of a finished bundle: every file of its folder with its hash."""
    names = _names(bundle.path)
    with progress_bar("hashing the files", bytes_of(bundle), unit="bytes") as advance:
        files = file_entries(bundle.path, names, progress=advance)
    write_manifest(bundle.path, bundle.manifest.replace(files=files))


def write_gene_tables(tables: GeneEmbeddingTables, path: Path) -> None:
    """Write the gene embedding's tables as int8 with a scale a row."""
    small = convert_tables(tables, np.dtype(np.int8))
    arrays = {
        "word": small.word,
        "position": small.position,
        "word_scale": small.word_scale,
        "position_scale": small.position_scale,
        "token_type": small.token_type,
        "gamma": small.gamma,
        "beta": small.beta,
    }
    # Not `save_file`, which makes files that only their owner can read.
    path.write_bytes(save({name: array for name, array in arrays.items() if array is not None}))


def bytes_of(bundle: Bundle) -> int:
    """Size of all files in a bundle's folder, whether the manifest lists them or not."""
    return sum((bundle.path / name).stat().st_size for name in _names(bundle.path))


def _decoder(decoder: Decoder, table: StoredRows) -> Decoder:
    return structs.replace(decoder, token_embedding=table.values, token_scale=table.scale)


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder) if entry.name != MANIFEST_NAME]


def _unhashed(folder: Path) -> dict[str, FileEntry]:
    """Entries with lengths and empty hashes; `complete_manifest` fills them in."""
    return {
        name: FileEntry(bytes=(folder / name).stat().st_size, sha256="") for name in _names(folder)
    }
