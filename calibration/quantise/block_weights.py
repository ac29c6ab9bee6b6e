"""Weight-only quantisation: int8 or int4 weights in blocks, activations float32.

Each output channel is cut into blocks of 32 inputs with a scale each. ONNX Runtime's contrib
operator MatMulNBits computes with them; it reads weights once a step, which is all that counts for
single tokens, but prefills slower than integer products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from c2t.calibration.ranges.products import Float32, Product

BLOCK = 32
# float32 arithmetic inside: level 4 (int8 activations) flips choices that are nearly even, and
# makes a token depend on what else is in its block.
ACCURACY_LEVEL = 1


def block_product(
    product: Product, rows: Float32, node: onnx.NodeProto, *, bits: int
) -> tuple[dict[str, NDArray[Any]], onnx.NodeProto]:
    """The weights of a product in blocks, and the node that reads them.

    Args:
        product: The product.
        rows: Its weight as [N, K].
        node: The node that it was; a third input is its bias.
        bits: 8 or 4.

    Returns:
        Initializers by name, and the node.
    """
    values, scales = block_quantise(rows, bits=bits)
    names = (f"{product.weight}.blocks", f"{product.weight}.block_scales")
    new = helper.make_node(
        "MatMulNBits",
        [node.input[0], *names],
        list(node.output),
        name=node.name,
        domain="com.microsoft",
        K=product.inputs,
        N=product.outputs,
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
    """The weight [N, K] that codes and scales of `block_quantise` stand for."""
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=3).reshape(*codes.shape[:2], BLOCK)
    values = (codes.astype(np.float32) - np.float32(1 << (bits - 1))) * scales[:, :, None]
    found: Float32 = values.reshape(len(codes), -1)[:, :inputs]
    return found
