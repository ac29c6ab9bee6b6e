"""One file for each format of cells, behind one protocol and one table."""
