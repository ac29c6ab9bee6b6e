"""Measures how much quantising each linear alone disturbs the model.

One decision: there is a cheap measure for every linear, and a better one for few. The cheap one is
the noise in the linear's own output, which calibration computes. The better one is the KL
divergence of next-token distributions along texts of the float32 bundle, with that linear alone
quantised. It is measured for the noisiest linears; of a small model, for all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from msgspec import structs

from c2t.calibration.evaluate.teacher_forcing import TeacherForcing, kl_divergence
from c2t.calibration.quantise.float_prefix import FloatPrefix
from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe
from c2t.calibration.ranges.linears import Float32, StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell
from c2t.calibration.results.calibration import LinearReport, Sensitivity
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import DECODER_GRAPH, GRAPHS
from c2t.runtime.engine_protocol import EngineOptions, Engines
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.engines.cpu.open import open_engines
from c2t.runtime.generation.prompt import CellPrompt
from c2t.runtime.system.progress import progress_bar

# Texts that KL is measured along.
FORCED_CELLS = 6
# With less decoder data than this, a linear takes a second or two, so all are measured.
SMALL_BYTES = 256 << 20
NOISIEST = 8  # linears of a larger model that are measured
ENCODER_GRAPHS = ("encoder.onnx", "projector.onnx")


def rank(reports: Sequence[LinearReport]) -> list[Sensitivity]:
    """All linears, the noisiest first."""
    items = [Sensitivity(graph=r.graph, linear=r.linear, sqnr=r.sqnr) for r in reports]
    return sorted(items, key=lambda item: (item.sqnr, item.graph, item.linear))


def linears_to_measure(bundle: Bundle, asked: int | None) -> int | None:
    """How many linears divergence is measured for; None: all.

    Args:
        bundle: The float32 bundle.
        asked: The user's choice; None: all of a small model, the noisiest of a large one.
    """
    if not bundle.manifest.has_decoder:
        return 0  # there is no next token whose distribution could diverge
    if asked is not None:
        return asked
    return None if bundle.file("decoder.onnx.data").stat().st_size < SMALL_BYTES else NOISIEST


def measure_divergence(
    bundle: Bundle,
    recipes: Mapping[str, GraphRecipe],
    ranked: Sequence[Sensitivity],
    cells: Sequence[CalibrationCell],
    *,
    worst: int | None,
    scratch: Path,
    threads: int | None,
    prefix: FloatPrefix | None = None,
) -> list[Sensitivity]:
    """Measure KL for the first linears of a ranking, and sort these by it.

    Args:
        bundle: The float32 bundle.
        recipes: By graph file, every linear quantised.
        ranked: All linears, the noisiest first.
        cells: Cells with the float32 bundle's texts.
        worst: How many linears to measure; None: all.
        scratch: Folder for temporary graphs. On the bundle's file system, no weights are copied.
        threads: Threads of the engines; None: all cores.
        prefix: What all prompts begin with, where that stays float32.

    Returns:
        The measured linears, the largest KL first, then the others as they were ranked.
    """
    texts = [cell for cell in cells if cell.text_tokens][:FORCED_CELLS]
    chosen = ranked[:worst]
    if not texts or not chosen:
        return list(ranked)
    probe = _Probe(bundle, texts, threads, prefix)
    measured = []
    with progress_bar("sensitivity", len(chosen), unit="linears") as advance:
        for item in chosen:
            # The other linears are not smoothed, so their weights are shared, not copied.
            recipe = recipes[item.graph].linears[item.linear]
            alone = GraphRecipe(linears={item.linear: recipe})
            with _one_graph(bundle, item.graph, alone, scratch) as changed:
                kl = probe.divergence(item.graph, changed, alone)
                measured.append(structs.replace(item, kl=kl))
            advance(1)
    measured.sort(key=lambda item: -(item.kl or 0.0))
    return [*measured, *ranked[len(chosen) :]]


class _Probe:
    """Distributions of the float32 bundle along some texts, to compare a changed graph with."""

    def __init__(
        self,
        bundle: Bundle,
        cells: Sequence[CalibrationCell],
        threads: int | None,
        prefix: FloatPrefix | None,
    ) -> None:
        self._bundle, self._cells, self._prefix = bundle, cells, prefix
        self._decoder = StoredGraph(bundle.file(DECODER_GRAPH))
        self._longest = max(len(cell.text_tokens) for cell in cells)
        # No prepacking: for a few texts it costs more time and memory than it saves.
        self._options = EngineOptions(threads=threads, spin=False, prepack=False)
        self._engines = open_engines(bundle, self._options)
        self._prompts: list[CellPrompt] = []
        self._expected: list[Float32] = []
        reference = self._forcing(self._engines, GraphRecipe())
        for cell in cells:
            prompt = reference.prompt(cell.gene_tokens)
            blocks = list(reference.log_probabilities(prompt, cell.text_tokens))
            self._prompts.append(prompt)
            self._expected.append(np.concatenate(blocks).astype(np.float32))

    def divergence(self, name: str, changed: Path, recipe: GraphRecipe) -> float:
        """Mean KL(float32 || changed) of a text token, in nats, with one graph replaced."""
        of_decoder = recipe if name == DECODER_GRAPH else GraphRecipe()
        forcing = self._forcing(self._changed(name, changed), of_decoder)
        total = 0.0
        for cell, prompt, expected in zip(self._cells, self._prompts, self._expected, strict=True):
            if name != "decoder.onnx":
                prompt = forcing.prompt(cell.gene_tokens)
            first = 0
            for actual in forcing.log_probabilities(prompt, cell.text_tokens):
                rows = expected[first : first + len(actual)].astype(np.float64)
                total += float(kl_divergence(rows, actual).sum())
                first += len(actual)
        return total / sum(len(cell.text_tokens) for cell in self._cells)

    def _changed(self, name: str, changed: Path) -> Engines:
        """Engines with one graph replaced; the other sessions are shared."""
        bundle, sizes = self._bundle, self._bundle.manifest
        if name == "decoder.onnx":
            decoder = OnnxRuntimeDecoder(
                changed, sizes.decoder, bundle.token_embedding, self._options
            )
            return replace(self._engines, decoder=decoder)
        encoder, projector = (
            changed if name == own else bundle.file(own) for own in ENCODER_GRAPHS
        )
        tables = bundle.gene_embedding_tables
        opened = OnnxRuntimeEncoder(encoder, projector, tables, self._options)
        return replace(self._engines, encoder=opened)

    def _forcing(self, engines: Engines, recipe: GraphRecipe) -> TeacherForcing:
        prefix = self._prefix
        constant = None if prefix is None else prefix.under(self._decoder, recipe)
        return TeacherForcing(self._bundle, engines, longest=self._longest, constant=constant)


@contextmanager
def _one_graph(bundle: Bundle, name: str, recipe: GraphRecipe, scratch: Path) -> Iterator[Path]:
    """Write one changed graph to a temporary folder; unchanged weights are linked, if possible."""
    assert name in GRAPHS
    with TemporaryDirectory(prefix=".c2t-", dir=scratch) as folder:
        path = Path(folder) / f"changed.{name}"
        data = bundle.file(f"{name}.data")
        try:
            os.link(data, path.with_name(data.name))
        except OSError:  # another file system, or one without links
            share = False
        else:
            share = True
        write_quantised(StoredGraph(bundle.file(name)), path, recipe, share=share)
        yield path
