"""Nodes as export and calibration write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from c2t.runtime.bundle.graph_content import Node

ZERO = "zero_point"  # of every quantised input


def linear_nodes(
    operator: str, value: str, name: str, *, quantised: bool, **attributes: Any
) -> Iterator[Node]:
    """A product with a constant weight; in int8 its input and weight are dequantised.

    Args:
        operator: "MatMul", or "Gemm" with a transposed weight.
        value: What is multiplied.
        name: Of the linear, its weight and its result.
        quantised: Whether it is in int8.
        attributes: Of the product.
    """
    weight = f"{name}.weight"
    if quantised:
        scale = f"{name}.input.scale {ZERO}"
        inner, outer = f"{name}.input.quantize", f"{name}.input.dequantize"
        yield node("QuantizeLinear", f"{value} {scale}", inner)
        yield node("DequantizeLinear", f"{inner} {scale}", outer)
        axis = 0 if attributes.get("transB") else 1
        wide = f"{weight}.dequantize"
        inputs = f"{weight} {weight}.scale {weight}.zero_point"
        yield node("DequantizeLinear", inputs, wide, axis=axis)
        value, weight = outer, wide
    yield node(operator, f"{value} {weight}", name, **attributes)


def node(
    operator: str,
    inputs: str | Sequence[str],
    name: str,
    outputs: Sequence[str] = (),
    **attributes: Any,
) -> Node:
    """A node; without `outputs` its one output has its name."""
    names = inputs.split() if isinstance(inputs, str) else inputs
    return Node(
        operator=operator,
        name=name,
        inputs=tuple(names),
        outputs=tuple(outputs) or (name,),
        attributes=attributes,
    )
