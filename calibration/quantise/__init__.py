"""From ranges to quantised graphs and bundles: scales, smoothing, recipes, Q/DQ in the graphs."""
