"""The decoder's weights for the step kernel: where the matrices lie, and the small tensors.

One decision: the description is plain JSON and safetensors beside the half-precision graphs, so
that running the kernel needs no onnx. The matrices are stored once, in the data file of the
half-precision graph. Norms and rotary tables are float32, as the bundle has them. Everything is
checked before it is used: a damaged description would have the kernel read other bytes as weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.bundle.tensors import map_tensor
from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.tensor_files import STORAGE

DESCRIPTION_NAME = "decoder_weights.json"
SMALL_NAME = "decoder_weights.safetensors"
ROTARY = ("rotary.cos", "rotary.sin")
FINAL_NORM = "norm.weight"
# What matrices may be stored as.
MATRIX_DTYPES = {name: STORAGE[name] for name in ("float16", "bfloat16")}
DESCRIPTION_BYTES_MAX = 4 << 20
HINT = "build it again: `c2t build BUNDLE --target cuda --force`"


@dataclass(frozen=True, kw_only=True)
class LayerWeights:
    """Matrices of one layer, each stored [inputs, outputs], row by row.

    Args:
        qkv: [D, (heads + 2 * kv_heads) * head_size]: queries, keys, values side by side.
        output: [heads * head_size, D].
        gate_up: [D, 2 * intermediate_size]: gate and up side by side.
        down: [intermediate_size, D].
    """

    qkv: TensorReference
    output: TensorReference
    gate_up: TensorReference
    down: TensorReference


@dataclass(frozen=True, kw_only=True)
class StepWeights:
    """The contents of `decoder_weights.json`.

    Args:
        epsilon: Of every RMS normalisation.
        attention_scale: What products of queries and keys are multiplied by.
        layers: The layers, first to last.
        logits: [V, D], one row for each text token.
    """

    epsilon: float
    attention_scale: float
    layers: tuple[LayerWeights, ...]
    logits: TensorReference


def norm_names(layer: int) -> tuple[str, str]:
    """Names of a layer's two norm weights: in front of its attention, and of its MLP."""
    return f"layers.{layer}.attention.norm.weight", f"layers.{layer}.mlp.norm.weight"


def load_step_weights(
    folder: Path, decoder: Decoder
) -> tuple[StepWeights, dict[str, NDArray[np.float32]]]:
    """Read and check the description of a decoder's weights.

    Args:
        folder: Where half-precision graphs lie, see `c2t.runtime.engines.built.half_graphs`.
        decoder: Sizes, of the bundle's manifest.

    Returns:
        The description, whose references lie inside their files, and the small float32 tensors by
        name: `rotary.cos` and `rotary.sin` [positions, head_size / 2], two norm weights [D] of each
        layer (see `norm_names`), and `norm.weight` [D] of the last norm.

    Raises:
        EngineError: A file is missing or damaged, or does not fit the decoder.
    """
    weights = read_json(
        folder / DESCRIPTION_NAME,
        StepWeights,
        bytes_max=DESCRIPTION_BYTES_MAX,
        error=EngineError,
        hint=HINT,
    )
    problem = next(_problems(weights, decoder), "")
    if problem:
        problem = f"{folder / DESCRIPTION_NAME} does not fit the bundle: {problem}"
        raise EngineError(problem, hint=HINT)
    for layer in weights.layers:
        for reference in (layer.qkv, layer.output, layer.gate_up, layer.down):
            map_matrix(folder, reference)
    map_matrix(folder, weights.logits)
    return weights, _read_small(folder / SMALL_NAME, decoder)


def map_matrix(folder: Path, reference: TensorReference) -> NDArray[Any]:
    """A matrix of a description, mapped; bfloat16 as uint16.

    Raises:
        EngineError: It does not lie inside a file of the folder.
    """
    return map_tensor(folder, reference, dtypes=MATRIX_DTYPES, error=EngineError, hint=HINT)


def _problems(weights: StepWeights, decoder: Decoder) -> Iterator[str]:
    """The problems of a description, in words."""
    if not 0 < weights.epsilon < 1:
        yield f"epsilon is {weights.epsilon}"
    if not 0 < weights.attention_scale < math.inf:
        yield f"the attention's scale is {weights.attention_scale}"
    if len(weights.layers) != decoder.layers:
        yield f"it has {len(weights.layers)} layers, the decoder {decoder.layers}"
        return
    hidden_size, intermediate = decoder.hidden_size, weights.layers[0].down.shape[:1]
    if len(intermediate) != 1 or intermediate[0] < 1:
        yield f"layer 0 down has the shape {list(weights.layers[0].down.shape)}"
        return
    attended = decoder.heads * decoder.head_size
    packed = attended + 2 * decoder.kv_heads * decoder.head_size
    logits = ("logits", weights.logits, (decoder.vocabulary_size, hidden_size))
    expected: list[tuple[str, TensorReference, tuple[int, int]]] = [logits]
    for index, layer in enumerate(weights.layers):
        expected += [
            (f"layer {index} qkv", layer.qkv, (hidden_size, packed)),
            (f"layer {index} output", layer.output, (attended, hidden_size)),
            (f"layer {index} gate_up", layer.gate_up, (hidden_size, 2 * intermediate[0])),
            (f"layer {index} down", layer.down, (intermediate[0], hidden_size)),
        ]
    for name, reference, shape in expected:
        if reference.dtype not in MATRIX_DTYPES or reference.dtype != weights.logits.dtype:
            yield f"{name} is {reference.dtype!r}"
        elif reference.shape != shape:
            yield f"{name} has the shape {list(reference.shape)}, expected {list(shape)}"


def _read_small(path: Path, decoder: Decoder) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, NDArray[np.float32]] = load_file(path)
    # safetensors: OSError for the file, its own error for damage, KeyError for an unknown dtype.
    except (OSError, SafetensorError, KeyError) as error:
        problem = f"{path} cannot be read: {error}"
        raise EngineError(problem, hint=HINT) from error
    half_head = decoder.head_size // 2
    expected: dict[str, tuple[int, ...]] = {
        name: (decoder.max_positions, half_head) for name in ROTARY
    }
    norms = [name for layer in range(decoder.layers) for name in norm_names(layer)]
    expected |= {name: (decoder.hidden_size,) for name in (*norms, FINAL_NORM)}
    if missing := sorted(set(expected) ^ set(tensors)):
        problem = f"{path} does not hold what the decoder needs: {', '.join(missing[:3])}"
        raise EngineError(problem, hint=HINT)
    for name, shape in expected.items():
        tensor = tensors[name]
        if tensor.shape != shape or tensor.dtype != np.float32:
            problem = (
                f"{path}: {name} is {tensor.dtype} {list(tensor.shape)}, "
                f"expected float32 {list(shape)}"
            )
            raise EngineError(problem, hint=HINT)
    return tensors
