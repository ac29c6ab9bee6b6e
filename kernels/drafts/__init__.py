"""Drafts from a phrase table."""
