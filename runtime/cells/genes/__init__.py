"""The genes of a file: which columns are genes, what names mean, whether to trust them."""
