"""Weights of a graph whose nodes and shapes have been compared, mapped from its data file."""

from __future__ import annotations

from c2t.kernels.encoder.weights import BiasedLinear, Norm
from c2t.kernels.linears.matrix import Int8Matrix, Matrix
from c2t.runtime.engines.known_graph.compare import Values


def biased_linear(values: Values, name: str, *, quantised: bool) -> BiasedLinear:
    """The linear of that name, and its bias."""
    weight = values[f"{name}.weight"]
    matrix: Matrix = weight
    if quantised:
        matrix = Int8Matrix(
            values=weight,
            scales=values[f"{name}.weight.scale"],
            input_scale=values[f"{name}.input.scale"].item(),
        )
    return BiasedLinear(matrix=matrix, bias=values[f"{name}.bias"])


def layer_norm(values: Values, name: str) -> Norm:
    """The layer norm of that name."""
    return Norm(weight=values[f"{name}.weight"], bias=values[f"{name}.bias"])
