"""A bundle on disk: files, hashes, manifest, genes and tensors."""
