"""Vectors and scores of the cells of a file: `c2t embed` and `c2t search` as functions."""
