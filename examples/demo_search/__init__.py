"""The demonstration of search: words find cells, in a joint space of cells and texts."""
