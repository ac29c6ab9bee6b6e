"""Writing the description of a decoder's weights that the step kernel reads.

One decision: the decoder is recognised as a whole first (`recognise_decoder`); only then are its
weights looked up by their names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from safetensors.numpy import save

from c2t.kernels.decoder_step.layout import StepLayout
from c2t.kernels.errors import KernelError
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.engines.built.step_weights import (
    DESCRIPTION_NAME,
    FINAL_NORM,
    ROTARY,
    SMALL_NAME,
    LayerWeights,
    StepWeights,
    norm_names,
)
from c2t.runtime.engines.known_decoder.recognise import (
    KnownDecoder,
    UnknownDecoderError,
    recognise_decoder,
)
from c2t.runtime.graphs.data_file import read_graph
from c2t.runtime.system.checked_read import json_bytes


def write_step_weights(source: Path, half: Path) -> None:
    """Write `decoder_weights.json` and `decoder_weights.safetensors` beside a half-precision graph.

    Args:
        source: The float32 `decoder.onnx` of a bundle, its data file beside it: norms and rotary
            tables are taken from it.
        half: The half-precision graph of `source`: the matrices lie in its data file.

    Raises:
        UnknownDecoderError: The step kernel would compute the decoder wrongly; nothing is written.
    """
    decoder = check_step_weights(source)
    form = decoder.form
    stored = read_graph(half).graph.initializer
    places = {tensor.name: _reference(tensor) for tensor in stored if tensor.external_data}
    layers = range(decoder.sizes.layers)
    description = StepWeights(
        epsilon=form.epsilon,
        attention_scale=form.scale,
        layers=tuple(
            LayerWeights(
                qkv=places[f"layers.{index}.attention.qkv.weight"],
                output=places[f"layers.{index}.attention.output.weight"],
                gate_up=places[f"layers.{index}.mlp.gate_up.weight"],
                down=places[f"layers.{index}.mlp.down.weight"],
            )
            for index in layers
        ),
        logits=places["output.weight"],
    )
    norms = [name for index in layers for name in norm_names(index)]
    names = (*ROTARY, *norms, FINAL_NORM)
    small = {name: np.ascontiguousarray(decoder.values[name]) for name in names}
    half.with_name(DESCRIPTION_NAME).write_bytes(json_bytes(description))
    # Not `save_file`: it makes files that only their owner can read.
    half.with_name(SMALL_NAME).write_bytes(save(small))


def check_step_weights(source: Path) -> KnownDecoder:
    """The decoder of a bundle's `decoder.onnx`, if the GPU's step kernel computes it.

    Raises:
        UnknownDecoderError: It would compute it wrongly.
    """
    decoder = recognise_decoder(source)
    if lacking := decoder.form.beyond_llama:
        problem = f"the decoder has {lacking}, which the GPU's kernel lacks"
        raise UnknownDecoderError(problem)
    try:
        StepLayout.of(decoder.sizes, decoder.host())
    except KernelError as error:
        raise UnknownDecoderError(error.problem) from error
    return decoder


def _reference(tensor: TensorProto) -> TensorReference:
    """Where a weight of the half-precision graph lies in its data file."""
    place = {entry.key: entry.value for entry in tensor.external_data}
    return TensorReference(
        file=place["location"],
        offset=int(place["offset"]),
        shape=tuple(tensor.dims),
        dtype=onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).name,
    )
