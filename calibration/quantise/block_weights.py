"""Weight-only quantisation: int8 or int4 weights in blocks, activations float32.

Each output channel is cut into blocks of 32 inputs, and each block has a scale. ONNX Runtime's
contrib operator MatMulNBits computes with them. A step of one token takes as long as reading these
small weights. A prefill is slower than with int8 activations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from c2t.calibration.ranges.linears import Float32, Linear
from c2t.runtime.system.errors import CalibrationError

BLOCK = 32
# float32 arithmetic inside. Level 4 (int8 activations) flips nearly even choices, and a token then
# depends on the other tokens of its block.
ACCURACY_LEVEL = 1


def block_linear(
    linear: Linear, rows: Float32, node: onnx.NodeProto, *, bits: int
) -> tuple[dict[str, NDArray[Any]], onnx.NodeProto]:
    """The weight of a linear in blocks, and the node that reads it.

    Args:
        linear: The linear, without bias.
        rows: Its weight as [N, K].
        node: Its node in the float32 graph.
        bits: 8 or 4.

    Returns:
        Initializers by name, and the node.

    Raises:
        CalibrationError: The node has a bias.
    """
    if len(node.input) > 2 and node.input[2]:
        problem = f"{node.name} adds a bias inside its node; a weight-only linear cannot"
        raise CalibrationError(problem, hint="calibrate to int8, or export the bundle again")
    values, scales = block_quantise(rows, bits=bits)
    names = (f"{linear.weight}.blocks", f"{linear.weight}.block_scales")
    new = helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        list(node.output),
        name=node.name,
        domain="com.microsoft",
        K=linear.inputs,
        N=linear.outputs,
        bits=bits,
        block_size=BLOCK,
        accuracy_level=ACCURACY_LEVEL,
    )
    return {names[0]: values, names[1]: scales}, new


def block_quantise(rows: Float32, *, bits: int) -> tuple[NDArray[np.uint8], Float32]:
    """Quantise [N, K] in blocks of 32 along K, symmetric around the middle code.

    Returns:
        Codes [N, blocks, 32 * bits / 8], the lower half of a byte first, and scales [N, blocks].
    """
    channels, inputs = rows.shape
    blocks = -(-inputs // BLOCK)
    middle = 1 << (bits - 1)
    padded = np.zeros((channels, blocks * BLOCK), np.float32)
    padded[:, :inputs] = rows
    parts = padded.reshape(channels, blocks, BLOCK)
    largest = np.abs(parts).max(axis=2)
    scales: Float32 = np.where(largest > 0, largest / (middle - 1), 1.0).astype(np.float32)
    codes = np.rint(parts / scales[:, :, None]) + middle
    codes = np.clip(codes, 1, 2 * middle - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[:, :, 0::2] | (codes[:, :, 1::2] << 4)
    return codes, scales


def block_dequantise(
    codes: NDArray[np.uint8], scales: Float32, *, inputs: int, bits: int
) -> Float32:
    """The weight [N, K] that the codes and scales of `block_quantise` represent."""
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=3).reshape(*codes.shape[:2], BLOCK)
    values = (codes.astype(np.float32) - np.float32(1 << (bits - 1))) * scales[:, :, None]
    rows: Float32 = values.reshape(len(codes), -1)[:, :inputs]
    return rows
