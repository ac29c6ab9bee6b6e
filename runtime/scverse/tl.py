"""What `c2t.tl` offers: tools that fill an AnnData object."""

from c2t.runtime.scverse.describe_cells import describe as describe

__all__ = ["describe"]
