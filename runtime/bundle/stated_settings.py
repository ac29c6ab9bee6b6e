"""What manifests and records say of generation: later settings only where they change something.

So both stay what they were, and earlier versions of c2t can read them.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from c2t.runtime.bundle.manifest import Generation

# Settings that the first bundles do not state; at their defaults they change nothing.
LATER_SETTINGS = ("repetition_penalty", "stop_strings", "temperature", "top_k", "top_p", "seed")


def stated_settings(generation: Generation) -> dict[str, Any]:
    """Generation settings by name, without later ones that change nothing."""
    plain = asdict(Generation())
    return {
        name: value
        for name, value in asdict(generation).items()
        if name not in LATER_SETTINGS or value != plain[name]
    }
