"""From ranges to an INT8 bundle: scales, smoothing, Q/DQ in the graphs, sensitivity."""
