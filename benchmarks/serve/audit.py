"""What the audit trail costs a service: `python -m benchmarks.serve.audit BUNDLE -o FILE.json`.

Two rooms over one open model, with a trail and without, in turn. First one cell at a time: the
trail's line is on the way of every answer. Then 16 threads: lines are written one after another, so
this is where a disk sets the limit. Texts are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import c2t
from c2t.runtime.audit.line import Action, Details
from c2t.runtime.audit.trail import AuditTrail
from c2t.runtime.bench.interleave import interleave
from c2t.runtime.bench.record import finish, record
from c2t.runtime.serve.room.audit import ServiceAudit
from c2t.runtime.serve.room.messages import CountedCell, DescribeRequest
from c2t.runtime.serve.room.room import EngineRoom

GENES, THREADS, SEED = 3000, 16, 16


def requests_of(bundle: Any, number: int, cells: int) -> list[DescribeRequest]:
    """Random requests over the bundle's genes."""
    draw = np.random.default_rng(SEED)
    names = [name.decode() for name in bundle.genes.ensembl_id.tolist()]
    made = []
    for _ in range(number):
        of = []
        for _ in range(cells):
            genes = draw.permutation(len(names))[:GENES]
            values = draw.negative_binomial(2, 0.3, len(genes)) + 1
            of.append(
                CountedCell(counts={names[g]: float(v) for g, v in zip(genes, values, strict=True)})
            )
        made.append(DescribeRequest(cells=of))
    return made


def milliseconds(seconds: list[float], per: int = 1) -> dict[str, float]:
    """Median and 90th percentile."""
    p50, p90 = np.percentile(seconds, (50, 90)).tolist()
    return {"p50_ms": round(1000 * p50 / per, 2), "p90_ms": round(1000 * p90 / per, 2)}


def main() -> None:
    """Write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name, c2t.open(arguments.bundle) as model:
        folder = Path(name)
        (folder / "key").write_text("a1" * 32, encoding="ascii")
        places = {"key": folder / "key", "head": folder / "head"}
        with (
            AuditTrail.open(folder / "trail", **places) as trail,
            ServiceAudit(trail) as audit,
        ):
            rooms = {"without": EngineRoom(model), "with": EngineRoom(model, audit=audit)}
            genes = len(model.bundle.genes)
            found = measure(rooms, trail, requests_of(model.bundle, 64, 1), arguments.rounds)
            for room in rooms.values():
                room.close()
    about = found | {"rounds": arguments.rounds, "genes": min(GENES, genes)}
    finish(record("serve_audit", threads=None, seed=SEED) | about, [], arguments.output)


def measure(
    rooms: dict[str, EngineRoom],
    trail: AuditTrail,
    requests: list[DescribeRequest],
    rounds: int,
) -> dict[str, Any]:
    """Time both rooms in turn."""
    plain, told = (room.describe(requests[0]).wait().cells for room in rooms.values())
    assert plain == told, "the texts differ"
    number = iter(range(1 << 30))

    def one(room: EngineRoom) -> None:
        room.describe(requests[next(number) // 2 % len(requests)]).wait()

    single = interleave({n: lambda r=r: one(r) for n, r in rooms.items()}, rounds)
    appends = []
    for _ in range(rounds):
        since = time.perf_counter()
        trail.record(Action.request, Details(scope="serve", cells=1))
        appends.append(time.perf_counter() - since)
    with ThreadPoolExecutor(THREADS) as pool:

        def many(room: EngineRoom) -> None:
            list(pool.map(lambda request: room.describe(request).wait(), requests))

        crowd = interleave({n: lambda r=r: many(r) for n, r in rooms.items()}, max(rounds // 20, 3))
    pairs = zip(single["with"], single["without"], strict=True)
    return {
        "one request at a time": {n: milliseconds(s) for n, s in single.items()},
        "added_p50_ms": round(1000 * statistics.median(a - b for a, b in pairs), 2),
        "an append": milliseconds(appends),
        f"{THREADS} threads, a cell a request, ms a request": {
            n: milliseconds(s, len(requests)) for n, s in crowd.items()
        },
    }


if __name__ == "__main__":
    main()
