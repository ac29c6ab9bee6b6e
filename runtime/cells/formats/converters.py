"""Packages that convert other files: c2t does not bring them, and says where they lack."""

from __future__ import annotations

from importlib.util import find_spec


def with_installation(hint: str) -> str:
    """A hint, and how to install what the command in it imports, where that is not installed."""
    for package in ("scanpy", "anndata"):  # scanpy brings anndata along
        if f"{package}." in hint and find_spec(package) is None:
            return f"{hint} (after `pip install {package}`)"
    return hint
