"""What a decoder's attention needs of a library, beyond what every library has.

One decision: a graph is refused before it is opened or built where a library lacks what it needs,
or is known to compute it otherwise in some versions. ONNX Runtime's CUDA provider refused soft caps
first, then capped before masking (microsoft/onnxruntime#27712, #28370); its masks beside cache
lengths changed, too (#28904). TensorRT has neither: a soft cap, or a mask beside causality.
"""

from __future__ import annotations

from dataclasses import dataclass

from c2t.runtime.bundle.graph_content import GraphContent
from c2t.runtime.system.errors import C2TError

MASK = 3  # which input of Attention
SIZE = ".size"  # of the window that a mask leaves, as export calls it
HINT = "describe with --engine cpu, which computes it as transformers does"


@dataclass(frozen=True)
class AttentionNeeds:
    """What is unusual in a decoder's attention.

    Args:
        softcap: The cap of products of queries and keys; 0: none.
        window: Cache positions that a row sees, the narrowest of all layers'; 0: all of them.
    """

    softcap: float
    window: int


def attention_needs(graph: GraphContent) -> AttentionNeeds:
    """What a decoder graph needs.

    Args:
        graph: Its nodes, and the values of its own file.
    """
    nodes = [node for node in graph.nodes if node.operator == "Attention"]
    caps = [float(node.attributes.get("softcap") or 0.0) for node in nodes]
    masks = {node.inputs[MASK] for node in nodes if len(node.inputs) > MASK} - {""}
    sizes = [graph.values.get(f"{mask}{SIZE}") for mask in masks]
    # A mask of another origin hides what nobody knows: as narrow as can be.
    windows = [1 if size is None or size.size != 1 else int(size.item()) for size in sizes]
    return AttentionNeeds(softcap=max(caps, default=0.0), window=min(windows, default=0))


def check_attention(
    graph: GraphContent, library: str, *, error: type[C2TError], capacity: int | None = None
) -> None:
    """Refuse a decoder whose attention a library lacks.

    Args:
        graph: The decoder's nodes, and the values of its own file.
        library: Its name, for the error.
        error: Class of the error to raise.
        capacity: Cache positions there will be at most: a window as wide hides none. None: any.

    Raises:
        C2TError: Of the class `error`.
    """
    needs = attention_needs(graph)
    if needs.softcap:
        problem = f"the decoder caps its attention at {needs.softcap:g}: not run with {library}"
        raise error(problem, hint=HINT)
    if needs.window and (capacity is None or capacity > needs.window):
        problem = f"the decoder's rows see {needs.window} positions only: not run with {library}"
        hint = HINT
        if capacity is not None:
            problem += f" for caches of {capacity}"
            hint = f"ask for fewer tokens, so that all fit into the window; or {HINT}"
        raise error(problem, hint=hint)
