"""A bundle's list of genes, in whose order the genes of a gene sentence stand.

One decision: a list is plain text with a symbol in each line, as it is published. So what a bundle
has can be compared with its source by eye.
"""

from __future__ import annotations

from pathlib import Path

from c2t.runtime.system.checked_read import read_lines
from c2t.runtime.system.errors import C2TError

GENE_ORDER_NAME = "gene_order.txt"
GENES_MAX = 200_000
BYTES_MAX = 8 << 20
LETTERS_MAX = 100  # of a symbol
HINT = "give a text file in UTF-8 with a gene symbol in each line"


def read_gene_order(path: Path, *, error: type[C2TError], hint: str = HINT) -> tuple[str, ...]:
    """Read a list of genes; of a gene that is there again, the first place counts.

    Raises:
        C2TError: Of the class `error`: the file cannot be read, has no genes or too many, or a
            line is no symbol.
    """
    lines = read_lines(path, bytes_max=BYTES_MAX, error=error, hint=hint)
    genes: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        symbol = line.strip()
        if not symbol:
            continue
        if not _is_symbol(symbol):
            problem = f"line {number} of {path} is {symbol[:40]!r}, which is no gene symbol"
            raise error(problem, hint=hint)
        genes.setdefault(symbol.upper(), symbol)
    if not 0 < len(genes) <= GENES_MAX:
        problem = f"{path} has {len(genes):,} genes"
        raise error(problem, hint=hint)
    return tuple(genes.values())


def gene_order_bytes(genes: tuple[str, ...]) -> bytes:
    """The content of a bundle's list."""
    return "".join(f"{gene}\n" for gene in genes).encode()


def _is_symbol(text: str) -> bool:
    return len(text) <= LETTERS_MAX and text.isprintable() and not set(text) & set(' ,;"')
