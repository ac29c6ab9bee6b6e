"""INT8 bundles and their scales, and the quality of descriptions in the paper's own metrics."""
