"""Which genes some words of a cell's text rest on: genes are left out, the words scored again."""
