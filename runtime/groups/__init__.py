"""Groups of cells, given by a column or found by Leiden, and one answer for each."""
