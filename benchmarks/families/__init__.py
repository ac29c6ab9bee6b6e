"""Families of decoders at published sizes, with random weights."""
