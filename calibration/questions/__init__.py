"""Published questions about cells: read from their file, asked by comparing the options."""
