"""c2t: export, calibrate and run cell-to-text models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from c2t.runtime.bundle.bundle import Bundle
    from c2t.runtime.bundle.bundle import open_bundle as open
    from c2t.runtime.cells.counts import CellOptions
    from c2t.runtime.describe.describer import DescribeOptions
    from c2t.runtime.system.errors import C2TError

__version__ = "0.1.0"
__all__ = ["Bundle", "C2TError", "CellOptions", "DescribeOptions", "__version__", "open"]


def __getattr__(name: str) -> Any:
    """Load the runtime on first use: `import c2t` itself stays instant."""
    if name in ("Bundle", "open"):
        from c2t.runtime.bundle import bundle

        return bundle.Bundle if name == "Bundle" else bundle.open_bundle
    if name == "CellOptions":
        from c2t.runtime.cells.counts import CellOptions

        return CellOptions
    if name == "DescribeOptions":
        from c2t.runtime.describe.describer import DescribeOptions

        return DescribeOptions
    if name == "C2TError":
        from c2t.runtime.system.errors import C2TError

        return C2TError
    message = f"module 'c2t' has no attribute {name!r}"
    raise AttributeError(message)
