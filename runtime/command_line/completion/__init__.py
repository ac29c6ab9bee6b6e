"""Completion of shells: a script for each, which knows all commands and runs nothing of c2t."""
