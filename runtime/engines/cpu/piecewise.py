"""What ONNX Runtime gives for a graph, with only a piece of its weights in memory at a time.

One decision: a graph that our kernels compute is opened piece by piece, once, for the comparison
with them. A session of the whole graph maps all weights, runs through them, and copies some: at 1B
sizes that was the largest memory that an opened bundle ever took.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from c2t.runtime.bundle.graph_check import GRAPH_BYTES_MAX
from c2t.runtime.engine_protocol import EngineOptions, Float32
from c2t.runtime.engines.cpu.graph_pieces import cut_graph
from c2t.runtime.engines.cpu.session import RUN_HINT, ChangedGraph, open_session
from c2t.runtime.engines.onnxruntime_library import onnxruntime_errors
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError, EngineError, first_line
from c2t.runtime.system.portable.memory import return_free_memory

# Of a piece of several layers: a session of each layer of a small graph would only take time.
PIECE_BYTES = 32 << 20


def run_in_pieces(
    path: Path,
    results: Sequence[str],
    given: Mapping[str, NDArray[Any]],
    options: EngineOptions,
    *,
    changed: ChangedGraph | None = None,
) -> dict[str, Float32]:
    """What the pieces of a graph give, by name and in order.

    Args:
        path: The graph file.
        results: See `cut_graph`.
        given: The graph's inputs by name, as far as the results need them.
        options: Threads. Weights are not copied.
        changed: What to run in place of the graph file.

    Raises:
        BundleError: The graph cannot be read, or does not compute such a value.
        EngineError: ONNX Runtime cannot open or run a piece.
    """
    hint = "export the bundle again"
    if changed is None:
        content = read_bounded(path, bytes_max=GRAPH_BYTES_MAX, error=BundleError, hint=hint)
        changed = ChangedGraph(content, path.parent)
    try:
        pieces = cut_graph(changed.content, results, weight_bytes=PIECE_BYTES)
    except (KeyError, IndexError, ValueError) as error:
        problem = f"{path.name} cannot be cut into pieces: {error}"
        raise BundleError(problem, hint=hint) from error
    values, found = dict(given), dict[str, Float32]()
    for piece in pieces:
        part = ChangedGraph(piece.content, changed.folder, changed.library)
        try:
            inputs = {name: values[name] for name in piece.inputs}
        except KeyError as error:
            problem = f"{path.name} has an input that nobody gives: {error}"
            raise BundleError(problem, hint=hint) from error
        # Nothing keeps the session: its weights go when it has run.
        result = _run(path, part, inputs, piece.output, options)
        values[piece.output] = found[piece.output] = result
    return_free_memory()
    return found


def _run(
    path: Path,
    part: ChangedGraph,
    inputs: dict[str, NDArray[Any]],
    output: str,
    options: EngineOptions,
) -> Any:
    session = open_session(path, options, changed=part, arena=False)
    try:
        return session.run([output], inputs)[0]
    except onnxruntime_errors() as error:
        problem = f"ONNX Runtime cannot run {path.name} up to {output}: {first_line(error)}"
        raise EngineError(problem, hint=RUN_HINT) from error
