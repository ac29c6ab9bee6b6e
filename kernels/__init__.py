"""From sparse counts to the encoder's input: NumPy definitions and their native implementations."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from c2t.kernels.native import NativeStatus


def native_status() -> NativeStatus:
    """Which implementation this process uses, and why."""
    from c2t.kernels.native import native_status as status

    return status()
