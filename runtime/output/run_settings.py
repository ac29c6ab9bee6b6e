"""What a run is: all that changes a description, and nothing that does not."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import c2t
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.stated_settings import LATER_SETTINGS
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.describe.describer import DescribeOptions, generation_settings
from c2t.runtime.describe.embedding import embedding_sentence
from c2t.runtime.describe.text_settings import later_settings
from c2t.runtime.describe.unsure import unsure_mark
from c2t.runtime.output.record import EMBEDDING_KEY, UNSURE_KEY
from c2t.runtime.output.write import Run


def run_settings(bundle: Bundle, describing: DescribeOptions, reader: CellReader) -> dict[str, str]:
    """All settings that change a text or how it is marked, by name."""
    generation = generation_settings(bundle.manifest.generation, describing)
    later = later_settings(generation)  # runs of earlier versions do not state the others
    settings = {
        name: str(value)
        for name, value in asdict(generation).items()
        if name not in LATER_SETTINGS or name in later
    }
    mark = unsure_mark(bundle, describing.unsure_below)
    if mark is not None:
        settings["unsure below"] = f"{mark.below:g} ({mark.about['compared']})"
    if describing.embedding:
        settings["embedding"] = "kept"
    return settings | reading_settings(reader)


def reading_settings(reader: CellReader) -> dict[str, str]:
    """All settings that change what is read of the cells, by name."""
    settings = {
        "layer": reader.counts_report.location,
        "values": f"{reader.counts_report.kind}, base {reader.counts_report.log_base}",
        "gene column": reader.gene_report.column,
    }
    reading = reader.options
    if reading.part is not None:
        settings["part"] = reading.part
    if reading.species is not None:
        settings["species"] = reading.species
    if reading.orthologues is not None:
        # A user's table may be a link; a file of a bundle, which `sha256_of` is for, may not.
        with Path(reading.orthologues).open("rb") as table:
            settings["orthologues"] = hashlib.file_digest(table, "sha256").hexdigest()
    return settings


def described_run(
    cells: Path,
    reader: CellReader,
    describing: DescribeOptions,
    *,
    bundle: Bundle,
    engine: str,
    embedding: bool = False,
) -> Run:
    """The run's identity, and what it says of itself.

    Args:
        cells: The file of cells.
        reader: Reads them.
        describing: How they are described.
        bundle: With what.
        engine: What runs it.
        embedding: Whether the embeddings are written.
    """
    generation = generation_settings(bundle.manifest.generation, describing)
    about: dict[str, Any] = {
        "bundle": bundle.manifest.name,
        "bundle_sha256": bundle.digest,
        "precision": bundle.manifest.precision,
        "c2t_version": c2t.__version__,
        "engine": engine,
        "generation": {
            "max_new_tokens": generation.max_new_tokens,
            "num_beams": generation.num_beams,
            "no_repeat_ngram_size": generation.no_repeat_ngram_size,
            **later_settings(generation),
        },
        "counts": reader.counts_report.sentence,
        "genes": reader.gene_report.sentence,
    }
    mark = unsure_mark(bundle, describing.unsure_below)
    if mark is not None:
        about[UNSURE_KEY] = mark.about
    if embedding:
        about[EMBEDDING_KEY] = {
            "is": embedding_sentence(bundle.manifest),
            "size": bundle.manifest.gene_input.hidden_size,
            "cells_without": "NaN",
        }
    return Run(
        cells=cells,
        rows=reader.cell_index,
        bundle=bundle.digest,
        options=run_settings(bundle, describing, reader),
        about=about,
        c2t_version=c2t.__version__,
        embedding=describing.embedding,
    )
