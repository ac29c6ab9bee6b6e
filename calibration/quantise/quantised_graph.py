"""Writes a quantised graph: explicit Q/DQ around every int8 linear of the recipe.

    x -> QuantizeLinear -> DequantizeLinear -+
                                             +-> MatMul        int8 zero points, all of them 0
    W (int8) ---------> DequantizeLinear ----+

One decision: each linear has its own Q/DQ pair, even if two share an input. ONNX Runtime runs a
linear on integers only if its quantised input has a single reader; else it widens it to float32 in
every run. It joins equal pairs, so those of one input differ in the last bit of their scales. A
Gemm it fuses only if zero points are written out. The two matrix products of attention stay
float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from c2t.calibration.quantise.block_weights import block_linear
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.quantise.scales import channel_scales, quantise
from c2t.calibration.ranges.linears import Float32, Linear, StoredGraph
from c2t.runtime.bundle.hashes import COPY_HINT
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.bundle.tensors import BUNDLE_DTYPES, map_tensor
from c2t.runtime.graphs.data_file import DataFile, offset_of
from c2t.runtime.system.errors import BundleError

# Rows of a token table that are quantised together.
BLOCK_ROWS = 4096
ZERO = "zero_point"
FLOAT32_BYTES = 4
CONTRIB_DOMAIN = "com.microsoft"

Progress = Callable[[int], None]


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """A table of rows in a data file: float32, or int8 with a scale a row."""

    values: TensorReference
    scale: TensorReference | None = None


def write_quantised(
    source: StoredGraph,
    target: Path,
    recipe: GraphRecipe,
    table: TensorReference | None = None,
    *,
    share: bool = False,
    progress: Progress = lambda _: None,
) -> StoredRows | None:
    """Write a graph and its data file.

    Args:
        source: The float32 graph.
        target: The new graph file; its data goes to `<target>.data`.
        recipe: The precision and smoothing of each linear.
        table: The text token table in the source's data file. It becomes int8 with a scale a row,
            unless it is also the weight of a linear that stays float32.
        share: Refer to unchanged weights in the source's data file instead of copying them. The
            caller puts that file beside `target` under its own name. For temporary graphs.
        progress: Called with the float32 bytes of each weight that was written.

    Returns:
        Where the token table lies now; None without `table`.

    Raises:
        BundleError: The token table does not lie inside its file.
    """
    with DataFile(target) as data:
        writer = _Writer(source, data, recipe, share=share, progress=progress)
        model = writer.model()
        rows = None if table is None else writer.table(table)
    target.write_bytes(model.SerializeToString(deterministic=True))
    return rows


class _Writer:
    def __init__(
        self,
        source: StoredGraph,
        data: DataFile,
        recipe: GraphRecipe,
        *,
        share: bool,
        progress: Progress,
    ) -> None:
        self._source = source
        self._share = share
        self._progress = progress
        self._data = data
        self._recipe = recipe
        self._initializers: list[TensorProto] = []
        self._stored: dict[str, StoredRows] = {}  # matrices written so far, by name
        self._scales: set[tuple[str, float]] = set()  # inputs and their scales so far

    def model(self) -> onnx.ModelProto:
        """The new graph; writes its tensors to the data file."""
        source = self._source
        linears = {linear.name: linear for linear in source.linears()}
        nodes: list[onnx.NodeProto] = []
        replaced: set[str] = set()
        contrib = False
        for original in source.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            linear = linears.get(node.name)
            recipe = self._recipe.linears.get(node.name) if linear else None
            if linear is not None and recipe is not None and recipe.precision is not Precision.fp32:
                replaced.add(linear.weight)
                if recipe.precision is Precision.int8:
                    nodes += self._quantised_inputs(linear, recipe, node)
                else:
                    contrib = True
                    node = self._block_linear(linear, recipe, node)
                self._progress(FLOAT32_BYTES * linear.inputs * linear.outputs)
            nodes.append(node)
        kept = [t for t in source.graph.initializer if t.name not in replaced]
        multiplied = {
            linear.weight: factors
            for name, linear in linears.items()
            if (chosen := self._recipe.linears.get(name)) is not None
            and (factors := chosen.factors) is not None
        }
        for tensor in kept:
            self._initializers.append(self._kept(tensor, multiplied.get(tensor.name)))
            self._progress(FLOAT32_BYTES * math.prod(tensor.dims))
        model = onnx.ModelProto()
        model.CopyFrom(source.model)
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(self._initializers)
        if contrib:
            model.opset_import.append(helper.make_opsetid(CONTRIB_DOMAIN, 1))
        return model

    def table(self, reference: TensorReference) -> StoredRows:
        """Write the token table, unless it was written as a weight."""
        for tensor in self._source.graph.initializer:
            if offset_of(tensor) == reference.offset and tensor.name in self._stored:
                return self._stored[tensor.name]
        values: Float32 = map_tensor(
            self._source.path.parent,
            reference,
            dtypes=BUNDLE_DTYPES,
            error=BundleError,
            hint=COPY_HINT,
        )
        return self._rows("token_embedding", values)[1]

    def _quantised_inputs(
        self, linear: Linear, recipe: LinearRecipe, node: onnx.NodeProto
    ) -> Iterator[onnx.NodeProto]:
        """Q and DQ of a linear's input and DQ of its weight; makes `node` read them."""
        prefix, axis = linear.name, 1
        if linear.by_output:
            weight, _ = self._rows(linear.weight, self._source.array(linear.weight))  # type: ignore[arg-type]
            axis = 0
        else:
            matrix = self._matrix(linear, recipe)
            scales = channel_scales(matrix)
            weight = linear.weight
            self._add(weight, quantise(matrix, scales))
            self._add(f"{weight}.scale", scales)
        self._add(f"{weight}.zero_point", np.zeros(linear.outputs, np.int8))
        self._add(f"{prefix}.input.scale", self._own_scale(linear, recipe))
        if not any(tensor.name == ZERO for tensor in self._initializers):
            self._add(ZERO, np.array(0, np.int8))
        scale = [f"{prefix}.input.scale", ZERO]
        steps = (
            ("input.quantize", "QuantizeLinear", [linear.input, *scale], None),
            ("input.dequantize", "DequantizeLinear", [f"{prefix}.input.quantize", *scale], None),
            (
                "weight.dequantize",
                "DequantizeLinear",
                [weight, f"{weight}.scale", f"{weight}.zero_point"],
                axis,
            ),
        )
        node.input[0], node.input[1] = f"{prefix}.input.dequantize", f"{prefix}.weight.dequantize"
        for end, operator, inputs, along in steps:
            name = f"{prefix}.{end}"
            attributes = {} if along is None else {"axis": along}
            yield helper.make_node(operator, inputs, [name], name=name, **attributes)

    def _own_scale(self, linear: Linear, recipe: LinearRecipe) -> NDArray[np.float32]:
        """The scale of an input, a bit larger where another linear has the same one already."""
        scale = np.float32(recipe.scale)
        while (linear.input, float(scale)) in self._scales:
            scale = np.nextafter(scale, np.float32(np.inf))
        self._scales.add((linear.input, float(scale)))
        return np.array(scale, np.float32)

    def _block_linear(
        self, linear: Linear, recipe: LinearRecipe, node: onnx.NodeProto
    ) -> onnx.NodeProto:
        """The same linear with a weight in int8 or int4 blocks."""
        bits = recipe.precision.weight_bits
        matrix = self._matrix(linear, recipe)
        arrays, new = block_linear(linear, matrix.T, node, bits=bits)
        for name, values in arrays.items():
            self._add(name, values)
        return new

    def _matrix(self, linear: Linear, recipe: LinearRecipe) -> Float32:
        """A weight [K, N], multiplied by its factors and divided by those of later linears."""
        matrix = self._recipe.folded(linear.weight, self._source.matrix(linear))
        return matrix if recipe.factors is None else matrix * recipe.factors[:, None]

    def _kept(self, tensor: TensorProto, factors: Float32 | None) -> TensorProto:
        """An initializer that is not quantised, with the divisions that are folded into it."""
        values = unchanged = self._source.array(tensor.name)
        if tensor.data_type == TensorProto.FLOAT:
            values = self._recipe.folded(tensor.name, values)  # type: ignore[arg-type]
            if factors is not None:
                values = values * factors[:, None]
        if self._share and values is unchanged:
            return tensor
        stored = self._data.tensor(tensor.name, values)
        offset = offset_of(stored)
        if offset is not None and values.ndim == 2:
            self._stored[tensor.name] = StoredRows(values=self._reference(stored, values.shape))
        return stored

    def _rows(self, name: str, values: Float32) -> tuple[str, StoredRows]:
        """Store a table [V, D] as int8 with a scale a row, both uncompressed for mapping."""
        scales = np.concatenate([channel_scales(block.T) for block in _blocks(values)])
        blocks = (
            quantise(block, scales[start : start + len(block), None])
            for start, block in zip(range(0, len(values), BLOCK_ROWS), _blocks(values), strict=True)
        )
        table = self._data.blocks(name, np.dtype(np.int8), values.shape, blocks)
        scale = self._data.blocks(f"{name}.scale", scales.dtype, scales.shape, [scales])
        if name in self._source.initializers:
            self._initializers += [table, scale]
        self._stored[name] = StoredRows(
            values=self._reference(table, values.shape),
            scale=self._reference(scale, scales.shape),
        )
        return name, self._stored[name]

    def _reference(self, tensor: TensorProto, shape: tuple[int, ...]) -> TensorReference:
        offset = offset_of(tensor)
        assert offset is not None
        dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
        return TensorReference(
            file=self._data.path.name, offset=offset, shape=shape, dtype=str(dtype)
        )

    def _add(self, name: str, values: NDArray[np.generic]) -> None:
        self._initializers.append(self._data.tensor(name, values))


def _blocks(values: Float32) -> Iterator[Float32]:
    for start in range(0, len(values), BLOCK_ROWS):
        yield values[start : start + BLOCK_ROWS]
