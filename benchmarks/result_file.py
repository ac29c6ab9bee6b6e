"""How a benchmark of this folder ends: its figures printed, and kept with their targets."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from c2t.runtime.bench.record import load
from c2t.runtime.bench.target import Target, target_lines


def finish(document: dict[str, Any], targets: list[Target], output: Path | None) -> None:
    """Print the figures and the targets, and write both where asked."""
    document = {
        **document,
        "targets": [asdict(target) for target in targets],
        "load_after": load(),
    }
    text = json.dumps(document, indent=1) + "\n"
    print(text, end="")
    print("\n".join(target_lines(targets)))
    if output is not None:
        output.write_text(text, encoding="utf-8")
