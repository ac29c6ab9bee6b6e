"""This machine: errors, files, time, progress, memory and processors."""
