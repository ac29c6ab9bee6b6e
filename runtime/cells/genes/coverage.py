"""How much of a file's genes the bundle knows, and how much of the bundle's genes the file has.

Each share has a stated minimum, below which the file is refused, and a higher one, below which
there is a warning. Shares of the file's own genes say nothing of a file that was cut to its most
variable genes, or of a panel: there, what the bundle expects to see is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary

# Shares of the expressed genes, and of the counts, that are known: below this a warning. The
# minimum is an option.
LOW_COVERAGE = 0.60
# Share of the bundle's genes that have a column. Real whole transcriptomes: 0.48 to 0.97, after
# genes were dropped that no cell or few cells express. The 2,000 most variable genes: 0.09.
LOW_BREADTH, MIN_BREADTH = 0.25, 0.01
# Share of the genes that nearly every cell expresses that have a column.
LOW_USUAL = 0.90
# A vocabulary with fewer genes than this is no whole transcriptome itself: its shares say little.
WHOLE_VOCABULARY = 1000
# Genes that nearly every human cell expresses, whatever its type. A whole transcriptome has a
# column for each. Highly variable genes leave most of them out, since they vary little: of 122, the
# whole files at hand have 122; cut to the 2,000 most variable genes, 1; a panel of 765 genes, 20.
_SYMBOLS = (
    # proteins of the large ribosome
    "RPL3 RPL4 RPL5 RPL6 RPL7 RPL7A RPL8 RPL9 RPL10 RPL10A RPL11 RPL12 RPL13 RPL13A RPL14 RPL15 "
    "RPL18 RPL18A RPL19 RPL21 RPL22 RPL23 RPL23A RPL24 RPL26 RPL27 RPL27A RPL28 RPL29 RPL30 RPL31 "
    "RPL32 RPL34 RPL35 RPL35A RPL36 RPL37 RPL37A RPL38 RPL39 RPLP0 RPLP1 RPLP2 "
    # mitochondria
    "MT-CO1 MT-CO2 MT-CO3 MT-ND1 MT-ND2 MT-ND4 MT-CYB MT-ATP6 COX4I1 COX7C COX6C ATP5F1B ATP5MC2 "
    "NDUFA4 UQCRB TOMM7 VDAC1 SLC25A5 SLC25A6 CHCHD2 "
    # the cell's skeleton, metabolism, translation, and the rest of its household
    "ACTB ACTG1 B2M GAPDH EEF1A1 EEF1B2 EEF2 TPT1 FTL FTH1 TMSB4X TMSB10 FAU UBA52 NACA PPIA "
    "HSP90AB1 HSPA8 YWHAZ YWHAB CFL1 PFN1 ENO1 LDHB PTMA SERF2 UBC UBB CALM1 CALM2 SRP14 EIF1 "
    "EIF4A1 HNRNPA1 HNRNPA2B1 HNRNPK SRSF3 SRSF5 DDX5 ARPC2 ARPC3 MYL6 CD63 OAZ1 PSMA7 SUMO2 RACK1 "
    "BTF3 NPM1 PABPC1 TUBA1B GNAS MYL12B RHOA CDC42 ARF1 SET RAN HINT1"
)
USUAL_GENES = tuple(_SYMBOLS.split())
USUAL_LEAST = 50  # of them must be in the vocabulary


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Numbers of genes, and shares from 0 to 1.

    Args:
        expressed: Columns of genes that have a value in the sampled cells.
        matched: Expressed columns whose gene is known.
        counts: Share of known genes in the counts of the sampled cells.
        genes: Different known genes among all columns.
        bundle_genes: Genes of the bundle.
        usual: Genes with a column among those that nearly every cell expresses.
        usual_known: How many of those the bundle knows; 0 where too few to judge by.
        silent_genes: Whether genes that no cell has have a column too. Without them, columns say
            what the cells express, not what was looked at: no minimum applies to their number.
    """

    expressed: int
    matched: int
    counts: float
    genes: int
    bundle_genes: int
    usual: int
    usual_known: int
    silent_genes: bool = True

    @property
    def share(self) -> float:
        """Share of the expressed genes that is known."""
        return self.matched / self.expressed if self.expressed else 0.0

    @property
    def breadth(self) -> float:
        """Share of the bundle's genes that have a column."""
        return self.genes / self.bundle_genes

    @property
    def usual_share(self) -> float:
        """Share of the usual genes that have a column; 1 where there are too few to judge by."""
        return self.usual / self.usual_known if self.usual_known else 1.0

    @property
    def judges_breadth(self) -> bool:
        """Whether the file's share of the bundle's genes says something."""
        return self.silent_genes and self.bundle_genes >= WHOLE_VOCABULARY

    def sentence(self, min_coverage: float) -> str:
        """All this in words, with the minimums."""
        text = f"{self.matched:,} of {self.expressed:,} expressed genes known ({self.share:.0%}), "
        text += f"with {self.counts:.0%} of the counts"
        text += f" (warned about below {LOW_COVERAGE:.0%}, refused below {min_coverage:.0%})"
        text += f"; columns for {self.genes:,} of the bundle's {self.bundle_genes:,} genes "
        text += f"({self.breadth:.0%}"
        if self.judges_breadth:
            least = least_breadth(min_coverage)
            text += f"; warned about below {LOW_BREADTH:.0%}, refused below {least:.0%}"
        text += ")"
        if self.usual_known:
            text += f", and for {self.usual:,} of {self.usual_known:,} that nearly every cell "
            text += f"expresses (warned about below {LOW_USUAL:.0%})"
        return text

    def warnings(self) -> list[str]:
        """What is doubtful about it."""
        warnings = []
        if self.share < LOW_COVERAGE or self.counts < LOW_COVERAGE:
            warnings.append(
                f"the bundle knows {self.share:.0%} of the expressed genes "
                f"({self.counts:.0%} of the counts): descriptions may be unreliable"
            )
        narrow = self.judges_breadth and self.breadth < LOW_BREADTH
        if narrow or self.usual_share < LOW_USUAL:
            text = f"the file has columns for {self.genes:,} of the {self.bundle_genes:,} genes "
            text += f"that the bundle knows ({self.breadth:.0%})"
            if self.usual_known:
                text += f", and for {self.usual:,} of {self.usual_known:,} that nearly every cell "
                text += "expresses"
            text += ": highly variable genes only, or a panel? Texts will be worse: use the matrix "
            text += "with all genes"
            warnings.append(text)
        return warnings

    def problem(self, min_coverage: float) -> str:
        """Which share is below its minimum, or ""."""
        if self.share < min_coverage or not (self.matched or min_coverage == 0):
            problem = f"gene names not recognised: {self.matched:,} of {self.expressed:,} match "
            return problem + "the bundle's vocabulary"
        if self.counts < min_coverage:
            problem = f"the genes that the bundle knows have {self.counts:.1%} of the counts, "
            return problem + f"at least {min_coverage:.0%} are needed"
        if self.judges_breadth and self.breadth < least_breadth(min_coverage):
            problem = f"the file has columns for {self.genes:,} of the {self.bundle_genes:,} genes "
            problem += f"that the bundle knows ({self.breadth:.1%}), at least "
            return problem + f"{least_breadth(min_coverage):.0%} are needed"
        return ""


def least_breadth(min_coverage: float) -> float:
    """The least share of the bundle's genes: 1 %, less where less coverage is asked for."""
    return min(MIN_BREADTH, min_coverage)


def measure(
    gene: NDArray[np.int32],
    is_gene: NDArray[np.bool_],
    total: NDArray[np.float64],
    vocabulary: GeneVocabulary,
    *,
    silent_genes: bool = True,
) -> Coverage:
    """Count the genes of a file.

    Args:
        gene: [columns] gene of each column, -1 for none.
        is_gene: [columns] whether the column is a gene.
        total: [columns] sums over the sampled cells.
        vocabulary: The genes of the bundle.
        silent_genes: Whether genes that no cell has have a column too.
    """
    expressed = expressed_columns(is_gene, total)
    known = gene != UNKNOWN
    with np.errstate(over="ignore"):  # values of a damaged file may be of any size
        counts = float(total[is_gene].sum())
        if not np.isfinite(counts):
            total = np.minimum(total, np.finfo(np.float64).max) / len(total)
            counts = float(total[is_gene].sum())
    present = np.bincount(gene[known], minlength=len(vocabulary)) > 0
    usual = np.zeros(0, np.int32)
    if silent_genes:
        usual = np.unique(vocabulary.lookup(USUAL_GENES))
        usual = usual[usual != UNKNOWN]
    if len(usual) < USUAL_LEAST:
        usual = usual[:0]
    return Coverage(
        expressed=int(expressed.sum()),
        matched=int((known & expressed).sum()),
        counts=float(total[known].sum()) / counts if counts else 1.0,
        genes=int(present.sum()),
        bundle_genes=len(vocabulary),
        usual=int(present[usual].sum()),
        usual_known=len(usual),
        silent_genes=silent_genes,
    )


def expressed_columns(is_gene: NDArray[np.bool_], total: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Columns of genes with a value; all columns of genes if none has one."""
    expressed = is_gene & (total > 0)
    return expressed if expressed.any() else is_gene
