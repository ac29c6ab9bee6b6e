"""Which columns of a matrix are genes: by the table that says what each feature is.

One decision: kinds are compared whole, never by a word within. "protein-coding" is no protein.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.cells.formats.protocol import Table
from c2t.runtime.system.errors import CellFileError

# "feature_types", and "feature_types-0" as AnnData's concatenate writes it.
_KIND_COLUMN = re.compile(
    r"(?:feature[_ ]?types?|(?:feature_|gene_)?biotype|gene_type|(?:feature_)?modality)"
    r"(?:[-.].*)?\Z",
    re.IGNORECASE,
)
_NOT_STATED = re.compile(r"(?:nan|na|n/a|none|null|unknown|<na>|\d+(?:\.\d+)?)?\Z")
GENES = frozenset(
    (
        *("gene expression", "gene", "genes", "rna", "gex", "expression", "mrna", "transcript"),
        *("targeted gene expression", "protein coding", "protein coding cds not defined"),
        *("protein coding lof", "pseudo", "ncrna", "lncrna", "lincrna", "mirna", "misc rna"),
        *("snrna", "snorna", "scrna", "scarna", "srna", "rrna", "trna", "mt rrna", "mt trna"),
        *("vault rna", "vaultrna", "y rna", "telomerase rna", "rnase p rna", "rnase mrp rna"),
        *("ribozyme", "antisense rna", "antisense", "sense intronic"),
        *(
            "sense overlapping",
            "ig lv gene",
            "lrg gene",
            "miscrna",
            "other",
            "3prime overlapping ncrna",
            "bidirectional promoter lncrna",
        ),
        *("macro lncrna", "non coding", "processed transcript", "retained intron", "tec"),
        *("nonsense mediated decay", "non stop decay", "artifact", "ig c gene", "ig d gene"),
        *("ig j gene", "ig v gene", "tr c gene", "tr d gene", "tr j gene", "tr v gene"),
        *("ig lv gene", "lrg gene", "miscrna", "other"),
        *("c region", "d segment", "j segment", "v segment", "biological region", "unclassified"),
    )
)
NOT_GENES = frozenset(
    (
        *("antibody capture", "antibody", "antibodies", "antibody derived tag", "abseq", "cite"),
        *("antibody derived tags", "adt", "adts", "protein", "proteins", "protein expression"),
        *("prot", "surface protein", "surface proteins", "cell surface protein", "totalseq"),
        *("peaks", "peak", "atac", "atac peaks", "chromatin accessibility", "motif", "motifs"),
        *("crispr guide capture", "crispr", "crispr guide", "guide", "guides", "grna", "sgrna"),
        *("guide rna", "multiplexing capture", "multiplexing", "cell multiplexing oligo", "cmo"),
        *("hashtag", "hashtags", "hashtag oligo", "hto", "htos", "hashing", "cell hashing"),
        *("custom", "antigen capture", "antigen", "spike in", "spike ins", "spikein", "ercc"),
        *("synthetic", "vdj", "vdj t", "vdj b", "negative control", "negative control probe"),
        *("negative control codeword", "blank codeword", "unassigned codeword", "blank"),
        *("deprecated codeword", "genomic control", "system control", "tag", "barcode"),
        *("metabolite", "lipid", "sample tag", "cell hash"),
    )
)
PEAKS = frozenset(("peaks", "peak", "atac", "atac peaks", "chromatin accessibility"))
# Kinds of no list with one of these words are no genes either, and are said.
_NOT_GENE_WORD = re.compile(
    r"\b(?:antibody|antibodies|adt|hto|hashtag|peaks?|crispr|ercc|spike|multiplexing|antigen)\b"
)

# What features are called that are no genes, where no table says so. Looked at only where the
# bundle does not know the name.
_NOT_GENE_NAME = re.compile(
    r"(?:AB|ADT|HTO|PROT|PROTEIN|ANTIBODY|ABSEQ|CMO|TOTALSEQ[ABCD]?)[_\-.:|]|HASHTAG|HTO\d|TOTALSEQ"
    r"|ANTI[_\-. ](?:HUMAN|MOUSE)|ERCC[\-_.]\d|NEGCONTROL|NEGPRB|BLANK[\-_]\d"
    r"|(?:CHR)?(?:\d{1,2}|X|Y|MT?)[:\-_.]\d{3,}[\-_.]\d{3,}\Z"
)
_PREFIXED_PEAK = re.compile(r"[A-Z0-9]+_+CHR(?:\d{1,2}|X|Y|MT?)[:\-_.]\d{3,}[\-_.]\d{3,}\Z")
_STARTS = frozenset(
    ("AB", "AD", "HT", "PR", "AN", "CM", "TO", "HA", "ER", "NE", "BL", "CH", "X:", "X-", "Y:", "Y-")
)
_NOT_GENE_ENDS = tuple(
    f"{sign}{end}"
    for sign in "_-.|"
    for end in (
        *("ADT", "PROT", "PROTEIN", "ANTIBODY", "PABO", "HTO", "TSA", "TSB", "TSC"),
        *("TOTALSEQ", "TOTALSEQA", "TOTALSEQB", "TOTALSEQC", "TOTALSEQ-A", "TOTALSEQ-B"),
        *("TOTALSEQ_A", "TOTALSEQ_B", "TOTALSEQ_C", "TOTALSEQ-C"),
    )
)
_ENDS = frozenset(end[-3:] for end in _NOT_GENE_ENDS)
_ALWAYS_DROPPED = ("AB_", "ADT_", "HTO_", "ERCC-")


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureKinds:
    """What the columns of a matrix are.

    Args:
        is_gene: [columns].
        source: The column of the table that says so, "" if there is none.
        dropped: Kinds that are no genes, with their numbers of columns.
        unknown: Kinds that are in no list, with their numbers of columns.
    """

    is_gene: NDArray[np.bool_]
    source: str
    dropped: dict[str, int]
    unknown: dict[str, int]

    def taken_as_genes(self) -> FeatureKinds:
        """The same with all columns as genes."""
        every = np.ones(len(self.is_gene), dtype=bool)
        return FeatureKinds(is_gene=every, source=self.source, dropped={}, unknown=self.unknown)


def read_feature_kinds(
    table: Table, names: Sequence[str], other: Table | None = None
) -> FeatureKinds:
    """Say which columns are genes.

    Args:
        table: The table of genes of the matrix.
        names: Its index.
        other: Another table of the file. Where `table` has no kinds, those of the features of
            the same name are taken from this one (`var`, for the counts in `raw`).
    """
    is_gene = np.ones(len(names), dtype=bool)
    dropped: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    sources = []
    for column, kinds in _kind_columns(table) or _kinds_by_name(names, other):
        judged = {kind: _judge(kind) for kind in set(kinds)}
        if all(verdict is None for verdict in judged.values()):
            continue
        sources.append(column)
        counted = Counter(kinds)
        unknown.update({kind: counted[kind] for kind in counted if _is_unknown(kind)})
        no_gene = np.fromiter((judged[kind] is False for kind in kinds), bool, len(kinds))
        dropped.update(kinds[position] for position in np.flatnonzero(no_gene & is_gene).tolist())
        is_gene &= ~no_gene
    return FeatureKinds(
        is_gene=is_gene, source=", ".join(sources), dropped=dict(dropped), unknown=dict(unknown)
    )


def check_feature_kinds(kinds: FeatureKinds, known: float) -> tuple[FeatureKinds, list[str]]:
    """Refuse a file without genes, and say what is doubtful about the kinds of its features."""
    warnings = []
    if not kinds.is_gene.any():
        shown = _counted(kinds.dropped)
        if {plain_kind(kind) for kind in kinds.dropped} == {"custom"} and known > 0.5:
            warnings.append(
                f"all features are {shown} by var['{kinds.source}']: taken as genes, since the "
                f"bundle knows {known:.0%} of their names"
            )
            return kinds.taken_as_genes(), warnings
        problem = f"no column is a gene: by var['{kinds.source}'] all are {shown}"
        raise CellFileError(problem, hint="give the file with gene expression of these cells")
    gone = sum(count for kind, count in kinds.dropped.items() if plain_kind(kind) not in PEAKS)
    if gone * 2 > len(kinds.is_gene):
        said = f"most columns are dropped, which are no genes by var['{kinds.source}']: "
        warnings.append(said + _counted(kinds.dropped))
    for taken in ("dropped", "taken as genes"):
        here = {
            k: n for k, n in kinds.unknown.items() if (k in kinds.dropped) == (taken == "dropped")
        }
        if here:
            said = f"var['{kinds.source}'] has kinds of features that c2t does not know, {taken}: "
            warnings.append(said + _counted(here))
    return kinds, warnings


def named_like_no_gene(name: str, is_known: bool) -> bool:
    """Whether a feature is named like an antibody, a hashtag, a peak or a spike-in.

    Args:
        name: Its name.
        is_known: Whether the bundle knows a gene of this name, which then wins.
    """
    if is_known:
        return name.startswith(_ALWAYS_DROPPED)
    upper = name.strip().upper()
    # Most names are sorted out by two letters: there may be hundreds of thousands.
    start, end = upper[:2], upper[-3:]
    return (
        ((start in _STARTS or start[:1].isdigit()) and _NOT_GENE_NAME.match(upper) is not None)
        or ("_" in upper[:12] and _PREFIXED_PEAK.match(upper) is not None)
        or (end in _ENDS and upper.endswith(_NOT_GENE_ENDS))
    )


def plain_kind(kind: str) -> str:
    """A kind as the lists have it."""
    return " ".join(kind.lower().replace("_", " ").replace("-", " ").split())


def _counted(kinds: dict[str, int]) -> str:
    return ", ".join(f"`{kind}` ({count:,})" for kind, count in list(kinds.items())[:5])


def _kind_columns(table: Table) -> list[tuple[str, list[str]]]:
    return [(name, table.column(name)) for name in table.columns if _KIND_COLUMN.match(name)]


def _kinds_by_name(names: Sequence[str], other: Table | None) -> list[tuple[str, list[str]]]:
    if other is None:
        return []
    looked_up = []
    for column, kinds in _kind_columns(other):
        of_name = dict(zip(other.index(), kinds, strict=False))
        looked_up.append((column, [of_name.get(name, "") for name in names]))
    return looked_up


def _judge(kind: str) -> bool | None:
    """Whether a kind is one of genes; None where nothing is stated."""
    plain = plain_kind(kind)
    if _NOT_STATED.match(plain):
        return None
    return plain not in NOT_GENES and (_is_gene(plain) or not _NOT_GENE_WORD.search(plain))


def _is_gene(plain: str) -> bool:
    return plain in GENES or plain.endswith("pseudogene")


def _is_unknown(kind: str) -> bool:
    plain = plain_kind(kind)
    return not (_NOT_STATED.match(plain) or plain in NOT_GENES or _is_gene(plain))
