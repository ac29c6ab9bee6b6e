"""Start-up and memory, measured in a fresh process, which runs this module.

A process that has measured other things has warm caches, and their peak memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from c2t.runtime.system.errors import EngineError


def measure_fresh(
    bundle: Path,
    cell: Sequence[int],
    *,
    threads: int | None = None,
    prepack: bool | None = None,
    max_new_tokens: int | None = None,
    engine: str = "auto",
) -> dict[str, float]:
    """Open a bundle and describe one cell in a fresh process.

    Args:
        bundle: The bundle's folder.
        cell: Gene tokens [S].
        threads: Threads of the engine; None: all cores.
        prepack: See `c2t.runtime.engine_protocol.EngineOptions`.
        max_new_tokens: Longest text; None: the bundle's.
        engine: See `c2t.runtime.engines.choose`.

    Returns:
        Seconds since the process was started, and bytes.

    Raises:
        EngineError: The process failed.
    """
    request = {
        "bundle": str(bundle.resolve()),
        "cell": [int(token) for token in cell],
        "threads": threads,
        "prepack": prepack,
        "max_new_tokens": max_new_tokens,
        "engine": engine,
        "started": time.time(),
    }
    done = subprocess.run(
        [sys.executable, "-P", "-m", "c2t.runtime.bench.fresh_process"],
        input=json.dumps(request),
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
    )
    if done.returncode:
        last_line = done.stderr.strip().rpartition("\n")[2]
        problem = f"measuring the start failed: {last_line}"
        raise EngineError(problem, hint="run `c2t verify` on the bundle")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _measure(request: dict[str, Any]) -> dict[str, float]:
    from c2t.runtime.bench.record import peak_resident_bytes, status_bytes
    from c2t.runtime.bundle.bundle import open_bundle
    from c2t.runtime.cells.encoded_cells import EncodedCells
    from c2t.runtime.describe.describer import DescribeOptions, Describer

    imported = time.time()
    bundle = open_bundle(request["bundle"], verify=False)
    options = DescribeOptions(
        threads=request["threads"],
        prepack=request["prepack"],
        max_new_tokens=request["max_new_tokens"],
        batch_size=1,
        engine=request["engine"],
    )
    describer = Describer(bundle, options)
    opened = time.time()
    at_opening = peak_resident_bytes()
    clock = describer.clock
    before = dict(clock.seconds)
    (description,) = describer.describe([EncodedCells.of_tokens([request["cell"]])])
    if description.error:
        raise EngineError(description.error)
    done = time.time()
    first = sum(
        clock.seconds.get(stage, 0.0) - before.get(stage, 0.0)
        for stage in ("embed", "encoder", "projector", "prefill")
    )
    size = bundle.bytes
    peak = peak_resident_bytes()
    return {
        "import_seconds": imported - request["started"],
        "open_seconds": opened - imported,
        "first_token_seconds": opened - request["started"] + first,
        "text_seconds": done - request["started"],
        "tokens": len(description.tokens),
        "bundle_bytes": size,
        "resident_bytes_after_opening": at_opening,
        "peak_resident_bytes": peak,
        "private_bytes": status_bytes("RssAnon"),
        "peak_of_bundle": peak / size,
    }


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
