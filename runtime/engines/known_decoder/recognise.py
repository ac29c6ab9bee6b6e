"""The decoder graphs that the step kernels compute, compared node by node.

Only what a kernel takes as an argument may differ: the sizes, the form, and which linears are in
int8.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.kernels.decoder_step.weights import HostDecoder, HostLayer, LayerBiases
from c2t.kernels.linears.matrix import Int8Matrix
from c2t.runtime.bundle.graph_content import GraphContent, read_content
from c2t.runtime.engines.known_decoder.expected_nodes import expected_nodes
from c2t.runtime.engines.known_decoder.expected_values import compare_values, scalar
from c2t.runtime.engines.known_decoder.form import OUTPUT, DecoderForm, read_form
from c2t.runtime.engines.known_graph.compare import FLOAT, INT64, KnownGraph, Values
from c2t.runtime.system.errors import BundleError


class UnknownDecoderError(BundleError):
    """A decoder that a step kernel would compute wrongly; ONNX Runtime runs all of it."""


@dataclass(frozen=True, kw_only=True)
class KnownDecoder:
    """A decoder graph that was recognised as a whole.

    Args:
        sizes: Of the decoder.
        form: What it is made of.
        values: Initializers by name, mapped from the data file.
    """

    sizes: StepSizes
    form: DecoderForm
    values: Values

    @property
    def quantised(self) -> frozenset[str]:
        """Names of the linears in int8."""
        return self.form.quantised

    def host(self) -> HostDecoder:
        """Its weights, as the definition and the packing read them."""
        form, values = self.form, self.values
        return HostDecoder(
            layers=[self._layer(index) for index in range(self.sizes.layers)],
            norm=values["norm.weight"],
            norm_bias=self._where("norm.bias", there_is=form.centred),
            lm_head=self._matrix(OUTPUT),
            cosines=values["rotary.cos"],
            sines=values["rotary.sin"],
            epsilon=form.epsilon,
            scale=form.scale,
            activation=form.activation,
            gated=form.gated,
            parallel=form.parallel,
            attention_cap=form.attention_cap,
            logit_cap=scalar(values, "output.cap") if form.logits_are_capped else 0.0,
            embedding_scale=(
                scalar(values, "embedding.scale") if form.embeddings_are_scaled else 1.0
            ),
        )

    def _layer(self, index: int) -> HostLayer:
        form, values = self.form, self.values
        attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"
        wide = f"{mlp}.{form.wide}"
        biases = LayerBiases(
            attention_norm=self._where(f"{attention}.norm.bias", there_is=form.centred),
            qkv=self._bias(f"{attention}.qkv"),
            o=self._bias(f"{attention}.output"),
            mlp_norm=self._where(f"{mlp}.norm.bias", there_is=form.centred),
            gate_up=self._bias(wide),
            down=self._bias(f"{mlp}.down"),
        )
        return HostLayer(
            attention_norm=values[f"{attention}.norm.weight"],
            qkv=self._matrix(f"{attention}.qkv"),
            o=self._matrix(f"{attention}.output"),
            mlp_norm=values[f"{mlp}.norm.weight"],
            gate_up=self._matrix(wide),
            down=self._matrix(f"{mlp}.down"),
            biases=biases,
            q_norm=self._where(f"{attention}.q.norm.weight", there_is=form.head_norms),
            k_norm=self._where(f"{attention}.k.norm.weight", there_is=form.head_norms),
            after_attention=self._where(f"{attention}.after.weight", there_is=form.norms_behind),
            after_mlp=self._where(f"{mlp}.after.weight", there_is=form.norms_behind),
            window=form.windows[index],
        )

    def _where(self, name: str, *, there_is: bool) -> Any:
        """A weight that the form has; None where it has not, whatever the graph holds."""
        return self.values[name] if there_is else None

    def _bias(self, linear: str) -> Any:
        return self._where(f"{linear}.bias", there_is=linear in self.form.biased)

    def _matrix(self, linear: str) -> Any:
        weight = self.values[f"{linear}.weight"]
        if linear not in self.form.quantised:
            return weight
        return Int8Matrix(
            values=weight,
            scales=self.values[f"{linear}.weight.scale"],
            input_scale=self.values[f"{linear}.input.scale"].item(),
        )


def recognise_decoder(path: Path) -> KnownDecoder:
    """Recognise a decoder graph.

    Args:
        path: The `decoder.onnx` of a bundle, its data file beside it.

    Raises:
        UnknownDecoderError: A node, an attribute, an input, a constant or a shape is not that of
            a known decoder; the first difference is named.
        BundleError: The graph cannot be read.
    """
    return recognise_content(read_content(path))


def recognise_content(graph: GraphContent) -> KnownDecoder:
    """Recognise a decoder graph that was read; see `recognise_decoder`.

    Raises:
        UnknownDecoderError: See there.
    """
    _KNOWN.check_opset(graph)
    layers = sum(node.operator == "Attention" for node in graph.nodes)
    form = read_form({node.name: node for node in graph.nodes}, layers)
    _KNOWN.compare_nodes(graph.nodes, [*expected_nodes(form)])
    _compare_ends(graph, layers)
    return KnownDecoder(
        sizes=compare_values(_KNOWN, graph.values, form), form=form, values=graph.values
    )


def _compare_ends(graph: GraphContent, layers: int) -> None:
    """Compare names and types of inputs and outputs."""
    caches = [f"{part}.{layer}" for layer in range(layers) for part in ("key", "value")]
    arguments = ("inputs_embeds", "position_ids", "write_index", "kv_length", "logit_rows")
    for kind, values, known in (
        ("inputs", graph.ends.inputs, [*arguments, *(f"past_{name}" for name in caches)]),
        ("outputs", graph.ends.outputs, ["logits", *(f"present_{name}" for name in caches)]),
    ):
        if list(values) != known:
            different = min(set(values) ^ set(known), default="their order")
            _KNOWN.refuse(f"has other {kind}: {different}")
        for name, (element, _) in values.items():
            if element != (INT64 if name in arguments[1:] else FLOAT):
                _KNOWN.refuse(f"has {name} of another type")


_KNOWN = KnownGraph("decoder", "the step kernel", UnknownDecoderError)
