"""How much each product's quantisation alone disturbs the model, and which to leave out first.

One decision: every product gets the cheap figure (the noise in its own output, from calibration);
the noisiest (of a small model: all) get the telling one: how far the decoder's next-token
distributions move when that product alone is quantised, along texts that the float32 bundle wrote.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from c2t.calibration.evaluate.teacher_forcing import TeacherForcing, kl_divergence
from c2t.calibration.quantise.calibration_plan import CalibrationPlan, ProductReport
from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe
from c2t.calibration.ranges.products import Float32, StoredGraph
from c2t.calibration.ranges.system_inputs import CalibrationCell
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.engine_protocol import EngineOptions, Engines
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder, open_engines
from c2t.runtime.system.progress import progress_bar

# Texts that a product is judged along.
FORCED_CELLS = 6
# A decoder with less data than this takes a second or two a product, so all of them are measured.
SMALL_BYTES = 256 << 20
NOISIEST = 8  # of a larger one
ENCODER_GRAPHS = ("encoder.onnx", "projector.onnx")


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """One product.

    Args:
        graph: File of its graph.
        product: Its name.
        sqnr: Of its output, in dB.
        kl: Mean KL(float32 || quantised) of a text token, in nats, with this product alone
            quantised; None where it was not measured.
    """

    graph: str
    product: str
    sqnr: float
    kl: float | None = None


def rank(reports: Sequence[ProductReport]) -> list[Sensitivity]:
    """All products, the noisiest first."""
    found = [Sensitivity(graph=r.graph, product=r.product, sqnr=r.sqnr) for r in reports]
    return sorted(found, key=lambda s: (s.sqnr, s.graph, s.product))


def products_to_measure(bundle: Bundle, asked: int | None) -> int | None:
    """For how many products divergence is measured, None for all of them.

    Args:
        bundle: The float32 bundle.
        asked: What the user wants; None: all of a small model, the noisiest of a large one.
    """
    if asked is not None:
        return asked
    return None if bundle.file("decoder.onnx.data").stat().st_size < SMALL_BYTES else NOISIEST


def measure_divergence(
    bundle: Bundle,
    plan: CalibrationPlan,
    ranked: Sequence[Sensitivity],
    cells: Sequence[CalibrationCell],
    *,
    worst: int | None,
    scratch: Path,
    threads: int | None,
) -> list[Sensitivity]:
    """Measure KL for the first of a ranking, and put them in order of it.

    Args:
        bundle: The float32 bundle.
        plan: The calibration.
        ranked: All products, the noisiest first.
        cells: Cells with the float32 bundle's texts.
        worst: How many products to measure; None: all.
        scratch: Where changed graphs can lie for a while; best beside the bundle.
        threads: Threads of the engines.
    """
    texts = [cell for cell in cells if cell.text_tokens][:FORCED_CELLS]
    chosen = ranked[:worst]
    if not texts or not chosen:
        return list(ranked)
    probe = _Probe(bundle, texts, threads)
    measured = []
    with progress_bar("sensitivity", len(chosen), unit="products") as advance:
        for item in chosen:
            # Nothing is folded for the other products, so that their weights need no copy.
            recipe = plan.recipes[item.graph].products[item.product]
            alone = GraphRecipe(products={item.product: recipe})
            with _one_graph(bundle, item.graph, alone, scratch) as changed:
                measured.append(replace(item, kl=probe.divergence(item.graph, changed)))
            advance(1)
    measured.sort(key=lambda s: -(s.kl or 0.0))
    return [*measured, *ranked[len(chosen) :]]


class _Probe:
    """What the float32 bundle believes along some texts, and how far a changed graph is from it."""

    def __init__(
        self, bundle: Bundle, cells: Sequence[CalibrationCell], threads: int | None
    ) -> None:
        self._bundle, self._cells, self._threads = bundle, cells, threads
        self._longest = max(len(cell.text_tokens) for cell in cells)
        # Opened for a few texts: packing weights would cost more time and memory than it saves.
        self._options = EngineOptions(threads=threads, spin=False, prepack=False)
        self._engines = open_engines(bundle, self._options)
        self._vectors: list[Float32] = []
        self._expected: list[Float32] = []
        reference = self._forcing(self._engines)
        for cell in cells:
            self._vectors.append(reference.encode(cell.gene_tokens).copy())
            found = reference.log_probabilities(self._vectors[-1], cell.text_tokens)
            self._expected.append(np.concatenate(list(found)).astype(np.float32))

    def divergence(self, name: str, changed: Path) -> float:
        """Mean KL(float32 || changed) of a text token, in nats, with one graph replaced."""
        forcing = self._forcing(self._changed(name, changed))
        total = 0.0
        for cell, vectors, expected in zip(self._cells, self._vectors, self._expected, strict=True):
            if name != "decoder.onnx":
                vectors = forcing.encode(cell.gene_tokens)
            first = 0
            for believed in forcing.log_probabilities(vectors, cell.text_tokens):
                rows = expected[first : first + len(believed)].astype(np.float64)
                total += float(kl_divergence(rows, believed).sum())
                first += len(believed)
        return total / sum(len(cell.text_tokens) for cell in self._cells)

    def _changed(self, name: str, changed: Path) -> Engines:
        """The engines with one graph replaced; the other sessions are shared."""
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

    def _forcing(self, engines: Engines) -> TeacherForcing:
        return TeacherForcing(self._bundle, engines, longest=self._longest)


@contextmanager
def _one_graph(bundle: Bundle, name: str, recipe: GraphRecipe, scratch: Path) -> Iterator[Path]:
    """Write one changed graph to a temporary folder, with no copy of what stays as it was."""
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
