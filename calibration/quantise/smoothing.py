"""SmoothQuant: moves outliers of activations into the weights without adding a node to the graph.

Source: G. Xiao et al., "SmoothQuant", ICML 2023: channel j of an input is divided by
s_j = max|x_j|^a / max|w_j|^(1-a), and row j of the weight is multiplied by it. The division is
folded into the weights that produce the channel: a norm's weight, or output columns of the linear
before (the up half of gate+up for `down`, the values for attention's output, a layer before ReLU).

One decision: where another node reads the channel too (the residual of a post-norm encoder), the
division has no place, and the linear is not smoothed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from c2t.calibration.quantise.scales import channel_scales, fake_quantise, scale_of
from c2t.calibration.ranges.linears import Float32, Linear, StoredGraph

# Exponents a to try; 0 is no smoothing.
STRENGTHS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
# Rows and output channels that a strength is judged by. A sample of channels is enough, because
# each has a scale of its own; all of them would take too long at a billion parameters.
JUDGED_ROWS = 64
JUDGED_CHANNELS = 512
# A strength must bring the error below this share of the best so far to be worth its changes.
WORTH = 0.98
# Factors are clipped to these bounds.
FACTOR_MIN, FACTOR_MAX = 1e-4, 1e4


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Where the division of a linear's input goes.

    Args:
        tensors: Initializers to divide along their last dimension (a weight, its bias).
        columns: Span of their last dimension that produces the input.
        group: Channels of the input that one column produces: query heads of a group share values.
        head_size: Adjacent channels of a block; blocks of a group share values.
    """

    tensors: tuple[str, ...]
    columns: slice
    group: int = 1
    head_size: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Smoothing:
    """The smoothing chosen for a linear.

    Args:
        strength: The exponent a; 0 is no smoothing.
        factors: [K] s, which multiplies rows of the weight; all 1 without smoothing.
        error: Relative squared error of the quantised output on the judged rows and channels.
        error_before: The same without smoothing.
    """

    strength: float
    factors: Float32
    error: float
    error_before: float


def find_fold(graph: StoredGraph, linear: Linear) -> Fold | None:
    """Where the division of a linear's input can be folded; None if nowhere."""
    if not _only_consumer(graph, linear.input, linear.name):
        return None
    node = graph.producers.get(linear.input)
    if node is not None and node.op_type in ("RMSNormalization", "LayerNormalization"):
        return _weights(graph, node.input[1:], slice(0, linear.inputs))
    if node is not None and node.op_type == "Relu":
        return _columns(graph, node.input[0], slice(0, linear.inputs), node.name)
    if node is not None and node.op_type == "Mul":
        return _up_half(graph, node, linear)
    return _values(graph, linear)


def value_columns(graph: StoredGraph, cache: str) -> tuple[str, slice] | None:
    """The weight whose columns produce a cache of values, and which; None if that is not found.

    Args:
        graph: A decoder.
        cache: The graph's output, such as "present_value.0".
    """
    value, node = cache, graph.producers.get(cache)
    while node is not None and node.op_type in ("TensorScatter", "Transpose", "Reshape"):
        value = node.input[1 if node.op_type == "TensorScatter" else 0]
        reader, node = node.name, graph.producers.get(value)
    part = _split_columns(graph, value, reader) if node is not None else None
    if part is None:
        return None
    split, columns = part
    fold = _columns(graph, split.input[0], columns, split.name)
    return None if fold is None else (fold.tensors[0], columns)


def search_smoothing(
    matrix: Float32, largest: Float32, rows: Float32, fold: Fold | None
) -> Smoothing:
    """Choose the strength that leaves the least error in a linear's output.

    Args:
        matrix: Weight [K, N].
        largest: [K] largest magnitude of each input channel.
        rows: Some inputs [n, K].
        fold: Where the division goes; None: no smoothing, only its error is computed.
    """
    rows = rows[:JUDGED_ROWS]
    judged = judged_channels(matrix)
    weights = np.abs(matrix).max(axis=1) if fold is not None else np.ones(0, np.float32)
    exact = rows @ judged
    power = float(np.square(exact, dtype=np.float64).sum()) or 1.0
    ones = np.ones(len(largest), np.float32)
    best = Smoothing(strength=0.0, factors=ones, error=np.inf, error_before=np.inf)
    for strength in STRENGTHS if fold is not None else STRENGTHS[:1]:
        factors = ones if fold is None else _factors(weights, largest, strength, fold)
        weight = judged * factors[:, None]
        inputs = fake_quantise(rows / factors, scale_of(float((largest / factors).max(initial=0))))
        outputs = inputs @ fake_quantise(weight, channel_scales(weight))
        error = float(np.square(outputs - exact, dtype=np.float64).sum()) / power
        before = error if strength == 0 else best.error_before
        if strength == 0 or error < WORTH * best.error:
            best = Smoothing(strength=strength, factors=factors, error=error, error_before=before)
    return best


def column_factors(fold: Fold, factors: Float32) -> Float32:
    """The divisor of each column in `fold.columns`: channels of a group share one."""
    if fold.group == 1:
        return factors
    return factors.reshape(-1, fold.group, fold.head_size)[:, 0].reshape(-1)


def judged_channels(matrix: Float32) -> Float32:
    """Evenly spaced output channels of a weight [K, N]: [K, at most JUDGED_CHANNELS]."""
    step = -(-matrix.shape[1] // JUDGED_CHANNELS)
    return np.ascontiguousarray(matrix[:, ::step])


def _factors(weights: Float32, largest: Float32, strength: float, fold: Fold) -> Float32:
    """Factors s [K]; 1 for a channel whose inputs or weights are all zero.

    Args:
        weights: [K] largest magnitude of each row of the weight.
        largest: [K] largest magnitude of each input channel.
        strength: The exponent a.
        fold: Says which channels share a factor.
    """
    if strength == 0:
        return np.ones(len(largest), np.float32)
    if fold.group > 1:
        largest, weights = (_shared(values, fold) for values in (largest, weights))
    used = (largest > 0) & (weights > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = largest**strength / weights ** (1 - strength)
    factors = np.where(used, factors, 1.0)
    # A common factor changes no error. A geometric mean of 1 keeps magnitudes where they were.
    factors /= np.exp(np.log(factors).mean())
    return np.asarray(np.clip(factors, FACTOR_MIN, FACTOR_MAX), np.float32)


def _shared(values: Float32, fold: Fold) -> Float32:
    """For each channel, the largest value among the channels of the same column."""
    grouped = values.reshape(-1, fold.group, fold.head_size)
    return np.broadcast_to(grouped.max(axis=1, keepdims=True), grouped.shape).reshape(-1)


def _only_consumer(graph: StoredGraph, value: str, name: str) -> bool:
    readers = graph.consumers.get(value, [])
    return len(readers) == 1 and readers[0].name == name


def _weights(graph: StoredGraph, names: Sequence[str], columns: slice) -> Fold | None:
    """A fold into these initializers; None if one is no initializer or has other readers."""
    tensors = tuple(name for name in names if name)
    for name in tensors:
        if name not in graph.initializers or len(graph.consumers[name]) != 1:
            return None
    return Fold(tensors=tensors, columns=columns)


def _columns(graph: StoredGraph, value: str, columns: slice, reader: str) -> Fold | None:
    """A fold into output columns of the linear that produces `value`, and into its bias."""
    if not _only_consumer(graph, value, reader):
        return None
    node = graph.producers.get(value)
    names: list[str] = []
    if node is not None and node.op_type == "Add":
        names.append(node.input[1])
        value, reader = node.input[0], node.name
        if not _only_consumer(graph, value, reader):
            return None
        node = graph.producers.get(value)
    if node is None or node.op_type != "MatMul":
        return None
    return _weights(graph, [node.input[1], *names], columns)


def _split_columns(
    graph: StoredGraph, value: str, reader: str
) -> tuple[onnx.NodeProto, slice] | None:
    """The split that produces `value`, and the columns of its input that `value` is."""
    node = graph.producers.get(value)
    if node is None or node.op_type != "Split" or not _only_consumer(graph, value, reader):
        return None
    sizes = [int(size) for size in graph.array(node.input[1])]
    part = list(node.output).index(value)
    start = sum(sizes[:part])
    return node, slice(start, start + sizes[part])


def _up_half(graph: StoredGraph, node: onnx.NodeProto, linear: Linear) -> Fold | None:
    """A fold into the up half of a packed gate+up linear: `down` reads silu(gate) * up."""
    for value in node.input:
        part = _split_columns(graph, value, node.name)
        if part is not None:
            split, columns = part
            fold = _columns(graph, split.input[0], columns, split.name)
            if fold is not None and columns.stop - columns.start == linear.inputs:
                return fold
    return None


def _values(graph: StoredGraph, linear: Linear) -> Fold | None:
    """A fold into the value columns of a packed qkv linear: attention's output is a mean of values.

    Decoder: Split -> Reshape -> Transpose -> TensorScatter -> Attention -> Transpose -> Reshape,
    and perhaps GatherND. Encoder: Split -> Attention.
    """
    value, reader = linear.input, linear.name
    node = graph.producers.get(value)
    while node is not None and node.op_type in ("GatherND", "Reshape", "Transpose"):
        if not _only_consumer(graph, value, reader):
            return None
        value, reader = node.input[0], node.name
        node = graph.producers.get(value)
    if node is None or node.op_type != "Attention":
        return None
    value, reader = node.input[2], node.name
    head_size, heads = 1, 0
    producer = graph.producers.get(value)
    while producer is not None and producer.op_type in ("TensorScatter", "Transpose", "Reshape"):
        # The scattered cache is also an output of the graph; attention is its only reader.
        if not _only_consumer(graph, value, reader):
            return None
        if producer.op_type == "Reshape":
            shape = graph.array(producer.input[1])
            heads, head_size = int(shape[2]), int(shape[3])
        value = producer.input[1 if producer.op_type == "TensorScatter" else 0]
        reader = producer.name
        producer = graph.producers.get(value)
    part = _split_columns(graph, value, reader)
    if part is None:
        return None
    split, columns = part
    fold = _columns(graph, split.input[0], columns, split.name)
    width = columns.stop - columns.start
    if fold is None or linear.inputs % width or (heads and heads * head_size != width):
        return None
    if width == linear.inputs:
        return fold
    if not heads:
        return None
    group = linear.inputs // width
    return Fold(tensors=fold.tensors, columns=columns, group=group, head_size=head_size)
