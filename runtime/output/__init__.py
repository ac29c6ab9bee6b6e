"""Descriptions become files: JSON lines, tables, a copy of the cells."""
