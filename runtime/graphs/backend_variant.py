"""Chooses and writes the variant of a bundle's graphs that a backend needs.

One decision: a bundle holds one model. TensorRT needs half precision and caches of a fixed size;
TensorRT for RTX also needs activations without Q/DQ. That variant is written for a build and
deleted after it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from c2t.runtime.graphs.data_file import read_graph
from c2t.runtime.graphs.half_attention import write_half_attention
from c2t.runtime.graphs.half_precision import DTYPES, write_half_precision
from c2t.runtime.graphs.weight_only import drop_activation_pairs
from c2t.runtime.graphs.window_mask import drop_wide_masks
from c2t.runtime.system.errors import BundleError

# Precisions of bundles whose graphs are standard operators throughout.
BUILDABLE = ("fp32", "int8")
FLOAT32 = "float32"
BUILD_DTYPES = (*DTYPES, FLOAT32)


@dataclass(frozen=True, kw_only=True)
class BackendVariant:
    """How a bundle's graphs are changed.

    Args:
        dtype: "float16" or "bfloat16": everything but normalisations, logits and int8 weights;
            "float32": everything but attention, which TensorRT has in half precision only.
        activations: Whether quantised activations stay quantised.
        cache_capacity: Cache positions of a batch row.
    """

    dtype: str
    activations: bool
    cache_capacity: int

    @property
    def name(self) -> str:
        """For reports and folder names, such as "float16, int8 weights"."""
        return self.dtype if self.activations else f"{self.dtype}, int8 weights"


def check_buildable(precision: str, dtype: str) -> None:
    """Refuse what cannot be built, before anything is written.

    Args:
        precision: The bundle's.
        dtype: One of `BUILD_DTYPES`.

    Raises:
        BundleError: The bundle has operators that TensorRT lacks, or there is no such dtype.
    """
    if precision not in BUILDABLE:
        problem = f"a bundle of precision {precision} uses ONNX Runtime's own operators"
        raise BundleError(problem, hint="build the float32 bundle, or one of precision int8")
    if dtype not in BUILD_DTYPES:
        problem = f"there is no precision {dtype!r}"
        raise BundleError(problem, hint=f"choose one of {', '.join(BUILD_DTYPES)}")


def write_variant(source: Path, target: Path, variant: BackendVariant) -> int:
    """Write a backend's variant of a graph.

    Args:
        source: The graph file in the bundle.
        target: The new graph file; its data goes to `<target>.data`.
        variant: What to change.

    Returns:
        Bytes of its weights.

    Raises:
        BundleError: A weight does not fit the dtype.
    """
    model = read_graph(source)
    if not variant.activations:
        drop_activation_pairs(model)
    capacity = variant.cache_capacity
    drop_wide_masks(model, capacity)
    if variant.dtype == FLOAT32:
        write_half_attention(source, target, cache_capacity=capacity, model=model)
    else:
        write_half_precision(
            source, target, dtype=variant.dtype, cache_capacity=capacity, model=model
        )
    return target.with_name(f"{target.name}.data").stat().st_size


def int8_linears(graph: Path) -> tuple[str, ...]:
    """Names of the linears of a graph whose weights are int8."""
    model = read_graph(graph)
    int8 = {t.name for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8}
    widened = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in int8
    }
    return tuple(n.name for n in model.graph.node if len(n.input) > 1 and n.input[1] in widened)
