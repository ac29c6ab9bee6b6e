"""Cells of a request, as maps from gene to count, encoded for a bundle.

One decision: `CellReader` reads them as it reads a file, so that a map and a file of the same cell
give the same tokens, errors and warnings. Only the look-up of names has a way of its own, which is
taken where it gives the same: what names mean is remembered from request to request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.formats.count_maps import CountMaps
from c2t.runtime.cells.gene_matching import INDEX, GeneMatch, column_totals
from c2t.runtime.cells.genes.coverage import measure
from c2t.runtime.cells.genes.name_memory import NO_GENE, NameMemory
from c2t.runtime.cells.genes.numbered_names import NumberedNames
from c2t.runtime.cells.genes.organism import CARRY_OVER, check_organism
from c2t.runtime.cells.genes.report import GeneReport
from c2t.runtime.cells.inputs.cell_input import bundle_input
from c2t.runtime.cells.inputs.gene_sentence import SentencePrompts
from c2t.runtime.cells.option_words import options_as_fields
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.cells.sparse_rows import SparseRows
from c2t.runtime.system.errors import CellFileError


@dataclass(frozen=True, eq=False, kw_only=True)
class ReadCells:
    """Cells of a request.

    Args:
        cells: In their order, each with tokens or an error.
        warnings: What the user should know about them.
    """

    cells: EncodedCells
    warnings: tuple[str, ...]


class CountedCellReader:
    """Reads cells that are maps from gene to count. Threads may share it.

    A gene that a map leaves out has the count 0, and so has one that it names with 0. So maps do
    not say how many genes were looked at: what a file is refused or warned about for having too few
    columns does not apply. All else is judged as in a file of these cells.

    Args:
        bundle: Has the genes, and says what the encoder takes.
        named: See `c2t.runtime.cells.inputs.cell_input.bundle_input`.
    """

    def __init__(self, bundle: Bundle, *, named: bool = False) -> None:
        self._gene_input, self._genes = bundle_input(bundle, named=named)
        # Gene sentences take names as they are: there is nothing to remember.
        self._memory: NameMemory | None = None
        self._numbered: NumberedNames | None = None
        if isinstance(self._gene_input, GeneInput) and self._genes is not None:
            self._memory = NameMemory(self._genes)
            self._numbered = NumberedNames(self._memory)

    @property
    def gene_input(self) -> GeneInput | SentencePrompts:
        """What a cell becomes; with `named`, what knows the names."""
        return self._gene_input

    def read(
        self,
        counts: Sequence[Mapping[str, float]],
        ids: Sequence[str],
        options: CellOptions | None = None,
    ) -> ReadCells:
        """Read cells.

        Args:
            counts: The count of each gene of each cell, by an Ensembl id or a symbol.
            ids: Names of the cells.
            options: How to read them.

        Raises:
            CellFileError: No cells, no counts, too few known genes, or of another species.
        """
        if len(counts) != len(ids):
            problem = f"{len(counts)} cells have {len(ids)} names"
            raise ValueError(problem)
        return self._read(CountMaps.of(counts, ids), None, options or CellOptions())

    def read_json(
        self,
        counts: Sequence[bytes | bytearray | memoryview],
        ids: Sequence[str],
        options: CellOptions | None = None,
    ) -> ReadCells | None:
        """What `read` gives, of cells that are JSON: without an object for each gene.

        Args:
            counts: Of each cell, a JSON object from gene to count. It need not be checked.
            ids: Names of the cells.
            options: How to read them.

        Returns:
            None where a JSON reader must judge the cells: see `NumberedNames.read`.

        Raises:
            CellFileError: As `read`.
        """
        read = self._numbered.read(counts, ids) if self._numbered else None
        if read is None:
            return None
        maps, code = read
        return self._read(maps, code, options or CellOptions())

    def _read(
        self, maps: CountMaps, code: NDArray[np.int32] | None, options: CellOptions
    ) -> ReadCells:
        try:
            number = maps.shape[0]
            if number and not maps.entries(0, number):
                return self._empty_cells(maps, options)
            with self._reader(maps, code, options) as reader:
                cells = EncodedCells.joined(list(reader.chunks()))
                return ReadCells(cells=cells, warnings=tuple(map(_of_request, reader.warnings)))
        except CellFileError as error:
            hint = _of_request(error.hint) if error.hint else error.hint
            raise CellFileError(_of_request(error.problem), hint=hint) from error

    def _reader(
        self, maps: CountMaps, code: NDArray[np.int32] | None, options: CellOptions
    ) -> CellReader:
        if self._memory is None or self._genes is None:
            return CellReader(maps, self._genes, self._gene_input, options)
        return _Reader(maps, self._memory, self._genes, self._gene_input, options, code=code)

    def _empty_cells(self, maps: CountMaps, options: CellOptions) -> ReadCells:
        """Cells without any count: an error each, even if no gene is named at all."""
        if self._memory is not None and self._memory.species is not None:
            check_organism(self._memory.species, (), (), allowed=options.organism)
        ids = maps.obs.index()
        cells = EncodedCells.of_tokens(
            [[]] * len(ids), ids=ids, errors=["cell is empty"] * len(ids)
        )
        return ReadCells(cells=cells, warnings=("`counts` holds nothing but zeros",))


class _Reader(CellReader):
    """Reads maps, and remembers names.

    Args:
        code: What the name of each column means by itself, where that was looked up.
    """

    def __init__(
        self,
        maps: CountMaps,
        memory: NameMemory,
        genes: GeneVocabulary,
        gene_input: GeneInput | SentencePrompts,
        options: CellOptions,
        *,
        code: NDArray[np.int32] | None,
    ) -> None:
        self._maps, self._memory, self._code = maps, memory, code
        super().__init__(maps, genes, gene_input, options)

    def _match_genes(self, sample: SparseRows) -> GeneMatch:
        names = self._maps.genes
        if self.options.gene_column is None and names:
            if self._code is None:
                code = self._memory.look_up(names)
            else:
                code = self._memory.together(names, self._code)
            match = None if code is None else self._plain_match(code, names, sample)
            if match is not None:
                return match
        return super()._match_genes(sample)

    def _plain_match(
        self, code: NDArray[np.int32], names: Sequence[str], sample: SparseRows
    ) -> GeneMatch | None:
        """What `match_genes` gives for names that mean what they mean alone; None if unsure."""
        is_gene = code != NO_GENE
        gene = np.where(is_gene, code, np.int32(UNKNOWN)).astype(np.int32)
        total = column_totals(sample)
        if not (is_gene & (total > 0)).any() or _has_twins(gene, names):
            return None
        if self._memory.species is not None:
            check_organism(self._memory.species, (), (), allowed=self.options.organism)
        coverage = measure(gene, is_gene, total, self.genes, silent_genes=False)
        if coverage.problem(self.options.min_coverage):
            return None
        report = GeneReport(
            column=INDEX,
            columns=len(gene),
            dropped=int((~is_gene).sum()),
            summed=int((gene != UNKNOWN).sum()) - coverage.genes,
            coverage_of=coverage,
            sentence=coverage.sentence(self.options.min_coverage),
            warnings=tuple(coverage.warnings()),
        )
        return GeneMatch(column_gene=gene, report=report, cell_errors={}, foreign=None)


def _has_twins(gene: NDArray[np.int32], names: Sequence[str]) -> bool:
    """Whether two columns of one gene may differ in case only: one of them may be an antibody."""
    known = gene != UNKNOWN
    several = np.bincount(gene[known], minlength=1) > 1
    if not several.any():
        return False
    columns = np.flatnonzero(known & several[gene])
    return not all(names[column].isupper() for column in columns.tolist())


# How messages about files are said of a request, whose settings have the names of `Settings`.
_WORDING = (
    (CARRY_OVER, ""),
    ("; see `c2t help formats`", ""),  # which is about files
    ("`var_names`", "`counts`"),
    ("the file", "the request"),
    (
        "pass `--gene-column NAME` with the column of Ensembl ids or symbols",
        "send Ensembl ids or symbols",
    ),
    ("do not suffer that: name their column with `--gene-column`", "do not suffer that: send them"),
    ("check `--cells`, `--limit` and obs['filter_pass']", "send at least one"),
    ("look at what was left out when it was written", "send at least one"),
    (
        "write the raw counts into `layers['counts']` and try again",
        "send the raw counts of these cells",
    ),
)


def _of_request(message: str) -> str:
    for of_file, of_request in _WORDING:
        message = message.replace(of_file, of_request)
    return options_as_fields(message)
