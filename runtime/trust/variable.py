"""The environment variable that makes a key the rule of an installation."""

from __future__ import annotations

import os

TRUST_VARIABLE = "C2T_TRUST"


def trusted_by_default() -> str | None:
    """PEM file of the public key that all bundles must be signed with; None: none must be."""
    return os.environ.get(TRUST_VARIABLE) or None
