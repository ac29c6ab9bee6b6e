"""Geneformer's gene dictionaries become the vocabulary of a bundle."""
