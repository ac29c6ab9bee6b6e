"""Comparing a graph with one that a kernel of ours computes as a whole.

One decision: a graph must be exactly that one. A kernel reads weights, not nodes: a norm, a bias or
a soft cap that it does not know would be left out of every text without a word. So each node is
compared with what export and calibration write: operator, inputs, outputs and attributes. So are
the constants that say how values are cut, and the shapes of all weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.graph_content import GraphContent, Node
from c2t.runtime.engines.known_graph.nodes import ZERO
from c2t.runtime.system.errors import BundleError

OPSET = 24
# Numbers of types in onnx.proto.
FLOAT, INT64 = 1, 7

Values = dict[str, NDArray[Any]]


class KnownGraph:
    """A kind of graph, and how one is refused that is not of it.

    Args:
        part: What the graph is, such as "decoder".
        kernel: Who computes it, such as "the step kernel".
        error: Raised where a graph is another one.
    """

    def __init__(self, part: str, kernel: str, error: type[BundleError]) -> None:
        self._part = part
        self._kernel = kernel
        self._error = error

    def refuse(self, what: str) -> NoReturn:
        """Raise the error, with what is different."""
        problem = f"the {self._part} {what}"
        raise self._error(problem)

    def check_opset(self, graph: GraphContent) -> None:
        """Check that all operators are ONNX's own, of the opset that export writes."""
        if graph.opsets != {"": OPSET}:
            self.refuse(f"is not of opset {OPSET} alone")
        if graph.functions:
            self.refuse("has a function of its own")

    def compare_nodes(self, nodes: Sequence[Node], expected: Sequence[Node]) -> None:
        """Compare all nodes by their names; unknown ones are named first."""
        known = {node.name: node for node in expected}
        names = [node.name for node in nodes]
        for node in nodes:
            if node.name not in known or node.operator != known[node.name].operator or node.domain:
                operator = f"{node.domain}.{node.operator}" if node.domain else node.operator
                self.refuse(f"has {node.name} ({operator}), which {self._kernel} does not know")
        for node in expected:
            if (count := names.count(node.name)) != 1:
                number = "no" if not count else f"{count} times"
                self.refuse(f"has {number} {node.name} ({node.operator})")
        for node in nodes:
            wanted = known[node.name]
            for verb, ours, theirs in (
                ("reads", wanted.inputs, node.inputs),
                ("writes", wanted.outputs, node.outputs),
            ):
                if ours != theirs:
                    self.refuse(
                        f"has {node.name} ({node.operator}), which {verb} {', '.join(theirs)}, "
                        f"not {', '.join(ours)}"
                    )
            for name in sorted(wanted.attributes.keys() | node.attributes.keys()):
                if name in node.attributes and node.attributes[name] is None:
                    self.refuse(f"has {node.name} ({node.operator}), whose {name} cannot be read")
                if wanted.attributes.get(name) != node.attributes.get(name):
                    self.refuse(
                        f"has {node.name} ({node.operator}), whose {name} is "
                        f"{node.attributes.get(name)}, not {wanted.attributes.get(name)}"
                    )

    def compare_ends(self, graph: GraphContent, given: str, made: str) -> None:
        """Compare names and types of a graph's one input and one output, both of floats."""
        for kind, values, known in (
            ("inputs", graph.ends.inputs, given),
            ("outputs", graph.ends.outputs, made),
        ):
            if list(values) != [known]:
                self.refuse(f"has other {kind} than {known}")
            if values[known][0] != FLOAT:
                self.refuse(f"has {known} of another type")

    def check_linear(
        self,
        values: Values,
        linear: str,
        shape: tuple[int, int],
        outputs: int,
        *,
        quantised: bool,
    ) -> None:
        """Check a linear's weight; in int8 also its scales, and that all zero points are 0.

        Args:
            values: Initializers by name.
            linear: Its name.
            shape: Of the weight.
            outputs: How many of the weight's rows or columns are outputs.
            quantised: Whether it is in int8.
        """
        weight = f"{linear}.weight"
        if not quantised:
            self.check_tensor(values, weight, np.float32, shape)
            return
        self.check_tensor(values, weight, np.int8, shape)
        for name, of in ((f"{weight}.scale", (outputs,)), (f"{linear}.input.scale", (1,))):
            scale = self.check_tensor(values, name, np.float32, of)
            if not (np.isfinite(scale).all() and (scale > 0).all()):
                self.refuse(f"has {name}, not all of which is above 0")
        for name, of in ((f"{weight}.zero_point", (outputs,)), (ZERO, (1,))):
            if self.check_tensor(values, name, np.int8, of).any():
                self.refuse(f"has {name}, not all of which is 0")

    def check_tensor(
        self, values: Values, name: str, dtype: Any, shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """The value of that name, dtype and shape."""
        value = values.get(name)
        if value is None or value.dtype != dtype or value.shape != shape:
            self.refuse(f"has no {np.dtype(dtype).name} {name} of the shape {list(shape)}")
        return value

    def check_constants(self, values: Values, constants: Mapping[str, list[int] | int]) -> None:
        """Check integers that say how values are cut and shaped, and what rows see."""
        for name, numbers in constants.items():
            constant = values.get(name)
            stored = None if constant is None or constant.dtype != np.int64 else constant.tolist()
            # Calibration stores a single number as a list of one.
            if stored != numbers and not (isinstance(numbers, int) and stored == [numbers]):
                self.refuse(f"has {name} = {stored}, not {numbers}")


def number_of(node: Node | None, attribute: str) -> float:
    """An attribute that a kernel takes as an argument; 0, which no node has, without it."""
    value = node.attributes.get(attribute) if node is not None else None
    return value if isinstance(value, float) else 0.0
