"""Describe labelled cells with one or two bundles, and judge what came out."""
