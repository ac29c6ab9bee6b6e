"""The genes that the model's words rest on, by type: from what `c2t explain` wrote.

One decision: a file of cells and a file of groups give the same figures. A gene has the share of a
type's explained cells in which it is evidence, and its median evidence over the cells in which it
was tried. Genes whose median says the other thing, or hardly anything, are left out. Of several
groups that say the same words, the means weigh by their cells.
"""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.report.read_tables import LINE_BYTES_MAX, open_parquet
from c2t.runtime.system.errors import ReportError, first_line

HINT = "give what `c2t explain ... -o` wrote"
FOR, AGAINST = "for", "against"
FIELD = "cell_type"
LEAST = 0.01  # of the median, in log probability: the words are 1 % less likely without the gene
_CELL = frozenset(("cell", "words", "gene_id", "evidence", "direction"))
_GROUP = frozenset(("group", "words", "gene_id", "share_for", "median_evidence", "saying"))
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class EvidenceGene:
    """A gene that words rest on.

    Attributes:
        name: Its symbol, or its id where none is known.
        share: Of the explained cells, those in which it is evidence for the words, 0 to 1; against
            them if `evidence` is below 0.
        evidence: Median, in log probability: how much less likely the words are without it.
    """

    name: str
    share: float
    evidence: float


@dataclass(frozen=True, kw_only=True)
class TypeEvidence:
    """What one type's words rest on.

    Attributes:
        cells: How many cells were explained.
        genes: Those for the words, in most cells first, then those against them.
    """

    cells: int
    genes: tuple[EvidenceGene, ...]


@dataclass
class _Gene:
    name: str
    values: list[float] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    agreeing: float = 0.0
    against: float = 0.0


@dataclass
class _Type:
    cells: int = 0
    seen: set[str] = field(default_factory=set)
    genes: dict[str, _Gene] = field(default_factory=dict)

    def gene(self, row: Mapping[str, Any]) -> _Gene:
        name = str(row.get("symbol") or row["gene_id"])
        return self.genes.setdefault(str(row["gene_id"]), _Gene(name))

    def result(self) -> TypeEvidence:
        found = []
        for gene in self.genes.values():
            median = _weighted_median(gene.values, gene.weights)
            share = max(gene.agreeing, gene.against) / max(self.cells, 1)
            sign = 1 if gene.agreeing >= gene.against else -1
            if share and median * sign >= LEAST:  # NaN is not
                found.append(EvidenceGene(name=gene.name, share=min(share, 1.0), evidence=median))
        found.sort(key=lambda one: (one.evidence < 0, -one.share, -abs(one.evidence), one.name))
        return TypeEvidence(cells=self.cells, genes=tuple(found))


def read_evidence(path: Path) -> dict[str, TypeEvidence]:
    """Read evidence.

    Args:
        path: A `.csv`, `.parquet` or `.jsonl` file.

    Returns:
        By the words that name a type.

    Raises:
        ReportError: It cannot be read, is no such file, or explains no cell types.
    """
    if path.suffix not in _READERS:
        problem = f"{path} is of no kind that `c2t explain` writes"
        raise ReportError(problem, hint=f"give a file whose name ends in {', '.join(_READERS)}")
    types: dict[str, _Type] = {}
    try:
        for row in _READERS[path.suffix](path):
            _add(types, row, path)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError, KeyError) as error:
        reason = getattr(error, "strerror", None) or first_line(error)
        problem = f"{path} cannot be read as evidence: {reason}"
        raise ReportError(problem, hint=HINT) from error
    if not types:
        problem = f"{path} explains no cell type"
        raise ReportError(problem, hint=HINT)
    return {words: found.result() for words, found in types.items()}


def _add(types: dict[str, _Type], row: Mapping[str, Any], path: Path) -> None:
    is_group = set(row) >= _GROUP
    if not is_group and not set(row) >= _CELL:
        problem = f"{path} is no table of evidence: it lacks columns such as gene_id and evidence"
        raise ReportError(problem, hint=HINT)
    words = row["words"]
    if not words or row.get("error") or (row.get("field") or FIELD) != FIELD:
        return
    found = types.setdefault(str(words), _Type())
    if is_group:
        cells, one = int(row["saying"]), str(row["group"])
        if one not in found.seen:
            found.cells += cells
    else:
        cells, one = 1, str(row["cell"])
        found.cells += one not in found.seen
    found.seen.add(one)
    if not row["gene_id"]:
        return
    gene = found.gene(row)
    gene.weights.append(cells)
    if is_group:
        gene.values.append(float(row["median_evidence"]))
        gene.agreeing += cells * float(row["share_for"] or 0)
        gene.against += cells * float(row.get("share_against") or 0)
    else:
        gene.values.append(float(row["evidence"]))
        gene.agreeing += row["direction"] == FOR
        gene.against += row["direction"] == AGAINST


def _weighted_median(values: list[float], weights: list[float]) -> float:
    if len(set(weights)) == 1:
        return statistics.median(values)
    half, before = sum(weights) / 2, 0.0
    for value, weight in sorted(zip(values, weights, strict=True)):
        before += weight
        if before >= half:
            return value
    return math.nan


def _csv(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.DictReader(stream, strict=True):
            if None in row or None in row.values():
                problem = "a line has another number of values than the first"
                raise ValueError(problem)
            yield row


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    for batch in open_parquet(path).iter_batches():
        yield from batch.to_pylist()


def _jsonl(path: Path) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as stream:
        while line := stream.readline(LINE_BYTES_MAX):
            if len(line) == LINE_BYTES_MAX and not line.endswith(b"\n"):
                problem = f"a line is longer than {LINE_BYTES_MAX:,} bytes"
                raise ValueError(problem)
            if not line.strip():
                continue
            try:
                one = msgspec.json.decode(line, type=dict[str, Any])
            except RecursionError as error:
                raise ValueError(str(error)) from error
            genes = one.pop("genes", None)
            if not isinstance(genes, list) or not all(isinstance(gene, dict) for gene in genes):
                problem = "a line has no list of genes"
                raise ValueError(problem)
            missing = dict.fromkeys(_GROUP if "group" in one else _CELL)
            for gene in genes or [{}]:
                yield {**missing, **one, **gene}


_READERS: dict[str, Callable[[Path], Rows]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".jsonl": _jsonl,
}
