"""SmoothQuant: outliers of activations moved into the weights, without a node more in the graph.

Source: G. Xiao et al., "SmoothQuant", ICML 2023: channel j of an input is divided by
s_j = max|x_j|^a / max|w_j|^(1-a), and row j of the weight multiplied with it. The division is
folded into what made the channel: a norm's weight, or the output columns of a product before it
(the up half of gate+up for `down`, the values for attention's output, a layer before a ReLU).

One decision: where a channel's maker feeds anything else too (the residual of a post-norm encoder),
there is no place to fold, and the product stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from c2t.calibration.quantise.scales import channel_scales, fake_quantise, scale_of
from c2t.calibration.ranges.products import Float32, Product, StoredGraph

# 0 stands for no smoothing.
STRENGTHS = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
# Rows and output channels that a strength is judged by: products of a billion parameters must stay
# affordable, and each channel has a scale of its own.
JUDGED_ROWS = 64
JUDGED_CHANNELS = 512
# An improvement of less than this much of the error is no reason to change weights.
WORTH = 0.98


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Where the division of a product's input can go.

    Args:
        tensors: Initializers to be divided along their last dimension (a weight, its bias).
        columns: The span of their last dimension that makes the input.
        group: Channels of the input made by the same column: heads of a group share values.
        head: Adjacent channels that are repeated as a block, when `group` is more than 1.
    """

    tensors: tuple[str, ...]
    columns: slice
    group: int = 1
    head: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Smoothing:
    """What was chosen for a product.

    Args:
        strength: a; 0 is no smoothing.
        factors: [K] s, which rows of the weight are multiplied with; all 1 without smoothing.
        error: Relative squared error of the quantised output on the judged rows and channels.
        error_before: The same without smoothing.
    """

    strength: float
    factors: Float32
    error: float
    error_before: float


def find_fold(graph: StoredGraph, product: Product) -> Fold | None:
    """Where the division of a product's input could be folded; None if nowhere."""
    if not _only_consumer(graph, product.input, product.name):
        return None
    node = graph.producers.get(product.input)
    if node is not None and node.op_type in ("RMSNormalization", "LayerNormalization"):
        return _weights(graph, node.input[1:], slice(0, product.inputs))
    if node is not None and node.op_type == "Relu":
        return _columns(graph, node.input[0], slice(0, product.inputs), node.name)
    if node is not None and node.op_type == "Mul":
        return _up_half(graph, node, product)
    return _values(graph, product)


def search_smoothing(
    matrix: Float32, largest: Float32, rows: Float32, fold: Fold | None
) -> Smoothing:
    """Choose the strength that leaves the least error in a product's output.

    Args:
        matrix: Weight [K, N].
        largest: [K] largest magnitude of each input channel.
        rows: Some inputs [n, K].
        fold: Where to fold the division; None searches nothing.
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
        found = inputs @ fake_quantise(weight, channel_scales(weight))
        error = float(np.square(found - exact, dtype=np.float64).sum()) / power
        before = error if strength == 0 else best.error_before
        if strength == 0 or error < WORTH * best.error:
            best = Smoothing(strength=strength, factors=factors, error=error, error_before=before)
    return best


def column_factors(fold: Fold, factors: Float32) -> Float32:
    """What the columns that make the input are divided by: one value for channels of a group."""
    if fold.group == 1:
        return factors
    return factors.reshape(-1, fold.group, fold.head)[:, 0].reshape(-1)


def judged_channels(matrix: Float32) -> Float32:
    """Some output channels of a weight [K, N], evenly spaced: [K, at most JUDGED_CHANNELS]."""
    step = -(-matrix.shape[1] // JUDGED_CHANNELS)
    return np.ascontiguousarray(matrix[:, ::step])


def _factors(weights: Float32, largest: Float32, strength: float, fold: Fold) -> Float32:
    """S [K]; channels that nothing reaches, or whose weights are all zero, keep theirs.

    Args:
        weights: [K] largest magnitude of each row of the weight.
        largest: [K] largest magnitude of each input channel.
        strength: a.
        fold: Which channels share a factor.
    """
    if strength == 0:
        return np.ones(len(largest), np.float32)
    if fold.group > 1:
        largest, weights = (_shared(values, fold) for values in (largest, weights))
    used = (largest > 0) & (weights > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        factors = largest**strength / weights ** (1 - strength)
    factors = np.where(used, factors, 1.0)
    # The mean factor changes nothing but the magnitude of all; 1 keeps numbers where they were.
    factors /= np.exp(np.log(factors).mean())
    return np.asarray(np.clip(factors, 1e-4, 1e4), np.float32)


def _shared(values: Float32, fold: Fold) -> Float32:
    """The largest of the channels that one column makes, for each of them."""
    grouped = values.reshape(-1, fold.group, fold.head)
    return np.broadcast_to(grouped.max(axis=1, keepdims=True), grouped.shape).reshape(-1)


def _only_consumer(graph: StoredGraph, value: str, name: str) -> bool:
    readers = graph.consumers.get(value, [])
    return len(readers) == 1 and readers[0].name == name


def _weights(graph: StoredGraph, names: Sequence[str], columns: slice) -> Fold | None:
    """A fold into initializers that only one node reads."""
    wanted = tuple(name for name in names if name)
    for name in wanted:
        if name not in graph.initializers or len(graph.consumers[name]) != 1:
            return None
    return Fold(tensors=wanted, columns=columns)


def _columns(graph: StoredGraph, value: str, columns: slice, reader: str) -> Fold | None:
    """A fold into the output columns of a product and its bias, which make `value`."""
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
    """The split that makes `value`, and which of its columns it is."""
    node = graph.producers.get(value)
    if node is None or node.op_type != "Split" or not _only_consumer(graph, value, reader):
        return None
    sizes = [int(size) for size in graph.array(node.input[1])]
    place = list(node.output).index(value)
    start = sum(sizes[:place])
    return node, slice(start, start + sizes[place])


def _up_half(graph: StoredGraph, node: onnx.NodeProto, product: Product) -> Fold | None:
    """The up half of a packed gate+up product: `down` reads silu(gate) * up."""
    for value in node.input:
        found = _split_columns(graph, value, node.name)
        if found is not None:
            split, columns = found
            fold = _columns(graph, split.input[0], columns, split.name)
            if fold is not None and columns.stop - columns.start == product.inputs:
                return fold
    return None


def _values(graph: StoredGraph, product: Product) -> Fold | None:
    """The value columns of a packed product: attention's output is a mean of values.

    Decoder: Split -> Reshape -> Transpose -> TensorScatter -> Attention -> Transpose -> Reshape,
    and perhaps GatherND. Encoder: Split -> Attention.
    """
    value, reader = product.input, product.name
    node = graph.producers.get(value)
    while node is not None and node.op_type in ("GatherND", "Reshape", "Transpose"):
        if not _only_consumer(graph, value, reader):
            return None
        value, reader = node.input[0], node.name
        node = graph.producers.get(value)
    if node is None or node.op_type != "Attention":
        return None
    value, reader = node.input[2], node.name
    head, heads = 1, 0
    maker = graph.producers.get(value)
    while maker is not None and maker.op_type in ("TensorScatter", "Transpose", "Reshape"):
        # A cache is an input and an output of the graph; its only reader is the attention.
        if not _only_consumer(graph, value, reader):
            return None
        if maker.op_type == "Reshape":
            shape = graph.array(maker.input[1])
            heads, head = int(shape[2]), int(shape[3])
        value = maker.input[1 if maker.op_type == "TensorScatter" else 0]
        reader = maker.name
        maker = graph.producers.get(value)
    found = _split_columns(graph, value, reader)
    if found is None:
        return None
    split, columns = found
    fold = _columns(graph, split.input[0], columns, split.name)
    width = columns.stop - columns.start
    if fold is None or product.inputs % width or (heads and heads * head != width):
        return None
    if width == product.inputs:
        return fold
    if not heads:
        return None
    return Fold(tensors=fold.tensors, columns=columns, group=product.inputs // width, head=head)
