"""What `c2t.pl` offers: plots of described cells. Each returns its axes."""

from c2t.runtime.scverse.plot_compare import compare as compare
from c2t.runtime.scverse.plot_confidence import confidence as confidence
from c2t.runtime.scverse.plot_dots import dotplot as dotplot
from c2t.runtime.scverse.plot_umap import umap as umap

__all__ = ["compare", "confidence", "dotplot", "umap"]
