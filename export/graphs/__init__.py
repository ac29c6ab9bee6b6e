"""What all graphs are built with, and the projector's graph."""
