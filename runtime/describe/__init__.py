"""Encoded cells become descriptions."""
