"""Gene sentences without a file of cells: names that are made as long as real symbols are.

One decision: they are families of symbols with numbers, as most real ones are. What they are for,
the length of a prompt and numbers to compare, does not depend on which genes there are.
"""

from __future__ import annotations

from itertools import count, islice

_FAMILIES = (
    *("RPL", "RPS", "MT-ND", "HLA-D", "CD", "TMSB", "ZNF", "SLC25A", "KRT", "CXCL", "TMEM"),
    *("IGHG", "HIST1H", "EEF1A", "S100A", "LINC00", "FTL", "MALAT", "NDUFB", "PTPRC", "HSPA"),
)


def example_genes(number: int, *, first: int = 1) -> list[str]:
    """So many different names.

    Args:
        number: How many.
        first: Numbers of the families begin here: another one gives other names.
    """
    names = (f"{family}{n}" for n in count(first) for family in _FAMILIES)
    return list(islice(names, number))
