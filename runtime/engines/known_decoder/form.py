"""What a known decoder is made of: the choices that families make, read off a few of its nodes.

One decision: reading a form decides nothing. The whole graph is compared with the nodes of that
form afterwards, so that a wrong guess is a graph that is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from c2t.runtime.bundle.graph_content import Node
from c2t.runtime.engines.known_graph.compare import number_of

OUTPUT = "output"  # the linear that gives the logits
WINDOW = "window."  # a mask's name goes on with the number of cache positions


@dataclass(frozen=True, kw_only=True)
class DecoderForm:
    """A form of decoder.

    Args:
        layers: Decoder layers.
        epsilon: Of every norm.
        scale: Of every attention.
        quantised: Names of the linears in int8; the others are float32.
        biased: Names of the linears with a bias.
        centred: Whether the norms of a layer's input are layer norms; else they are RMS norms.
        head_norms: Whether each head's queries and keys are normalised.
        norms_behind: Whether what attention and MLP give is normalised.
        parallel: Whether an MLP reads what its layer's attention reads.
        gated: Whether an MLP has gates.
        activation: Of the MLPs, one of `c2t.kernels.linears.activations`.
        rotated: How many numbers of a head are rotated; None: all.
        attention_cap: See `HostDecoder`.
        logits_are_capped: Whether there is a cap of the logits.
        embeddings_are_scaled: Whether embeddings are multiplied.
        windows: Cache positions that a row sees, of each layer; 0: all.
    """

    layers: int
    epsilon: float
    scale: float
    quantised: frozenset[str]
    biased: frozenset[str]
    centred: bool
    head_norms: bool
    norms_behind: bool
    parallel: bool
    gated: bool
    activation: str
    rotated: int | None
    attention_cap: float
    logits_are_capped: bool
    embeddings_are_scaled: bool
    windows: tuple[int, ...]

    @property
    def wide(self) -> str:
        """The first linear of an MLP, as its name ends."""
        return "gate_up" if self.gated else "up"

    @property
    def beyond_llama(self) -> str:
        """What it has that a Llama has not, in words; "" where there is nothing."""
        of_llama = (
            ("biases", not self.biased),
            ("layer norms", not self.centred),
            ("norms of its heads", not self.head_norms),
            ("norms behind attention and MLP", not self.norms_behind),
            ("MLPs beside attention", not self.parallel),
            ("MLPs without gates", self.gated),
            (f"the activation {self.activation}", self.activation == "silu"),
            (f"{self.rotated} rotated numbers of a head", self.rotated is None),
            (f"attention capped at {self.attention_cap:g}", not self.attention_cap),
            ("capped logits", not self.logits_are_capped),
            ("scaled embeddings", not self.embeddings_are_scaled),
            (f"a window of {max(self.windows, default=0)} positions", not any(self.windows)),
        )
        return next((what for what, as_llama in of_llama if not as_llama), "")


def linear_names(layers: int, wide: str) -> tuple[str, ...]:
    """All linears: four of each layer, and `OUTPUT`."""
    parts = ("attention.qkv", "attention.output", f"mlp.{wide}", "mlp.down")
    return (*(f"layers.{layer}.{part}" for layer in range(layers) for part in parts), OUTPUT)


def read_form(nodes: Mapping[str, Node], layers: int) -> DecoderForm:
    """The form that a decoder seems to have.

    Args:
        nodes: Of its graph, by name.
        layers: How many it has.
    """
    first = "layers.0"
    gated = f"{first}.mlp.gate_up" in nodes
    linears = linear_names(layers, "gate_up" if gated else "up")
    attention, norm, mlp_norm = (
        nodes.get(name) for name in (f"{first}.attention", "norm", f"{first}.mlp.norm")
    )
    rotary, gelu = nodes.get(f"{first}.attention.q.rotary"), nodes.get(f"{first}.mlp.gelu")
    rotated = rotary.attributes.get("rotary_embedding_dim") if rotary is not None else None
    activation = "silu"
    if gelu is not None:
        activation = "gelu_tanh" if gelu.attributes else "gelu"
    return DecoderForm(
        layers=layers,
        epsilon=number_of(norm, "epsilon"),
        scale=number_of(attention, "scale"),
        quantised=frozenset(name for name in linears if f"{name}.input.quantize" in nodes),
        biased=frozenset(name for name in linears if f"{name}.add" in nodes),
        centred=norm is not None and norm.operator == "LayerNormalization",
        head_norms=f"{first}.attention.q.norm" in nodes,
        norms_behind=f"{first}.attention.after" in nodes,
        parallel=mlp_norm is not None and f"{first}.attention.residual" not in mlp_norm.inputs,
        gated=gated,
        activation=activation,
        rotated=rotated if isinstance(rotated, int) else None,
        attention_cap=number_of(attention, "softcap"),
        logits_are_capped="output.capped" in nodes,
        embeddings_are_scaled="embedding.scaled" in nodes,
        windows=tuple(_window(nodes.get(f"layers.{layer}.attention")) for layer in range(layers)),
    )


def _window(attention: Node | None) -> int:
    """The window of an attention's mask; 0: it has none that is known."""
    mask = attention.inputs[3] if attention is not None and len(attention.inputs) > 3 else ""
    number = mask.removeprefix(WINDOW)
    known = mask.startswith(WINDOW) and number.isdecimal() and number.isascii()
    return int(number[:18]) if known else 0
