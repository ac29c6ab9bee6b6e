"""Describe labelled cells with one or two bundles, and judge the texts."""
