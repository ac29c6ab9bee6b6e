"""Embeddings and groups, measured on labelled cells."""
