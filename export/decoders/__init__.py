"""One file per decoder family, and the table of them in `families`."""
