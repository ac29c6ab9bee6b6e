"""The tensors of a checkpoint: read from files, sorted by part, merged, and put into modules."""
