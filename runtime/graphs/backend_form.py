"""Which form of a bundle's graphs a backend is given, and writing it.

One decision: a bundle holds one model; what TensorRT wants otherwise (half precision, static
caches, and for TensorRT for RTX no activation Q/DQ) is made of it for a build, and thrown away.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from c2t.runtime.graphs.half_attention import write_half_attention
from c2t.runtime.graphs.half_precision import DTYPES, write_half_precision
from c2t.runtime.graphs.weight_only_form import drop_activation_pairs
from c2t.runtime.system.errors import BundleError

# Precisions of bundles whose graphs are standard operators throughout.
BUILDABLE = ("fp32", "int8")
FLOAT32 = "float32"
PRECISIONS = (*DTYPES, FLOAT32)


@dataclass(frozen=True, kw_only=True)
class BackendForm:
    """What becomes of a bundle's graphs.

    Args:
        dtype: "float16" or "bfloat16": everything but normalisations, logits and int8 weights;
            "float32": everything but attention, which TensorRT has in half precision only.
        activations: Whether activations stay quantised where they are.
        cache_capacity: Slots of the decoder's caches.
    """

    dtype: str
    activations: bool
    cache_capacity: int

    @property
    def name(self) -> str:
        """In a word, for reports."""
        return self.dtype if self.activations else f"{self.dtype}, int8 weights"


def check_buildable(precision: str, dtype: str) -> None:
    """Refuse what cannot be built, before anything is written.

    Raises:
        BundleError: A bundle of operators that TensorRT does not have, or no such dtype.
    """
    if precision not in BUILDABLE:
        problem = f"a bundle of precision {precision} uses ONNX Runtime's own operators"
        raise BundleError(problem, hint="build the float32 bundle, or one of precision int8")
    if dtype not in PRECISIONS:
        problem = f"there is no precision {dtype!r}"
        raise BundleError(problem, hint=f"choose one of {', '.join(PRECISIONS)}")


def write_form(source: Path, target: Path, form: BackendForm) -> int:
    """Write a graph of a bundle in a backend's form.

    Args:
        source: The graph file in the bundle.
        target: The new graph file; its data goes to `<target>.data`.
        form: The form.

    Returns:
        Bytes of its weights.

    Raises:
        BundleError: A weight does not fit the dtype.
    """
    model = onnx.load(source, load_external_data=False)
    if not form.activations:
        drop_activation_pairs(model)
    capacity = form.cache_capacity
    if form.dtype == FLOAT32:
        write_half_attention(source, target, cache_capacity=capacity, model=model)
    else:
        write_half_precision(source, target, dtype=form.dtype, cache_capacity=capacity, model=model)
    return target.with_name(f"{target.name}.data").stat().st_size


def quantised_products(graph: Path) -> tuple[str, ...]:
    """Names of the products of a graph whose weights are int8."""
    model = onnx.load(graph, load_external_data=False)
    int8 = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    widened = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in int8
    }
    return tuple(n.name for n in model.graph.node if len(n.input) > 1 and n.input[1] in widened)
