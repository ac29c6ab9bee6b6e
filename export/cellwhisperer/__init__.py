"""CellWhisperer's joint space of cells and texts: its checkpoint in, a bundle that searches out."""
