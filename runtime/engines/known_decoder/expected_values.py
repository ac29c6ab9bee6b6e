"""The weights and constants of the decoder graphs that the step kernels compute."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from c2t.kernels.decoder_step.sizes import StepSizes
from c2t.runtime.engines.known_decoder.form import OUTPUT, WINDOW, DecoderForm
from c2t.runtime.engines.known_graph.compare import KnownGraph, Values


def compare_values(known: KnownGraph, values: Values, form: DecoderForm) -> StepSizes:
    """Compare the shapes of the weights with each other, and the constants with those shapes.

    Args:
        known: Refuses what does not fit.
        values: Initializers by name.
        form: Of the decoder.

    Returns:
        Its sizes.
    """
    sizes = _sizes(values, form)
    for name, length in _vectors(form, sizes).items():
        known.check_tensor(values, name, np.float32, (length,))
    positions = _first(values, "rotary.cos")
    rotated = sizes.head_size if form.rotated is None else form.rotated
    if not 0 < rotated <= sizes.head_size or rotated % 2:
        known.refuse(f"rotates {rotated} of {sizes.head_size} numbers of a head")
    for name in ("rotary.cos", "rotary.sin"):
        known.check_tensor(values, name, np.float32, (positions, rotated // 2))
    for name, shape in _linears(form, sizes).items():
        outputs = shape[0] if name == OUTPUT else shape[1]
        known.check_linear(values, name, shape, outputs, quantised=name in form.quantised)
    known.check_constants(values, _constants(form, sizes))
    _check_scalars(known, values, form)
    return sizes


def scalar(values: Values, name: str) -> float:
    """A float32 constant; 0, which none is, where there is none."""
    value = values.get(name)
    if value is None or value.dtype != np.float32 or value.size != 1:
        return 0.0
    return float(value.item())


def _sizes(values: Values, form: DecoderForm) -> StepSizes:
    heads, head_size = _last_two(values.get("shape.query_heads"))
    kv_heads, _ = _last_two(values.get("shape.kv_heads"))
    return StepSizes(
        layers=form.layers,
        hidden_size=_first(values, "norm.weight"),
        intermediate_size=_first(values, "layers.0.mlp.down.weight"),
        heads=heads,
        kv_heads=kv_heads,
        head_size=head_size,
        vocabulary_size=_first(values, "output.weight"),
    )


def _linears(form: DecoderForm, sizes: StepSizes) -> dict[str, tuple[int, int]]:
    """The shape of each linear's weight."""
    hidden, inner = sizes.hidden_size, sizes.intermediate_size
    linears = {OUTPUT: (sizes.vocabulary_size, hidden)}
    for index in range(form.layers):
        attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"
        linears |= {
            f"{attention}.qkv": (hidden, sizes.qkv_columns),
            f"{attention}.output": (sizes.q_columns, hidden),
            f"{mlp}.{form.wide}": (hidden, inner * (2 if form.gated else 1)),
            f"{mlp}.down": (inner, hidden),
        }
    return linears


def _vectors(form: DecoderForm, sizes: StepSizes) -> dict[str, int]:
    """The length of each weight of a norm and of each bias."""
    of_input, behind, of_heads = ["norm"], list[str](), list[str]()
    for index in range(form.layers):
        attention, mlp = f"layers.{index}.attention", f"layers.{index}.mlp"
        of_input += [f"{attention}.norm", f"{mlp}.norm"]
        if form.norms_behind:
            behind += [f"{attention}.after", f"{mlp}.after"]
        if form.head_norms:
            of_heads += [f"{attention}.q.norm", f"{attention}.k.norm"]
    vectors = {f"{name}.weight": sizes.hidden_size for name in (*of_input, *behind)}
    vectors |= {f"{name}.weight": sizes.head_size for name in of_heads}
    if form.centred:
        vectors |= {f"{name}.bias": sizes.hidden_size for name in of_input}
    columns = {name: shape[1] for name, shape in _linears(form, sizes).items()}
    return vectors | {f"{name}.bias": columns[name] for name in form.biased}


def _constants(form: DecoderForm, sizes: StepSizes) -> dict[str, list[int] | int]:
    """The integers that say how values are cut and shaped, and what rows see."""
    attended, cached = sizes.q_columns, sizes.kv_heads * sizes.head_size
    constants: dict[str, list[int] | int] = {
        "axis.last": [-1],
        "shape.query_heads": [0, 0, sizes.heads, sizes.head_size],
        "shape.kv_heads": [0, 0, sizes.kv_heads, sizes.head_size],
        "shape.joined_heads": [0, 0, -1],
        "shape.flat_rows": [-1, sizes.hidden_size],
        "shape.vocabulary": [sizes.vocabulary_size],
    }
    for index in range(form.layers):
        constants[f"layers.{index}.attention.heads.sizes"] = [attended, cached, cached]
        if form.gated:
            constants[f"layers.{index}.mlp.halves.sizes"] = [sizes.intermediate_size] * 2
    windows = set(form.windows) - {0}
    if windows:
        constants |= {"window.zero": 0, "window.one": 1, "axes.rows": [1, 3], "shape.scalar": []}
    return constants | {f"{WINDOW}{window}.size": window for window in windows}


def _check_scalars(known: KnownGraph, values: Values, form: DecoderForm) -> None:
    """Check the constants that a kernel takes as arguments."""
    if form.attention_cap < 0:
        known.refuse(f"caps its attention at {form.attention_cap:g}")
    if form.embeddings_are_scaled:
        scale = scalar(values, "embedding.scale")
        if not 0 < scale < math.inf:
            known.refuse(f"multiplies its embeddings by {scale:g}")
    if form.logits_are_capped:
        cap, inverse = scalar(values, "output.cap"), scalar(values, "output.cap.inverse")
        if not 0 < cap < math.inf or not np.isclose(cap * inverse, 1, rtol=1e-5):
            known.refuse(f"caps its logits at {cap:g}, divided by {inverse:g}")


def _first(values: Values, name: str) -> int:
    return (*values[name].shape, 0)[0] if name in values else 0


def _last_two(constant: NDArray[Any] | None) -> tuple[int, int]:
    """Heads and head_size of a constant [0, 0, heads, head_size]; (0, 0) of another one."""
    if constant is None or constant.shape != (4,):
        return 0, 0
    return int(constant[2]), int(constant[3])
