"""c2t: export, calibrate and run cell-to-text models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from c2t.runtime.bundle.bundle import Bundle
    from c2t.runtime.cells.options import CellOptions
    from c2t.runtime.describe.annotator import AnnotateOptions
    from c2t.runtime.describe.describer import DescribeOptions
    from c2t.runtime.describe.description import Description
    from c2t.runtime.describe.descriptions import Descriptions
    from c2t.runtime.describe.labelled_cell import LabelledCell
    from c2t.runtime.describe.model import Model
    from c2t.runtime.describe.model import open_model as open
    from c2t.runtime.explain.options import ExplainOptions
    from c2t.runtime.scverse import pl, tl
    from c2t.runtime.system.errors import C2TError

__version__ = "0.1.0"
__all__ = [
    "AnnotateOptions",
    "Bundle",
    "C2TError",
    "CellOptions",
    "DescribeOptions",
    "Description",
    "Descriptions",
    "ExplainOptions",
    "LabelledCell",
    "Model",
    "__version__",
    "open",
    "pl",
    "tl",
]

# Where the public names are. They load on first use: `import c2t` itself stays instant.
_PUBLIC = {
    "AnnotateOptions": "c2t.runtime.describe.annotator:AnnotateOptions",
    "Bundle": "c2t.runtime.bundle.bundle:Bundle",
    "C2TError": "c2t.runtime.system.errors:C2TError",
    "CellOptions": "c2t.runtime.cells.options:CellOptions",
    "DescribeOptions": "c2t.runtime.describe.describer:DescribeOptions",
    "Description": "c2t.runtime.describe.description:Description",
    "ExplainOptions": "c2t.runtime.explain.options:ExplainOptions",
    "Descriptions": "c2t.runtime.describe.descriptions:Descriptions",
    "LabelledCell": "c2t.runtime.describe.labelled_cell:LabelledCell",
    "Model": "c2t.runtime.describe.model:Model",
    "open": "c2t.runtime.describe.model:open_model",
    # Modules: tools and plots for AnnData objects.
    "pl": "c2t.runtime.scverse.pl:",
    "tl": "c2t.runtime.scverse.tl:",
}


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        message = f"module 'c2t' has no attribute {name!r}"
        raise AttributeError(message)
    module, _, attribute = _PUBLIC[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found
