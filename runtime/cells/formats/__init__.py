"""One file per format of cells, behind one interface."""
