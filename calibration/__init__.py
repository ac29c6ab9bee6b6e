"""Quality of descriptions in the paper's own metrics, and (later) the scales of INT8 bundles."""
