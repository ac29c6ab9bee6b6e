"""Whole descriptions at real sizes: random weights; texts and accepted drafts are a script's."""
