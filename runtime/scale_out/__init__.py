"""Cells of one file, described by workers on many machines, in the order of the file."""
