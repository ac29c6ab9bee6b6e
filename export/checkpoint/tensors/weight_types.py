"""Which tensors are weights: dense floats of any size. The rest is refused by name."""

from __future__ import annotations

import re

import torch
from torch import Tensor

# Tensors that quantised saves hold beside the weights: bitsandbytes, FP8, GPTQ, AWQ.
_QUANTISED = re.compile(
    r"\.(?:SCB|weight_format|qweight|qzeros|scales|g_idx|(?:weight|input|output)_scale(?:_inv)?"
    r"|weight_packed|weight\.(?:absmax|nested_absmax|quant_map|nested_quant_map|quant_state.*)"
    r"|weight_scale_inv|weight_zero_point)$"
)


def is_quantised(name: str) -> bool:
    """Whether a name is one of a quantised save."""
    return _QUANTISED.search(name) is not None


def why_no_weight(tensor: Tensor | None) -> str:
    """Why a tensor is no weight; empty where it is one, or none."""
    if tensor is None:
        return ""
    if tensor.is_quantized or tensor.layout != torch.strided:
        kind = "quantised" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        return f"is {kind}: a weight is a dense tensor of floats"
    if tensor.is_meta:
        return "has no values: it was saved from the meta device"
    if not tensor.is_floating_point():
        kind = str(tensor.dtype).removeprefix("torch.")
        return f"is {kind}: a weight is of floats, and numbers of this kind need a scale"
    return ""
