"""One file per projector family, and the table of them in `families`."""
