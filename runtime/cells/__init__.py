"""From a file of cells to encoded cells: find counts, match genes, make the model's input."""
