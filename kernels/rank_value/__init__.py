"""Sparse counts to gene tokens, ranked by count over the gene's median."""
