"""Runs the float32 graphs over cells and gives what their products were given.

One decision: a pass is a generator of taps. What is made of them (ranges, histograms) is the
caller's, and nothing of a cell is kept when the next one comes. The prompt's prefix is run once a
pass, as it is run once when a bundle is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from c2t.calibration.ranges.products import Float32, StoredGraph
from c2t.calibration.ranges.system_inputs import (
    CalibrationCell,
    decoder_inputs,
    encoder_inputs,
    prefix_inputs,
)
from c2t.calibration.ranges.tapped_graph import Tap, TappedGraph
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.system.progress import progress_bar

# Rows of each product's input that one cell gives to the samples and histograms.
ROWS_PER_CELL = 64

Taps = dict[str, dict[str, Tap]]  # graph file -> product -> tap


class TappedSystem:
    """The three graphs of a bundle, tapped.

    Args:
        bundle: A float32 bundle.
        threads: Threads of a run; None: all cores.
    """

    def __init__(self, bundle: Bundle, *, threads: int | None = None) -> None:
        self._bundle = bundle
        self.graphs = {name: StoredGraph(bundle.file(name)) for name in GRAPHS}
        self._tapped = {
            name: TappedGraph(graph, threads=threads) for name, graph in self.graphs.items()
        }

    def passes(self, cells: Sequence[CalibrationCell], label: str) -> Iterator[Taps]:
        """Run the prefix and every cell once; yields the taps of each run."""
        with progress_bar(label, len(cells), unit="cells") as advance:
            taps, prefix = self._run_prefix()
            if taps:
                yield taps
            for number, cell in enumerate(cells):
                yield self._run(cell, number, prefix)
                advance(1)

    def _run_prefix(self) -> tuple[Taps, list[Float32] | None]:
        """Taps of the decoder, and its keys and values; nothing where there is no prefix."""
        manifest = self._bundle.manifest
        length = len(manifest.prompt.prefix_ids)
        if not length:
            return {}, None
        names = [f"present_{name}" for name in manifest.decoder.cache_names]
        decoder = self._tapped["decoder.onnx"]
        taps, caches = decoder.run(prefix_inputs(self._bundle), *_rows(length, 0), also=names)
        return {"decoder.onnx": taps}, caches

    def _run(self, cell: CalibrationCell, number: int, prefix: list[Float32] | None) -> Taps:
        encoder, projector, decoder = (self._tapped[name] for name in GRAPHS)
        inputs = encoder_inputs(self._bundle, cell.gene_tokens)
        rows = _rows(len(cell.gene_tokens), number)
        first, outputs = encoder.run(inputs, *rows, also=["hidden"])
        hidden = outputs[0]
        second, outputs = projector.run(
            {"hidden": hidden}, *_rows(hidden.shape[1], number), also=["cell_vectors"]
        )
        inputs = decoder_inputs(self._bundle, outputs[0][0], cell.text_tokens, prefix)
        rows = _rows(inputs["inputs_embeds"].shape[1], number)
        third, _ = decoder.run(inputs, *rows)
        return dict(zip(GRAPHS, (first, second, third), strict=True))


def _rows(length: int, number: int) -> tuple[int, int]:
    """First row and step: elsewhere for each cell, so that no kind of row is left out."""
    step = max(1, length // ROWS_PER_CELL)
    return number % step, step
