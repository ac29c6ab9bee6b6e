"""Writing a quantised graph: explicit Q/DQ around every product that the recipe names.

    x -> QuantizeLinear -> DequantizeLinear -+
                                             +-> MatMul        int8 zero points, all of them 0
    W (int8) ---------> DequantizeLinear ----+

One decision: each product has a Q/DQ pair of its own. ONNX Runtime makes an integer product only of
a quantised input with a single reader (others are widened to float32 on every call), and a Gemm
only where zero points are written out. Attention's own products stay float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from c2t.calibration.quantise.block_weights import block_product
from c2t.calibration.quantise.recipe import Form, GraphRecipe, ProductRecipe
from c2t.calibration.quantise.scales import channel_scales, quantise
from c2t.calibration.ranges.products import Float32, Product, StoredGraph
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.graphs.data_file import DataFile, offset_of

# Rows of a token table that are quantised at a time.
BLOCK_ROWS = 4096
ZERO = "zero_point"
CONTRIB_DOMAIN = "com.microsoft"


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
) -> StoredRows | None:
    """Write a graph and its data file.

    Args:
        source: The float32 graph.
        target: The new graph file; its data goes to `<target>.data`.
        recipe: What becomes of each product.
        table: The text token table in the source's data file, which the runtime maps: it becomes
            int8 a row, unless it is also the matrix of a product that stays float32.
        share: Leave unchanged weights in the source's data file, which the caller makes appear
            beside `target` under its own name. For graphs that are soon thrown away.

    Returns:
        Where the token table now lies; None without one.
    """
    with DataFile(target) as data:
        writer = _Writer(source, data, recipe, share=share)
        model = writer.model()
        rows = None if table is None else writer.table(table)
    target.write_bytes(model.SerializeToString(deterministic=True))
    return rows


class _Writer:
    def __init__(
        self, source: StoredGraph, data: DataFile, recipe: GraphRecipe, *, share: bool
    ) -> None:
        self._source = source
        self._share = share
        self._data = data
        self._recipe = recipe
        self._initializers: list[TensorProto] = []
        self._stored: dict[str, StoredRows] = {}  # by-output weights that were written

    def model(self) -> onnx.ModelProto:
        """The new graph; its tensors are in the data file by then."""
        source = self._source
        products = {product.name: product for product in source.products()}
        nodes: list[onnx.NodeProto] = []
        replaced: set[str] = set()
        contrib = False
        for original in source.graph.node:
            node = onnx.NodeProto()
            node.CopyFrom(original)
            product = products.get(node.name)
            recipe = self._recipe.products.get(node.name) if product else None
            if product is not None and recipe is not None and recipe.form is not Form.float32:
                replaced.add(product.weight)
                if recipe.form is Form.int8:
                    nodes += self._quantised_inputs(product, recipe, node)
                else:
                    contrib = True
                    node = self._block_product(product, recipe, node)
            nodes.append(node)
        kept = [t for t in source.graph.initializer if t.name not in replaced]
        multiplied = {
            product.weight: factors
            for name, product in products.items()
            if (chosen := self._recipe.products.get(name)) is not None
            and (factors := chosen.factors) is not None
        }
        for tensor in kept:
            self._initializers.append(self._kept(tensor, multiplied.get(tensor.name)))
        model = onnx.ModelProto()
        model.CopyFrom(source.model)
        del model.graph.node[:], model.graph.initializer[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(self._initializers)
        if contrib:
            model.opset_import.append(helper.make_opsetid(CONTRIB_DOMAIN, 1))
        return model

    def table(self, reference: TensorReference) -> StoredRows:
        """Write the token table, or find it among the weights that were written."""
        for tensor in self._source.graph.initializer:
            if offset_of(tensor) == reference.offset and tensor.name in self._stored:
                return self._stored[tensor.name]
        values: Float32 = np.memmap(
            self._source.path.with_name(reference.file),
            dtype=reference.dtype,
            mode="r",
            offset=reference.offset,
            shape=reference.shape,
        )
        return self._rows("token_embedding", values)[1]

    def _quantised_inputs(
        self, product: Product, recipe: ProductRecipe, node: onnx.NodeProto
    ) -> Iterator[onnx.NodeProto]:
        """Q and DQ of a product's input, DQ of its weight; `node` is made to read them."""
        prefix, axis = product.name, 1
        if product.by_output:
            weight, _ = self._rows(product.weight, self._source.array(product.weight))  # type: ignore[arg-type]
            axis = 0
        else:
            matrix = self._matrix(product, recipe)
            scales = channel_scales(matrix)
            weight = product.weight
            self._add(weight, quantise(matrix, scales))
            self._add(f"{weight}.scale", scales)
        self._add(f"{weight}.zero_point", np.zeros(product.outputs, np.int8))
        self._add(f"{prefix}.input.scale", np.array(recipe.scale, np.float32))
        if not any(tensor.name == ZERO for tensor in self._initializers):
            self._add(ZERO, np.array(0, np.int8))
        scale = [f"{prefix}.input.scale", ZERO]
        steps = (
            ("input.quantize", "QuantizeLinear", [product.input, *scale], None),
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

    def _block_product(
        self, product: Product, recipe: ProductRecipe, node: onnx.NodeProto
    ) -> onnx.NodeProto:
        """The same product with a weight of int8 or int4 blocks."""
        bits = 8 if recipe.form is Form.int8_weights else 4
        matrix = self._matrix(product, recipe)
        arrays, new = block_product(product, matrix.T, node, bits=bits)
        for name, values in arrays.items():
            self._add(name, values)
        return new

    def _matrix(self, product: Product, recipe: ProductRecipe) -> Float32:
        """A weight [K, N] with its own factors and the divisions of products behind it."""
        matrix = self._recipe.folded(product.weight, self._source.matrix(product))
        return matrix if recipe.factors is None else matrix * recipe.factors[:, None]

    def _kept(self, tensor: TensorProto, factors: Float32 | None) -> TensorProto:
        """An initializer that stays float32 (or int64), with what is folded into it."""
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
        """Store a table [V, D] as int8 with a scale a row; both can be mapped."""
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
