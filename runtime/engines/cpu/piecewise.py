"""What ONNX Runtime gives for a graph, with only a piece of its weights in memory at a time.

One decision: a graph that our kernels compute is opened piece by piece, once, for the comparison
with them. A session of the whole graph maps all weights, runs through them, and copies some: at 1B
sizes that was the largest memory that an opened bundle ever took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.graph_check import GRAPH_BYTES_MAX
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.cpu.graph_pieces import Piece, cut_graph
from c2t.runtime.engines.cpu.row_blocks import row_blocks
from c2t.runtime.engines.cpu.session import RUN_HINT, ChangedGraph, open_session
from c2t.runtime.engines.onnxruntime_library import onnxruntime_errors
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError, EngineError, first_line
from c2t.runtime.system.portable.memory import return_free_memory

# Of a piece of several layers: a session of each layer of a small graph would only take time.
PIECE_BYTES = 32 << 20
# Of the weight of a product that is run in blocks. Larger ones take ONNX Runtime twice the time a
# byte, smaller ones more sessions.
BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Later:
    """How the pieces behind the first one are run: with fewer tokens.

    Args:
        inputs: The graph's inputs for those tokens.
        tokens: How many; of what the first piece gives, the first ones are read.
    """

    inputs: Mapping[str, NDArray[Any]]
    tokens: int


def run_in_pieces(
    path: Path,
    results: Sequence[str],
    given: Mapping[str, NDArray[Any]],
    options: EngineOptions,
    *,
    later: Later | None = None,
    product: str = "",
    changed: ChangedGraph | None = None,
) -> dict[str, Float32]:
    """What the pieces of a graph give, by name and in order.

    Args:
        path: The graph file.
        results: See `cut_graph`; [1, T, N] but for the last.
        given: The graph's inputs by name, as far as the results need them.
        options: Threads. Weights are not copied.
        later: How the pieces behind the first are run; None: as that one.
        product: The product of the last result, whose weight may be larger than all else; it is run
            in blocks. "": there is none.
        changed: What to run in place of the graph file.

    Raises:
        BundleError: The graph cannot be read, or does not compute such a value.
        EngineError: ONNX Runtime cannot open or run a piece.
    """
    hint = "export the bundle again"
    if changed is None:
        content = read_bounded(path, bytes_max=GRAPH_BYTES_MAX, error=BundleError, hint=hint)
        changed = ChangedGraph(content, path.parent)
    ends = [*results[:-1], product, results[-1]] if product else results
    try:
        pieces = cut_graph(changed.content, ends, weight_bytes=PIECE_BYTES)
        # Every piece, and the blocks that it is run in.
        blocks = [
            row_blocks(piece, block_bytes=BLOCK_BYTES) if piece.output == product else [piece]
            for piece in pieces
        ]
    except (KeyError, IndexError, ValueError) as error:
        problem = f"{path.name} cannot be cut into pieces: {error}"
        raise BundleError(problem, hint=hint) from error
    values, found = dict(given), dict[str, Float32]()
    for piece, parts in zip(pieces, blocks, strict=True):
        try:
            inputs = {name: values[name] for name in piece.inputs}
        except KeyError as error:
            problem = f"{path.name} has an input that nobody gives: {error}"
            raise BundleError(problem, hint=hint) from error
        # Nothing keeps a session: its weights go when it has run. All run in this thread: others
        # would have heaps of their own, of which the C library keeps a thirtieth of a 1B bundle.
        columns = [_run(path, part, inputs, changed, options) for part in parts]
        result = columns[0] if len(columns) == 1 else np.concatenate(columns, axis=-1)
        found[piece.output] = result
        if later is not None and piece is pieces[0] and piece.output != product:
            values = dict(later.inputs)
            result = result[:, : later.tokens]
        values[piece.output] = result
    found.pop(product, None)
    return_free_memory()
    return found


def _run(
    path: Path,
    piece: Piece,
    inputs: dict[str, NDArray[Any]],
    graph: ChangedGraph,
    options: EngineOptions,
) -> Any:
    changed = ChangedGraph(piece.content, graph.folder, graph.library)
    session = open_session(path, options, changed=changed, arena=False)
    try:
        return session.run([piece.output], inputs)[0]
    except onnxruntime_errors() as error:
        problem = f"ONNX Runtime cannot run {path.name} up to {piece.output}: {first_line(error)}"
        raise EngineError(problem, hint=RUN_HINT) from error
