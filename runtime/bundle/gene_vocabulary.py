"""The genes a bundle knows, and the lookup from a name in a file to one of them.

One decision: a name is looked up as it is, then in upper case, then without an Ensembl version;
never by similarity. An unknown name stays unknown, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.system.checked_read import read_arrays
from c2t.runtime.system.errors import BundleError

# "ENSG00000118785.13", "ENSMUSG00000051951.6"; the suffix "_PAR_Y" marks GENCODE's second copy of a
# pseudo-autosomal gene, which older releases wrote as ENSGR…: a gene of its own, not a version.
_VERSIONED_ID = re.compile(r"(ENS[A-Z]*G[A-Z]?\d{6,})\.\d+(_PAR_Y)?\Z")
_PAR_Y_ID = re.compile(r"ENSG0(\d{10})(?:\.\d+)?_PAR_Y\Z")
_SIGN = re.compile(r"[^A-Za-z0-9.]")

UNKNOWN = -1

GENE_ARRAYS = ("ensembl_id", "token", "median", "alias", "alias_gene")
# The largest published vocabulary has 26 thousand genes and 174 thousand names: 5 MB.
GENES_BYTES_MAX = 128 << 20


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneVocabulary:
    """G genes with a token and a median each, and A further names for them.

    Args:
        ensembl_id: [G] bytes, unique, upper case.
        token: [G] int32, unique: row of the encoder's word table.
        median: [G] float64, the gene's median over the cells where it is not zero; positive.
        alias: [A] bytes: symbols and old Ensembl ids.
        alias_gene: [A] int32, index of the gene that the alias means.

    Raises:
        BundleError: If the arrays contradict each other; names the array.
    """

    ensembl_id: NDArray[np.bytes_]
    token: NDArray[np.int32]
    median: NDArray[np.float64]
    alias: NDArray[np.bytes_]
    alias_gene: NDArray[np.int32]

    def __post_init__(self) -> None:
        _check(self)

    def __len__(self) -> int:
        return len(self.token)

    @classmethod
    def load(cls, path: Path) -> GeneVocabulary:
        """Read `genes.npz` of a bundle.

        Raises:
            BundleError: If the file is not such an archive, or its arrays contradict each other.
        """
        arrays = read_arrays(
            path,
            GENE_ARRAYS,
            bytes_max=GENES_BYTES_MAX,
            error=BundleError,
            hint="export the bundle again",
            what="a gene vocabulary",
        )
        return cls(**arrays)

    @cached_property
    def _by_id(self) -> dict[str, int]:
        return dict(zip(_text(self.ensembl_id), range(len(self)), strict=True))

    @cached_property
    def _by_name(self) -> dict[str, int]:
        # An alias comes first: a mapping may say that an id with a token means another gene.
        aliases = zip(_text(self.alias), self.alias_gene.tolist(), strict=True)
        return {**self._by_id, **dict(aliases)}

    @cached_property
    def _with_dots(self) -> dict[str, int]:
        """Names with signs in them, with dots for these; -1 for what two genes would be called."""
        names: dict[str, int] = {}
        for name, gene in self._by_name.items():
            if not name.isalnum():
                dotted = _SIGN.sub(".", name)
                names[dotted] = gene if names.get(dotted, gene) == gene else UNKNOWN
        return names

    def lookup(self, names: Iterable[str]) -> NDArray[np.int32]:
        """Return the gene of each name, [N] int32, -1 for a name that is not known."""
        as_written = self._by_name
        return np.asarray(
            [as_written[name] if name in as_written else self.lookup_one(name) for name in names],
            dtype=np.int32,
        )

    def lookup_one(self, name: str) -> int:
        """Return the gene of a name, -1 if it is not known."""
        by_name, name = self._by_name, name.strip()
        gene = by_name.get(name, UNKNOWN)
        if gene != UNKNOWN:
            return gene
        upper = name.upper()
        if upper != name:
            gene = by_name.get(upper, UNKNOWN)
            if gene != UNKNOWN:
                return gene
        if not upper.startswith("ENS"):
            return UNKNOWN  # "AL627309.1" is a name of its own, not version 1 of something
        par_y = _PAR_Y_ID.match(upper)
        if par_y:
            return self._by_id.get(f"ENSGR{par_y[1]}", UNKNOWN)
        versioned = _VERSIONED_ID.match(upper)
        if not versioned or versioned[2]:
            return UNKNOWN
        return by_name.get(versioned[1], UNKNOWN)

    @cached_property
    def _symbols(self) -> dict[int, str]:
        symbols: dict[int, str] = {}
        for name, gene in zip(_text(self.alias), self.alias_gene.tolist(), strict=True):
            if not name.startswith("ENS"):
                symbols.setdefault(gene, name)
        return symbols

    def symbol(self, gene: int) -> str:
        """The first name of a gene that is no Ensembl id; "" without one, or for -1."""
        return self._symbols.get(gene, "")

    def lookup_signs(self, name: str) -> int:
        """Return the gene of a name with other signs, -1 if it is not known.

        R's `make.names` writes "HLA.A" for "HLA-A", others "HLA_A".
        """
        return self._with_dots.get(_SIGN.sub(".", name.strip()), UNKNOWN)


def _text(values: NDArray[np.bytes_]) -> list[str]:
    return [value.decode() for value in values.tolist()]


def _check(genes: GeneVocabulary) -> None:
    """Check shapes, dtypes and ranges; everything after relies on them."""

    def fail(array: str, what: str) -> None:
        problem = f"gene vocabulary: `{array}` {what}"
        raise BundleError(problem, hint="export the bundle again")

    count, names = len(genes.ensembl_id), len(genes.alias)
    for array, kind, length in (
        ("ensembl_id", "S", count),
        ("token", "i", count),
        ("median", "f", count),
        ("alias", "S", names),
        ("alias_gene", "i", names),
    ):
        value = getattr(genes, array)
        if value.ndim != 1 or len(value) != length:
            fail(array, f"has shape {value.shape}, expected ({length},)")
        # An empty alias table has no strings to show its type by.
        if value.dtype.kind != kind and length > 0:
            fail(array, f"has dtype {value.dtype}, expected kind {kind!r}")
    if count == 0:
        fail("ensembl_id", "is empty")
    if len(np.unique(genes.ensembl_id)) != count:
        fail("ensembl_id", "names a gene twice")
    if genes.token.min() < 0 or len(np.unique(genes.token)) != count:
        fail("token", "has negative or repeated tokens")
    if not (np.isfinite(genes.median).all() and (genes.median > 0).all()):
        fail("median", "has values that are not positive and finite")
    if names and not 0 <= genes.alias_gene.min() <= genes.alias_gene.max() < count:
        fail("alias_gene", f"points outside the {count:,} genes")
    for array in ("ensembl_id", "alias"):
        try:
            _text(getattr(genes, array))
        except UnicodeDecodeError as error:
            fail(array, f"is not UTF-8: {error}")
