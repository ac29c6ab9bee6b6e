"""Cells as JSON objects from gene name to count, read into the rows of a sparse matrix."""
