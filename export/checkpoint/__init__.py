"""A trained checkpoint from disk: its files, layouts, adapters, genes and prompt."""
