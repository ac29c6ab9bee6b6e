"""Command line of c2t."""
