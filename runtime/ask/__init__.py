"""Questions to a bundle about the cells of a file: a question in, answers into files."""
