"""A file of cells becomes encoded cells: counts found, genes matched, inputs made."""
