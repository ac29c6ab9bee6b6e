"""What the names of a file's columns mean, however other tools have wrapped them.

One decision: a name is unwrapped only where the bundle does not know it as it is written, and what
is inside must be known exactly: nothing is matched by similarity.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.cells.genes.species import Species, strip_genome

T = TypeVar("T")

# How missing values are written; Geneformer's names have genes called NA and NAN.
MISSING = frozenset(
    ("", "nan", "NaN", "NAN", "na", "NA", "n/a", "N/A", "none", "None", "null", "NULL", "<NA>")
)
_INNER_ID = re.compile(r"(?<![A-Z0-9])(ENS[A-Z]{0,6}?G[A-Z]?\d{6,})(?:\.\d+)?(?![0-9A-Z])")
_SECOND_COPY = re.compile(r"PAR[_\-.]Y")  # of a gene on X and Y, which is a gene of its own
# "CD3E|NM_000733.3|PolyA_1", as BD Rhapsody names its features
_ACCESSION = re.compile(r"([^|]+?)[|_.\-](?:[NX][MR][_.\-]\d{5,}|ENST\d{6,})")
_ACCESSION_KINDS = ("NM", "NR", "XM", "XR", "ENST")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9]*[_.:|\-]+(?=.)")
_SUFFIX = re.compile(r"(?<=.)[ _.:|\-(\[]+[A-Za-z][A-Za-z0-9]*[)\]]?\Z")
QUOTES = "\"'"
_EXCEL_DATE = re.compile(
    r"(?:\d{1,2}[-. ](?:Mar|Sep|Sept|Dec)|(?:Mar|Sep|Sept|Dec)[-. ]\d{1,2}"
    r"|(?:19|20)\d\d-\d\d-\d\d(?: 00:00:00)?|\d{1,2}/\d{1,2}/(?:\d\d)?\d\d)\Z",
    re.IGNORECASE,
)
_SAMPLE = 400
_SHARED_LEAST = 10  # names, as well as half of them
# Spliced, unspliced and ambiguous counts in columns of their own, as alevin-fry writes them.
SPLICING = ("-U", "-A")
_SPLICING_LEAST = 0.05  # of the columns must end so


@dataclass(frozen=True, eq=False, kw_only=True)
class NamedGenes:
    """The genes that N names mean.

    Args:
        gene: [N] int32, -1 where no known gene is meant.
        as_written: [N] whether the bundle knows the name as it is written.
        foreign: [N] genes of another species, by the genome in front of their names.
        foreign_species: Those species.
        unwrapped: How names were unwrapped, and how many.
        numbered: Columns whose name is that of another one and a number: "CD4-1".
        ids: Share of the known names that are Ensembl ids.
    """

    gene: NDArray[np.int32]
    as_written: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    foreign_species: tuple[str, ...]
    unwrapped: dict[str, int]
    numbered: NDArray[np.int64]
    ids: float


def read_names(
    names: Sequence[str],
    vocabulary: GeneVocabulary,
    ours: Species | None,
    *,
    silent_genes: bool = True,
) -> NamedGenes:
    """Look names up, and unwrap those that are not known.

    Args:
        names: [N] names of columns.
        vocabulary: The genes of the bundle.
        ours: Their species, if it is known.
        silent_genes: Whether genes that no cell has have a column too.
    """
    reader = _Reader(names, vocabulary, ours, silent_genes=silent_genes)
    return reader.read()


def excel_dates(names: Sequence[str]) -> list[int]:
    """Where names are dates, as Excel makes them of MARCH1, SEPT7 and DEC1."""
    months = ("Mar", "Sep", "Dec", "MAR", "SEP", "DEC", "mar", "sep", "dec")
    return [
        position
        for position, name in enumerate(names)
        if (name[:1].isdigit() or name[:3] in months) and _EXCEL_DATE.match(name)
    ]


def numbered_stem(name: str) -> str | None:
    """The name before an added number: "CD3E" of "CD3E-1" (scanpy) and "CD3E.1" (R)."""
    if name.isalnum() or not name[-1:].isdigit():
        return None
    stem, dash, number = name.rpartition("-")
    if not (dash and number.isdigit()):
        stem, _, number = name.rpartition(".")
    return stem if number.isdigit() else None


def some_of(items: Sequence[T]) -> Sequence[T]:
    """Some hundreds of them, spread evenly."""
    return items[:: max(1, len(items) // _SAMPLE)]


def shared_part(some: Sequence[str], *, before: bool) -> str | None:
    """The beginning, or the end, that most of some names have: "rna_" of "rna_CD3E"."""
    found = ((_PREFIX if before else _SUFFIX).search(name) for name in some)
    matches = [m[0] for m in found if m is not None and (m.start() == 0) == before]
    if not matches:
        return None
    part, count = Counter(matches).most_common(1)[0]
    return part if count >= max(_SHARED_LEAST, len(some) / 2) else None


class _Reader:
    def __init__(
        self,
        names: Sequence[str],
        vocabulary: GeneVocabulary,
        ours: Species | None,
        *,
        silent_genes: bool,
    ) -> None:
        self._names, self._vocabulary, self._ours = names, vocabulary, ours
        self._silent_genes = silent_genes
        self._gene = vocabulary.lookup(names)
        missing = [column for column, name in enumerate(names) if name in MISSING]
        self._gene[missing] = UNKNOWN
        self._as_written = self._gene != UNKNOWN
        # The unknown columns, each with its name as far as it is unwrapped.
        self._left = {
            column: names[column].strip()
            for column in np.flatnonzero(self._gene == UNKNOWN).tolist()
            if names[column] not in MISSING
        }
        known = np.flatnonzero(self._gene != UNKNOWN)
        # The genes of all names that are known so far, by the name as far as it is unwrapped.
        self._present = dict(
            zip(
                (names[column].strip() for column in known.tolist()),
                self._gene[known].tolist(),
                strict=True,
            )
        )
        self._foreign = np.zeros(len(names), dtype=bool)
        self._species: dict[str, None] = {}
        self._unwrapped: Counter[str] = Counter()
        self._numbered: list[int] = []

    def read(self) -> NamedGenes:
        known = np.flatnonzero(self._gene != UNKNOWN)
        some = known[:: max(1, len(known) // _SAMPLE)].tolist()
        as_ids = [self._names[column][:3].upper() == "ENS" for column in some]
        if self._left:
            self._quotes()
            self._genomes()
            self._splicing()
            self._shared(before=True)
            self._genomes()  # within "rna_GRCh38_CD3E"
            self._shared(before=False)
            self._inside()
            self._numbers()
        if not as_ids:  # all known names had to be unwrapped
            some = np.flatnonzero(self._gene != UNKNOWN)[:_SAMPLE].tolist()
            as_ids = ["ENS" in self._names[column].upper() for column in some]
        return NamedGenes(
            gene=self._gene,
            as_written=self._as_written,
            foreign=self._foreign,
            foreign_species=tuple(self._species),
            unwrapped=dict(self._unwrapped),
            numbered=np.asarray(sorted(self._numbered), dtype=np.int64),
            ids=sum(as_ids) / max(len(as_ids), 1),
        )

    def _take(self, column: int, gene: int, how: str) -> bool:
        """Set the gene of a column if one is meant."""
        if gene == UNKNOWN:
            return False
        self._gene[column] = gene
        self._unwrapped[how] += 1
        self._present.setdefault(self._left[column], gene)
        return True

    def _settle(self, taken: Iterable[int]) -> None:
        for column in taken:
            del self._left[column]

    def _some_left(self) -> Sequence[str]:
        return some_of(list(self._left.values()))

    def _quotes(self) -> None:
        if not any(name[:1] in QUOTES for name in self._some_left()):
            return
        settled = []
        for column, name in self._left.items():
            self._left[column] = inner = name.strip(QUOTES)
            if inner != name and self._take(
                column, self._vocabulary.lookup_one(inner), "without quotes"
            ):
                settled.append(column)
        self._settle(settled)

    def _genomes(self) -> None:
        """Genes of "GRCh38_CD3E" and "mm10___Cd3e": those of other species are set aside."""
        if not any(strip_genome(name) for name in self._some_left()):
            return
        settled = []
        for column, name in self._left.items():
            stripped = strip_genome(name)
            if stripped is None:
                continue
            species, inner = stripped
            if self._ours is not None and species != self._ours:
                self._foreign[column] = True
                self._species[species.name] = None
                settled.append(column)
                continue
            self._left[column] = inner
            how = f"without the genome `{name[: len(name) - len(inner)]}`"
            if self._take(column, self._vocabulary.lookup_one(inner), how):
                settled.append(column)
        self._settle(settled)

    def _splicing(self) -> None:
        """Genes of "CD3E-U" and "CD3E-A", where "CD3E" is a column too, or may be a silent one."""
        ends = {c: name for c, name in self._left.items() if name[-2:] in SPLICING}
        if len(ends) < max(2, _SPLICING_LEAST * len(self._names)):
            return
        how = "unspliced (`-U`) and ambiguous (`-A`) counts added to the spliced ones"
        settled = []
        for column, name in ends.items():
            gene = self._present.get(name[:-2], UNKNOWN)
            if gene == UNKNOWN and not self._silent_genes:
                gene = self._vocabulary.lookup_one(name[:-2])
            if self._take(column, gene, how):
                settled.append(column)
        self._settle(settled)

    def _shared(self, *, before: bool) -> None:
        """Genes of "rna_CD3E": a beginning, or an end, that most of all names have."""
        if len(self._left) * 2 < len(self._names):
            return
        part = shared_part(self._some_left(), before=before)
        if part is None:
            return
        settled = []
        for column, name in self._left.items():
            inner = name.removeprefix(part) if before else name.removesuffix(part)
            if inner == name:
                continue
            self._left[column] = inner
            if self._take(column, self._vocabulary.lookup_one(inner), f"without `{part}`"):
                settled.append(column)
        self._settle(settled)

    def _inside(self) -> None:
        """Genes of names that hold an id or a symbol among other words, or dots for dashes."""
        settled, lookup, present = [], self._vocabulary.lookup_one, self._present
        for column, name in self._left.items():
            if name.isalnum():
                continue
            gene, how = UNKNOWN, ""
            upper = name.upper() if "ENS" in name or "ens" in name else ""
            ids = set(_INNER_ID.findall(upper))
            if ids:  # an id says it for sure, whatever stands beside it
                one = len(ids) == 1 and not _SECOND_COPY.search(upper)
                gene, how = lookup(ids.pop()) if one else UNKNOWN, "by the id within"
            elif "|" in name:
                gene, how = self._one_of(name.split("|")), "by the part within `|`"
            if gene == UNKNOWN and not ids and any(kind in name for kind in _ACCESSION_KINDS):
                accession = _ACCESSION.match(name)
                if accession:
                    gene, how = lookup(accession[1]), "without the accession"
            if gene == UNKNOWN and not ids and ("." in name or "_" in name):
                stem, _, number = name.rpartition(".")
                if not (number.isdigit() and stem in present):
                    gene, how = (
                        self._vocabulary.lookup_signs(name),
                        "with other signs (`-` for R's `.`)",
                    )
            if gene != UNKNOWN and self._take(column, gene, how):
                settled.append(column)
        self._settle(settled)

    def _numbers(self) -> None:
        """Genes of "CD3E-1" (scanpy) and "CD3E.1" (R), where "CD3E" is a column too."""
        present, settled = self._present, []
        for column, name in self._left.items():
            stem = numbered_stem(name)
            gene = UNKNOWN if stem is None else present.get(stem, UNKNOWN)
            if self._take(column, gene, "without an added number"):
                self._numbered.append(column)
                settled.append(column)
        self._settle(settled)

    def _one_of(self, parts: Sequence[str]) -> int:
        """The gene that the parts of a name mean, if they mean one only."""
        genes = {self._vocabulary.lookup_one(part) for part in parts if part not in MISSING}
        genes.discard(UNKNOWN)
        return genes.pop() if len(genes) == 1 else UNKNOWN
