"""A part of gpu_engines.py: a file of cells described in batches, in cells a second.

The file is written here, with as many genes a cell as real files have. All of it is timed from the
opened file on: reading, ranking, encoder, prompts and texts. Weights are random, so texts say
nothing, and there are no drafts. PyTorch's figure beside it: `gpu_peer.py batched`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from gpu_sizes import BATCHES, GENERATED, gene_counts

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer, engine_request
from c2t.runtime.engines.choose import ChosenEngines
from c2t.runtime.engines.gpu.open import open_onnxruntime_engines
from c2t.runtime.system.timing import StageClock

FULL_BATCHES = 2  # cells of a file, in batches: rows are filled again, and run empty at its end


def time_cells(options: argparse.Namespace, note: Callable[..., None], variant: str) -> None:
    """Describe a file with each size of batch."""
    int8 = variant == "int8"
    bundle = open_bundle(options.scratch / ("bundle-int8" if int8 else "bundle"), verify=False)
    file = options.scratch / "cells.h5ad"
    write_cells(file, bundle, FULL_BATCHES * max(BATCHES))
    for batch in BATCHES:
        settings = DescribeOptions(
            engine="cuda", batch_size=batch, max_new_tokens=GENERATED, drafts=False
        )
        request = replace(engine_request(bundle, settings), graphs=options.scratch / variant)
        clock = StageClock()
        engines = open_onnxruntime_engines(bundle, request, clock)
        note(engine=engines.label)
        chosen = ChosenEngines(engines, True, "a benchmark")
        describer = Describer(bundle, settings, chosen=chosen, clock=clock)
        note(**{f"batches of {batch}": time_file(describer, bundle, file, FULL_BATCHES * batch)})
        del engines, chosen, describer


def time_file(describer: Describer, bundle: Bundle, file: Path, cells: int) -> dict[str, Any]:
    """Seconds of the first cells of a file, after a warm-up that records CUDA graphs."""
    described, seconds = [], 0.0
    for warm in (True, False):
        reader = open_cells(file, bundle)
        since = perf_counter()
        described = []
        for description in describer.describe(reader):
            described.append(description)
            if len(described) == (cells // FULL_BATCHES if warm else cells):
                break
        seconds = perf_counter() - since
    failed = [each.error for each in described if each.error]
    tokens = sum(len(each.tokens) for each in described)
    return {
        "cells": len(described),
        "seconds": seconds,
        "cells_per_second": len(described) / seconds,
        "tokens_per_cell": tokens / len(described),
        "stages": {name: round(value, 3) for name, value in describer.clock.seconds.items()},
        **({"failed": f"{len(failed)} cells: {failed[0]}"} if failed else {}),
    }


def write_cells(file: Path, bundle: Bundle, cells: int) -> None:
    """Write an h5ad of random counts; needs h5py alone."""
    import h5py

    draw = np.random.default_rng(0)
    names = bundle.genes.ensembl_id
    detected = np.minimum(gene_counts(cells), len(names) // 2)
    starts = np.concatenate([[0], np.cumsum(detected)])
    columns = [np.sort(draw.permutation(len(names))[:count]) for count in detected]
    strings = h5py.string_dtype()
    with h5py.File(file, "w") as out:
        out.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        counts = out.create_group("X")
        counts.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
        counts.attrs["shape"] = np.array([cells, len(names)])
        counts["data"] = draw.geometric(0.4, starts[-1]).astype(np.float32)
        counts["indices"] = np.concatenate(columns).astype(np.int32)
        counts["indptr"] = starts.astype(np.int64)
        texts = [name.decode() for name in names]
        for part, index in (("obs", [f"cell{n}" for n in range(cells)]), ("var", texts)):
            frame = out.create_group(part)
            frame.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0"})
            frame.attrs["_index"] = "_index"
            frame.attrs["column-order"] = np.array([], dtype=strings)
            frame["_index"] = np.array(index, dtype=strings)
            frame["_index"].attrs.update(
                {"encoding-type": "string-array", "encoding-version": "0.2.0"}
            )
