"""Time to read one cell of a request, against the definition: `CellReader` without memory of names.

Run `python benchmarks/counted_cells.py -o benchmarks/results/counted_cells.json`.
The two are compared first, and timed in turn. Each request is decoded anew from JSON, as in a
service, so that no string has been seen before; decoding is not timed. Besides the time by the
clock, that of the processor is given: on a shared machine only this one says what the work costs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import numpy as np

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.counted_cells import CountedCellReader
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.formats.count_maps import CountMaps
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader

GENES = Path(__file__).parents[1] / "examples" / "demo" / "checkpoint" / "genes.npz"
GENE_INPUT = GeneInput(
    input_size=4096,
    vocabulary_size=20275,
    hidden_size=8,
    layer_norm_epsilon=1e-12,
    pad_token=0,
    cls_token=2,
    eos_token=3,
)
SIZES = (100, 1000, 3000)
UNKNOWN_SHARE = 0.05
SEED = 20261129


def request(names: list[str], genes: int, seed: int) -> bytes:
    """A cell as JSON: genes in any order, some of them unknown, half of them counted once."""
    rng = np.random.default_rng(seed)
    unknown = int(genes * UNKNOWN_SHARE)
    chosen = [names[n] for n in rng.choice(len(names), genes - unknown, replace=False).tolist()]
    chosen += [f"AC{n:06d}.1" for n in rng.choice(100_000, unknown, replace=False).tolist()]
    counts = 1 + rng.negative_binomial(0.4, 0.25, genes)
    return msgspec.json.encode(dict(zip(chosen, counts.tolist(), strict=True)))


def measure(names: list[str], genes: int, vocabulary: GeneVocabulary, repeats: int) -> dict:
    """Median microseconds of both ways, for cells of so many genes."""
    manifest = SimpleNamespace(gene_input=GENE_INPUT, gene_sentence=None)
    reader = CountedCellReader(SimpleNamespace(genes=vocabulary, manifest=manifest))
    decode = msgspec.json.Decoder(dict[str, float]).decode
    cells = [request(names, genes, SEED + n) for n in range(8)]

    def remembered(cell: dict[str, float]) -> EncodedCells:
        return reader.read([cell], ["cell"]).cells

    def definition(cell: dict[str, float]) -> EncodedCells:
        maps = CountMaps([cell], ["cell"])
        with CellReader(maps, vocabulary, GENE_INPUT, CellOptions()) as cells:
            return EncodedCells.joined(list(cells.chunks()))

    since = time.perf_counter()
    remembered(decode(cells[0]))
    first = time.perf_counter() - since
    for cell in cells:
        one, other = remembered(decode(cell)), definition(decode(cell))
        if one.errors != [None] or other.errors != [None]:
            problem = f"a cell was not read: {one.errors}, {other.errors}"
            raise SystemExit(problem)
        np.testing.assert_array_equal(one.tokens[0], other.tokens[0])
    times: dict[str, list[tuple[float, float]]] = {"remembered": [], "definition": []}
    ways: dict[str, Callable[[dict[str, float]], EncodedCells]]
    ways = {"remembered": remembered, "definition": definition}
    for n in range(repeats):
        for name, read in ways.items():
            cell = decode(cells[n % len(cells)])
            wall, cpu = time.perf_counter(), time.thread_time()
            read(cell)
            times[name].append((time.perf_counter() - wall, time.thread_time() - cpu))
    result: dict[str, object] = {"genes": genes, "first_request_us": round(first * 1e6)}
    for name, taken in times.items():
        wall, cpu = np.array(taken).T * 1e6
        result[name] = {
            "median_us": round(float(np.median(wall))),
            "median_cpu_us": round(float(np.median(cpu))),
            "fastest_us": round(float(wall.min())),
        }
    ratio = np.array(times["definition"])[:, 1] / np.array(times["remembered"])[:, 1]
    result["median_ratio_cpu"] = round(float(np.median(ratio)), 2)
    return result


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    vocabulary = GeneVocabulary.load(GENES)
    names = [name.decode() for name in vocabulary.alias.tolist()]
    names = sorted({name for name in names if name.isupper() and name[:3] not in ("ENS", "ERC")})
    report = {
        "benchmark": "counted_cells",
        "names": "symbols, 5 % of them unknown",
        "sizes": [measure(names, genes, vocabulary, arguments.repeats) for genes in SIZES],
        "repeats": arguments.repeats,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load": [round(load, 1) for load in os.getloadavg()],  # of other work on this machine
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
        "seed": SEED,
    }
    text = json.dumps(report, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
