"""An ONNX graph written node by node, its weights streamed to one side-car file.

One decision: a weight is written to disk the moment it is added, and only its place is kept. So a
graph of any size is made without a second copy of the model in memory, and the same weights give
the same bytes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper

from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.graphs.data_file import BLOCK_BYTES, INLINE_BYTES, DataFile
from c2t.runtime.system.progress import Advance

OPSET = 24
# Version 11 is the first IR version for opset 24 models; nothing newer is used.
IR_VERSION = 11

Dimension = int | str
Attribute = int | float | str | Sequence[int]


def no_progress(amount: int) -> None:
    """Report no progress."""


class GraphBuilder:
    """Writes one graph: `path` and, beside it, `<path>.data` with the weights.

    Use it as a context manager; the graph file is written by `save`, and after an error no data
    file is left behind.

    Args:
        path: The graph file, for instance `encoder.onnx`.
        name: The name of the graph, for people who look at it.
        advance: Called with the number of bytes when some of a weight were written.
    """

    def __init__(self, path: Path, *, name: str, advance: Advance = no_progress) -> None:
        self.path = path
        self._advance = advance
        self._data = DataFile(path)
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._node_names: set[str] = set()
        self._initializers: list[TensorProto] = []
        self._references: dict[str, TensorReference] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def __enter__(self) -> Self:
        self._data.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._data.__exit__(kind, error, trace)

    def input(self, name: str, shape: Sequence[Dimension], *, integer: bool = False) -> str:
        """Declare an input, float32 or int64; a string is a dynamic dimension. Returns `name`."""
        self._inputs.append(_value(name, shape, integer=integer))
        return name

    def output(self, name: str, shape: Sequence[Dimension]) -> None:
        """Declare the float32 value `name` an output of the graph."""
        self._outputs.append(_value(name, shape, integer=False))

    def node(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        name: str,
        outputs: Sequence[str] = (),
        attributes: Mapping[str, Attribute] | None = None,
    ) -> str:
        """Add a node and return its first output, called `name` unless `outputs` says otherwise.

        Args:
            op: A standard ONNX operator of opset 24.
            inputs: Names of values; an empty string leaves an optional input out.
            name: The node's name, for instance `layers.3.attention.qkv`; unique.
            outputs: Names of the results, if there are several or they are outputs of the graph.
            attributes: The operator's attributes.
        """
        if name in self._node_names:
            message = f"two nodes of {self.path.name} are called {name}"
            raise ValueError(message)
        self._node_names.add(name)
        results = list(outputs) or [name]
        self._nodes.append(
            helper.make_node(op, list(inputs), results, name=name, **dict(attributes or {}))
        )
        return results[0]

    def weight(
        self, name: str, *parts: torch.Tensor, transpose: bool = False, mapped: bool = False
    ) -> str:
        """Store a float32 weight and return its name.

        Args:
            name: The initializer's name.
            parts: The tensor, or several to join along their first dimension (a packed linear).
            transpose: Store the joined matrix [N, K] as [K, N], the way `MatMul` reads it.
            mapped: A runtime will ask for its `reference`: to the data file even if it is small.
        """
        rows = sum(part.shape[0] for part in parts)
        shape = (rows, *parts[0].shape[1:])
        if transpose:
            shape = shape[::-1]
        if not mapped and 4 * int(np.prod(shape)) < INLINE_BYTES:
            value = torch.cat(parts).detach().float()
            return self.constant(name, (value.T if transpose else value).contiguous().numpy())
        blocks = self._counted(_blocks(parts, transpose=transpose))
        tensor = self._data.blocks(name, np.dtype(np.float32), shape, blocks)
        self._initializers.append(tensor)
        self._refer(name, offset=int(tensor.external_data[1].value), shape=shape)
        return name

    def region(self, name: str, value: torch.Tensor) -> TensorReference:
        """Store a float32 tensor that no node of the graph reads, for a runtime that maps it."""
        offset, _ = self._data.append(self._counted(_blocks([value], transpose=False)))
        self._refer(name, offset=offset, shape=tuple(value.shape))
        return self.reference(name)

    def linear(self, value: str, modules: Sequence[torch.nn.Linear], *, name: str) -> str:
        """Add a linear layer, or several that share their input as one; returns the result."""
        weights = [module.weight for module in modules]
        return self.packed_linear(value, weights, [module.bias for module in modules], name=name)

    def packed_linear(
        self,
        value: str,
        weights: Sequence[torch.Tensor],
        biases: Sequence[torch.Tensor | None],
        *,
        name: str,
    ) -> str:
        """Add `value @ joined(weights).T + joined(biases)`; returns the result.

        One linear instead of several reads the input once, and an INT8 pass needs a quantised
        input to have a single consumer. The weight `<name>.weight` is [inputs, outputs].

        Args:
            value: The input, [..., inputs].
            weights: Matrices [outputs, inputs], as PyTorch keeps them.
            biases: The bias of each, if it has one.
            name: The node's name; a bias, where there is one, is added by `<name>.add`.
        """
        weight = self.weight(f"{name}.weight", *weights, transpose=True)
        result = self.node("MatMul", [value, weight], name=name)
        if all(bias is None for bias in biases):
            return result
        joined = [
            torch.zeros(matrix.shape[0]) if bias is None else bias
            for matrix, bias in zip(weights, biases, strict=True)
        ]
        return self.node("Add", [result, self.weight(f"{name}.bias", *joined)], name=f"{name}.add")

    def split(
        self, value: str, sizes: Sequence[int], *, name: str, parts: Sequence[str]
    ) -> list[str]:
        """Cut the last dimension of a packed linear's result into `<name>.<part>` values."""
        lengths = self.constant(f"{name}.sizes", np.array(sizes, np.int64))
        outputs = [f"{name}.{part}" for part in parts]
        self.node("Split", [value, lengths], name=name, outputs=outputs, attributes={"axis": -1})
        return outputs

    def attention(
        self, query: str, key: str, value: str, *, heads: int, head_size: int, name: str
    ) -> str:
        """Add attention without a mask over [B, rows, heads * head_size] inputs; returns it."""
        attributes: dict[str, Attribute] = {
            "q_num_heads": heads,
            "kv_num_heads": heads,
            "scale": float(head_size**-0.5),
        }
        return self.node("Attention", [query, key, value], name=name, attributes=attributes)

    def layer_norm(self, value: str, module: torch.nn.LayerNorm, *, name: str) -> str:
        """Add a LayerNormalization over the last dimension; returns its result."""
        inputs = [value, self.weight(f"{name}.weight", module.weight)]
        if module.bias is not None:
            inputs.append(self.weight(f"{name}.bias", module.bias))
        attributes: dict[str, Attribute] = {"axis": -1, "epsilon": float(module.eps)}
        return self.node("LayerNormalization", inputs, name=name, attributes=attributes)

    def constant(self, name: str, value: np.ndarray) -> str:
        """Keep a small array (shapes, indices, biases) in the graph file itself; returns `name`."""
        self._initializers.append(onnx.numpy_helper.from_array(value, name))
        return name

    def reference(self, name: str) -> TensorReference:
        """Say where in the data file the weight `name` lies, for a runtime that maps it."""
        return self._references[name]

    def save(self) -> None:
        """Write the graph file; the data file is complete by then."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._initializers
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="c2t",
        )
        self.path.write_bytes(model.SerializeToString(deterministic=True))

    def _counted(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            yield block
            self._advance(block.nbytes)

    def _refer(self, name: str, *, offset: int, shape: tuple[int, ...]) -> None:
        self._references[name] = TensorReference(
            file=self._data.path.name, offset=offset, shape=shape, dtype="float32"
        )


def _value(name: str, shape: Sequence[Dimension], *, integer: bool) -> onnx.ValueInfoProto:
    element = TensorProto.INT64 if integer else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, element, list(shape))


def _blocks(parts: Sequence[torch.Tensor], *, transpose: bool) -> Iterator[np.ndarray]:
    """Cut the joined (and transposed) matrix into contiguous float32 blocks, in file order."""
    if not transpose:
        for part in parts:
            row_bytes = 4 * max(1, part[0].numel())
            for block in part.detach().split(max(1, BLOCK_BYTES // row_bytes)):
                yield block.float().contiguous().numpy()
        return
    rows = sum(part.shape[0] for part in parts)
    step = max(1, BLOCK_BYTES // (4 * rows))
    for start in range(0, parts[0].shape[1], step):
        columns = [part.detach()[:, start : start + step].float() for part in parts]
        yield torch.cat(columns).T.contiguous().numpy()
