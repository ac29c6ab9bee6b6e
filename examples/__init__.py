"""Worked examples of c2t."""
