"""A joint space of cells and texts: texts into it, and how a cell and a text are scored."""
