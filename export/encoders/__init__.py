"""One file per encoder family, and the table of them in `families`."""
