"""The weight-only variant of an INT8 graph, which TensorRT for RTX keeps small.

One decision: it is a pass over the Q/DQ graph, so that a bundle holds one quantised model. With
activation Q/DQ, TensorRT for RTX 1.7 stores float16 weights in its plan; without, it keeps int8.
TensorRT itself and ONNX Runtime take the graph as it is.
"""

from __future__ import annotations

import onnx

from c2t.runtime.graphs.keep_nodes import keep_nodes


def drop_activation_pairs(model: onnx.ModelProto) -> int:
    """Remove each QuantizeLinear and the DequantizeLinear that reads it.

    Args:
        model: A graph of `c2t.calibration.quantise.quantised_graph`, changed in place; its data
            file stays as it is.

    Returns:
        The number of pairs removed.
    """
    graph = model.graph
    quantised = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
    dequantised = {
        n.output[0]: quantised[n.input[0]]
        for n in graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in quantised
    }
    kept = [n for n in graph.node if n.output[0] not in quantised | dequantised]
    keep_nodes(graph, kept, dequantised)
    return len(dequantised)
