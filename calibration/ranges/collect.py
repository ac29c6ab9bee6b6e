"""Runs the float32 graphs over cells and yields the taps of each run.

One decision: a pass over the cells is a generator. The caller reduces each run's taps to ranges or
histograms, so nothing of a cell is kept when the next one runs. What all prompts begin with runs
once, before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from c2t.calibration.ranges.linears import Float32, StoredGraph
from c2t.calibration.ranges.system_inputs import (
    CalibrationCell,
    decoder_inputs,
    encoder_inputs,
    prefix_inputs,
    shared_beginning,
)
from c2t.calibration.ranges.tapped_graph import Tap, TappedGraph
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import DECODER_GRAPH, ENCODER_GRAPHS, TEXT_GRAPH
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.system.progress import progress_bar

# Rows of each linear's input that one cell adds to the samples and histograms.
ROWS_PER_CELL = 64

Taps = dict[str, dict[str, Tap]]  # graph file -> linear -> tap


@dataclass(frozen=True, eq=False, kw_only=True)
class PrefixRun:
    """The decoder's run over what all prompts begin with.

    Args:
        token_ids: Text tokens [P].
        taps: Of its linears.
        caches: Keys and values [1,KV,P,head_size], layer by layer.
    """

    token_ids: tuple[int, ...]
    taps: dict[str, Tap]
    caches: list[Float32]


class TappedSystem:
    """The graphs of a bundle, tapped.

    Args:
        bundle: A float32 bundle.
        threads: Threads of a run; None: all cores.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self._bundle = bundle
        self._prompts = bundle_prompts(bundle) if bundle.manifest.has_decoder else None
        # A text tower reads no cells: it runs once a text, in float32.
        names = [name for name in bundle.manifest.graphs if name != TEXT_GRAPH]
        self.graphs = {name: StoredGraph(bundle.file(name)) for name in names}
        self._tapped = {
            name: TappedGraph(graph, threads=threads) for name, graph in self.graphs.items()
        }

    def run_prefix(self, cells: Sequence[CalibrationCell]) -> PrefixRun | None:
        """Run what the prompts of these cells all begin with; None where that is nothing."""
        beginning = () if self._prompts is None else shared_beginning(self._prompts, cells)
        if not beginning:
            return None
        names = [f"present_{name}" for name in self._bundle.manifest.decoder.cache_names]
        decoder, inputs = self._tapped[DECODER_GRAPH], prefix_inputs(self._bundle, beginning)
        taps, caches = decoder.run(inputs, *_rows(len(beginning), 0), also=names)
        return PrefixRun(token_ids=beginning, taps=taps, caches=caches)

    def passes(
        self, cells: Sequence[CalibrationCell], label: str, prefix: PrefixRun | None = None
    ) -> Iterator[Taps]:
        """Run each cell once; yields the taps of each run, by graph.

        Args:
            cells: The cells to run.
            label: Name of the pass on the progress bar.
            prefix: The run over what their prompts begin with, which is not repeated.
        """
        caches = None if prefix is None else prefix.caches
        with progress_bar(label, len(cells), unit="cells") as advance:
            for number, cell in enumerate(cells):
                yield self._run(cell, number, caches)
                advance(1)

    def _run(self, cell: CalibrationCell, number: int, prefix: list[Float32] | None) -> Taps:
        taps: Taps = {}
        if self._prompts is None:
            self._encode(cell, number, taps)
            return taps
        if self._bundle.manifest.has_encoder:
            prompt = self._prompts.of_vectors(self._encode(cell, number, taps))
        else:
            prompt = self._prompts.of_tokens(cell.gene_tokens)
        inputs = decoder_inputs(self._bundle, prompt, cell.text_tokens, prefix)
        rows = _rows(inputs["inputs_embeds"].shape[1], number)
        taps[DECODER_GRAPH], _ = self._tapped[DECODER_GRAPH].run(inputs, *rows)
        return taps

    def _encode(self, cell: CalibrationCell, number: int, taps: Taps) -> Float32:
        """Cell vectors [K, D]; the taps of their graphs are added."""
        encoder, projector = ENCODER_GRAPHS
        inputs = encoder_inputs(self._bundle, cell.gene_tokens)
        rows = _rows(len(cell.gene_tokens), number)
        taps[encoder], outputs = self._tapped[encoder].run(inputs, *rows, also=["hidden"])
        hidden = outputs[0]
        taps[projector], outputs = self._tapped[projector].run(
            {"hidden": hidden}, *_rows(hidden.shape[1], number), also=["cell_vectors"]
        )
        vectors: Float32 = outputs[0][0]
        return vectors


def _rows(length: int, number: int) -> tuple[int, int]:
    """First row and step for a cell; the first row differs from cell to cell."""
    step = max(1, length // ROWS_PER_CELL)
    return number % step, step
