"""What `c2t.tl` offers: tools that fill an AnnData object."""

from c2t.runtime.scverse.annotate_cells import annotate as annotate
from c2t.runtime.scverse.describe_cells import describe as describe
from c2t.runtime.scverse.explain_cells import explain as explain

__all__ = ["annotate", "describe", "explain"]
