"""Writes what texts rest on: rows of a table, lines of JSON, tables for a terminal."""
