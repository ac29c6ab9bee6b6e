"""INT8 attention of an INT8 bundle's encoder: our operator put into the graph as it is opened.

One decision: the bundle stays standard ONNX. The graph is changed in memory, node by node and
without onnx, and only after our operator gave what ONNX Runtime's own attention gives for the
sizes of the bundle. Where it does not, or cannot run, ONNX Runtime's attention stays, and the
engine says why.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from c2t.kernels.attention.cpu import HEAD_SIZE_MAX, attention_isa
from c2t.kernels.native import native_status
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.graph_check import GRAPH_BYTES_MAX
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.attention_pass import (
    INPUTS,
    OUTPUTS,
    graph_of_both,
    use_int8_attention,
)
from c2t.runtime.engines.cpu.session import ChangedGraph, open_session
from c2t.runtime.engines.onnxruntime_library import onnxruntime_errors
from c2t.runtime.system.checked_read import read_bounded
from c2t.runtime.system.errors import BundleError, EngineError, first_line

PRECISION = "int8"  # of the bundles whose attention may be INT8
FAST = ("avx2", "avx512", "amx")  # elsewhere ONNX Runtime's attention is faster

# The check's difference, as a share of the result's size: 1.7 % is usual, for the result of random
# rows is small. The wrong heads or the wrong layout would give more than 100 %.
DIFFERENCE_MAX = 0.05
CHECK_ROWS = 150  # more than a block of keys, and no multiple of anything


@dataclass(frozen=True)
class AttentionChoice:
    """How an encoder's attention is computed.

    Args:
        graph: The changed graph; None: the bundle's own.
        said: "INT8 attention, avx512", or why it is not used; empty for a bundle that has none.
    """

    graph: ChangedGraph | None
    said: str


def choose_attention(bundle: Bundle, options: EngineOptions) -> AttentionChoice:
    """Change the encoder's graph if INT8 attention runs here and gives the right numbers.

    Args:
        bundle: Only one of precision `PRECISION` is changed.
        options: How the encoder will be opened.

    Raises:
        BundleError: The graph cannot be read.
    """
    if bundle.manifest.precision != PRECISION:
        return AttentionChoice(None, "")
    try:
        return AttentionChoice(*_changed(bundle, options))
    except _NotHereError as reason:
        return AttentionChoice(None, f"float32 attention: {reason}")
    except EngineError as error:
        return AttentionChoice(None, f"float32 attention: {error.problem}")


class _NotHereError(Exception):
    """Why ONNX Runtime's attention stays."""


def _changed(bundle: Bundle, options: EngineOptions) -> tuple[ChangedGraph, str]:
    status, isa = native_status(), attention_isa()
    if isa is None or status.library is None:
        raise _NotHereError(status.reason)
    if isa not in FAST:
        problem = f"INT8 needs AVX2, and the kernels run as {isa} here ({status.reason})"
        raise _NotHereError(problem)
    path = bundle.file("encoder.onnx")
    content = read_bounded(
        path, bytes_max=GRAPH_BYTES_MAX, error=BundleError, hint="export the bundle again"
    )
    heads, width = bundle.manifest.encoder.heads, bundle.manifest.gene_input.hidden_size
    if width % heads or width // heads > HEAD_SIZE_MAX:
        problem = f"{heads} heads over {width} columns"
        raise _NotHereError(problem)
    graph = use_int8_attention(content, isa)
    if graph is None:
        problem = "the encoder has no attention of that kind"
        raise _NotHereError(problem)
    changed = ChangedGraph(graph, path.parent, status.library)
    difference = check_attention(changed, isa, options, heads=heads, width=width)
    if not difference <= DIFFERENCE_MAX:
        problem = f"INT8 differs by {difference:.1%} from ONNX Runtime's, {DIFFERENCE_MAX:.0%} may"
        raise _NotHereError(problem)
    return changed, f"INT8 attention, {isa}"


def check_attention(
    changed: ChangedGraph, isa: str, options: EngineOptions, *, heads: int, width: int
) -> float:
    """How far our attention lies from ONNX Runtime's, for random rows of the encoder's sizes.

    Args:
        changed: Where the library is.
        isa: A key of `ISA_NUMBER`.
        options: Threads.
        heads: Of the encoder.
        width: Columns of all heads together.

    Returns:
        The norm of the difference over the norm of ONNX Runtime's result; NaN where ours is no
        number.

    Raises:
        EngineError: ONNX Runtime cannot load the library or run the operator.
    """
    content = graph_of_both(heads=heads, head_size=width // heads, isa=isa)
    both = replace(changed, content=content)
    session = open_session(changed.folder / "encoder.onnx", options, changed=both)
    draw = np.random.default_rng(0)
    rows = [draw.standard_normal((2, CHECK_ROWS, width), dtype=np.float32) for _ in INPUTS]
    rows[0] *= 2  # probabilities that differ as those of a trained model
    try:
        expected, found = session.run(list(OUTPUTS), dict(zip(INPUTS, rows, strict=True)))
    except onnxruntime_errors() as error:
        problem = f"ONNX Runtime cannot run INT8 attention: {first_line(error)}"
        raise EngineError(problem, hint="update ONNX Runtime") from error
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))
