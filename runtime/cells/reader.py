"""Opens a file of cells or an AnnData object: its counts, and its cells encoded for a bundle.

One decision: whatever the size of the file, cells are read in portions of bounded memory, in the
order of the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.gene_vocabulary import UNKNOWN, GeneVocabulary
from c2t.runtime.bundle.manifest import GeneInput
from c2t.runtime.cells.count_detection import choose_counts
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.filter_pass import COLUMN, passed_cells
from c2t.runtime.cells.formats.opening import Opening
from c2t.runtime.cells.formats.protocol import CellStore
from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.cells.gene_matching import GeneMatch, GeneOptions, match_genes
from c2t.runtime.cells.genes.organism import bundle_species, read_statements
from c2t.runtime.cells.genes.orthologues import (
    GET_ONE,
    Orthologues,
    read_orthologues,
    told_species,
)
from c2t.runtime.cells.genes.report import GeneReport, foreign_cells
from c2t.runtime.cells.genes.species import species_of_id
from c2t.runtime.cells.inputs.cell_input import CELL_INPUTS, CellInput, bundle_input
from c2t.runtime.cells.inputs.gene_sentence import SentencePrompts
from c2t.runtime.cells.listed_genes import with_listed
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.read_ahead import ReadingThreads
from c2t.runtime.cells.sparse_rows import SparseRows, portions
from c2t.runtime.cells.symbol_matching import match_symbols
from c2t.runtime.system.errors import CellFileError

# Up to so many unwanted rows between two wanted ones are read too: cheaper than another request.
_GAP = 32


class CellCounts:
    """The counts of the selected cells of a file, with the genes as the file names them.

    Args:
        source: Path of a file or folder of cells (docs/how-to/formats.md), or an AnnData object.
        options: How to read it.
        genes: The genes of the bundle, which text tables are turned by.

    Raises:
        CellFileError: No counts in it, damaged, or the selection is not in it.
    """

    def __init__(
        self,
        source: Any,
        options: CellOptions | None = None,
        genes: GeneVocabulary | None = None,
    ) -> None:
        self.options = options or CellOptions()
        self._reading = ReadingThreads()
        self.store: CellStore = open_store(source, _opening(self.options, genes))
        try:
            every_id = self.store.obs.index()
            self._warnings = list(self.store.warnings)
            self.cell_index = self._select(every_id)
            self.cell_ids = [every_id[position] for position in self.cell_index.tolist()]
            chosen = choose_counts(self.store, layer=self.options.layer, values=self.options.values)
            self._matrix, self.sample = chosen.matrix, chosen.sample
            self.counts_report, self._check = chosen.report, chosen.check
            repeated = sum(count - 1 for count in Counter(self.cell_ids).values())
            if repeated:
                self._warnings.append(f"{repeated:,} cells have the name of an earlier cell")
        except BaseException:
            self.store.close()
            raise

    @property
    def name(self) -> str:
        """The file's name, or "AnnData object"; for messages."""
        return self.store.name

    @property
    def n_cells(self) -> int:
        """Number of selected cells."""
        return len(self.cell_ids)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that the user should know about this input."""
        return (*self._warnings, *self.counts_report.warnings)

    @property
    def obs_columns(self) -> list[str]:
        """Columns of the table of cells."""
        return self.store.obs.columns

    def obs_column(self, name: str) -> list[str]:
        """A column of the table of cells, for the selected cells, as strings."""
        values = self.store.obs.column(name)
        return [values[position] for position in self.cell_index.tolist()]

    def gene_names(self, column: str | None = None) -> list[str]:
        """Names of the matrix's columns: by the index of the gene table, or by a column of it."""
        table = self.store.var(self.counts_report.location)
        return table.index() if column is None else table.column(column)

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[SparseRows]:
        """Read the selected cells [start, stop) as stored, in portions that fit in memory."""
        self._reading.add_this()
        stop = self.n_cells if stop is None else min(stop, self.n_cells)
        wanted = self.cell_index[start:stop]
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > _GAP) + 1):
            if not len(run):
                continue
            for begin, end in portions(self._matrix, int(run[0]), int(run[-1]) + 1):
                here = run[(run >= begin) & (run < end)]
                rows = self._matrix.rows(begin, end)
                yield rows if len(here) == end - begin else rows.take(here - begin)

    def keep(self, places: Sequence[int]) -> None:
        """Select some of the selected cells, by their places among them, ascending."""
        self.cell_index = self.cell_index[list(places)]
        self.cell_ids = [self.cell_ids[place] for place in places]

    def close(self) -> None:
        """Close the file, after the portion that a thread is reading ahead."""
        try:
            self._reading.stop()
        finally:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _select(self, ids: list[str]) -> NDArray[np.int64]:
        """The positions of the wanted cells, in the order of the file."""
        options, chosen = self.options, np.arange(len(ids), dtype=np.int64)
        if not ids:
            problem = f"{self.store.name} has no cells"
            raise CellFileError(problem, hint="look at what was left out when it was written")
        if options.cells is not None:
            chosen = _positions(options.cells, ids, self.store.name)
        elif options.filter_pass and COLUMN in self.store.obs.columns:
            chosen = passed_cells(self.store.obs.column(COLUMN), self.store.name)
            if len(chosen) < len(ids):
                left_out = len(ids) - len(chosen)
                self._warnings.append(
                    f'obs["filter_pass"] leaves out {left_out:,} of {len(ids):,} cells'
                )
        if options.limit is not None:
            chosen = chosen[: max(options.limit, 0)]
        if not len(chosen):
            problem = f"no cells to read in {self.store.name}"
            raise CellFileError(problem, hint="check `--cells`, `--limit` and obs['filter_pass']")
        return chosen


class CellReader(CellCounts):
    """Cells of a file, encoded for a bundle.

    Args:
        source: Path of a file or folder of cells, or an AnnData object.
        genes: The genes that the bundle knows; None where it takes any names.
        gene_input: Longest sequence and special tokens, or how a cell becomes text.
        options: How to read it.

    Raises:
        CellFileError: No counts, too few known genes, damaged, or the selection is not in it.
    """

    def __init__(
        self,
        source: Any,
        genes: GeneVocabulary | None,
        gene_input: GeneInput | SentencePrompts,
        options: CellOptions | None = None,
    ) -> None:
        super().__init__(source, options, genes)
        self._genes = genes
        self.gene_input = gene_input
        self.encode_seconds = 0.0  # spent on encoding so far; the rest of `chunks` is reading
        try:
            self.gene_match: GeneMatch = self._match_genes(self._sample_counts())
            self._of_other_species = {
                cell: errors[text]
                for column, errors in self.gene_match.cell_errors.items()
                for cell, text in enumerate(self.obs_column(column))
                if text in errors
            }
            self._species = self._species_of_cells()
            make, base = CELL_INPUTS[type(gene_input)], self.counts_report.log_base
            self._input: CellInput = make(gene_input, genes, self.gene_match, base)
        except BaseException:
            self.close()
            raise

    def keep(self, places: Sequence[int]) -> None:
        """See `CellCounts.keep`."""
        super().keep(places)
        errors = self._of_other_species
        self._of_other_species = {
            new: errors[old] for new, old in enumerate(places) if old in errors
        }
        self._species = [self._species[place] for place in places]

    @property
    def genes(self) -> GeneVocabulary:
        """The genes that the bundle knows.

        Raises:
            CellFileError: It has no table of genes.
        """
        if self._genes is None:
            problem = "the bundle has no table of genes: it reads symbols as they are"
            raise CellFileError(problem, hint="see `c2t info` for what it can do")
        return self._genes

    @property
    def gene_report(self) -> GeneReport:
        """How the genes of the file were recognised."""
        return self.gene_match.report

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that the user should know about this input."""
        return (*super().warnings, *self.gene_report.warnings)

    def chunks(
        self, start: int = 0, stop: int | None = None, chunk_cells: int = 512
    ) -> Iterator[EncodedCells]:
        """Encode the selected cells [start, stop), `chunk_cells` at a time.

        Raises:
            CellFileError: The file turns out to be damaged.
        """
        stop = self.n_cells if stop is None else min(stop, self.n_cells)
        for first in range(start, stop, chunk_cells):
            end = min(first + chunk_cells, stop)
            parts, done = list[EncodedCells](), first
            for rows in self.rows(first, end):
                parts.append(self._encode(rows, self._species[done : done + rows.shape[0]]))
                done += rows.shape[0]
            cells = replace(
                EncodedCells.joined(parts),
                ids=self.cell_ids[first:end],
                index=self.cell_index[first:end],
                first=first,
            )
            other = {n: self._of_other_species.get(first + n) for n in range(len(cells))}
            yield cells.with_errors({n: error for n, error in other.items() if error})

    def _encode(self, rows: SparseRows, species: Sequence[str]) -> EncodedCells:
        """Encode cells; one that is not like the others of the file gets an error."""
        since = perf_counter()
        rows = self._check.without_absent(rows)
        encoded = self._input.encode(rows, species).with_errors(rows.damaged, instead=True)
        encoded = encoded.with_errors(self._check.errors(rows))
        match = self.gene_match
        if match.foreign is not None:
            theirs = np.flatnonzero(foreign_cells(match.foreign, match.column_gene, rows))
            error = "cell has most of its counts in genes of another species"
            encoded = encoded.with_errors(dict.fromkeys(theirs.tolist(), error))
        self.encode_seconds += perf_counter() - since
        return encoded

    def _match_genes(self, sample: SparseRows) -> GeneMatch:
        table = self.store.var(self.counts_report.location)
        if isinstance(self.gene_input, SentencePrompts):
            if self.options.orthologues is not None:
                problem = "the bundle reads gene symbols as they are: it carries no genes over"
                raise CellFileError(problem, hint="leave `--orthologues` out")
            sentence, listed = self.gene_input.sentence, self.gene_input.listed
            match = match_symbols(
                table,
                tuple(sentence.organisms),
                sample,
                self._gene_options(None, self.options.organism),
                vocabulary=self._genes,
                upper_case=sentence.upper_case,
            )
            return with_listed(match, listed) if listed else match
        through = self._orthologues()
        organism = self.options.organism or (None if through else self.options.species)
        return match_genes(table, self.genes, sample, self._gene_options(through, organism))

    def _species_of_cells(self) -> list[str]:
        """The species of each cell, where the bundle knows several."""
        species = [self.gene_match.species] * self.n_cells
        for column, names in self.gene_match.cell_species.items():
            for cell, text in enumerate(self.obs_column(column)):
                species[cell] = names.get(text, species[cell])
        return species

    def _gene_options(self, through: Orthologues | None, organism: str | None) -> GeneOptions:
        raw = self.counts_report.location == "raw" and "X" in self.store.locations
        return GeneOptions(
            gene_column=self.options.gene_column,
            min_coverage=self.options.min_coverage,
            organism=organism,
            species=self.options.species,
            orthologues=through,
            statements=read_statements(self.obs_columns, self.obs_column, self.store.uns_text),
            # `raw` often has names alone; what they are stands in `var`.
            kinds_table=self.store.var("X") if raw else None,
            silent_genes=self.store.silent_genes,
        )

    def _orthologues(self) -> Orthologues | None:
        """The table of orthologues, where the cells are said to be of another species.

        Raises:
            CellFileError: It is not given, or not readable.
        """
        if self.options.species is None:
            return None
        ours, theirs = bundle_species(self.genes), told_species(self.options.species)
        if ours is None or theirs == ours:
            return None
        if self.options.orthologues is None:
            problem = f"the bundle describes {ours.name} cells, and genes of {theirs.name} can be "
            problem += "taken as theirs only by a table of orthologues"
            raise CellFileError(problem, hint=GET_ONE)
        return read_orthologues(Path(self.options.orthologues), theirs, ours)

    def _sample_counts(self) -> SparseRows:
        """The sample with a logarithm undone."""
        base, sample = self.counts_report.log_base, self.sample
        if base is None:
            return sample
        with np.errstate(over="ignore", invalid="ignore"):
            values = np.expm1(np.asarray(sample.data, dtype=np.float64) * np.log(base))
        return SparseRows(sample.indptr, sample.indices, values, sample.columns)


def open_cells(
    source: Any, bundle: Bundle, options: CellOptions | None = None, *, named: bool = False
) -> CellReader:
    """Open cells to be described by a bundle; `reader.warnings` says what the user should know.

    Args:
        source: Path of a file or folder of cells, or an AnnData object.
        bundle: Has the genes, and says what the encoder takes.
        options: How to read them.
        named: See `c2t.runtime.cells.inputs.cell_input.bundle_input`.

    Raises:
        CellFileError: No counts, too few known genes, damaged, or the selection is not in it.
    """
    gene_input, genes = bundle_input(bundle, named=named)
    return CellReader(source, genes, gene_input, options)


def _opening(options: CellOptions, genes: GeneVocabulary | None) -> Opening:
    """How the source is opened."""
    if genes is None:  # only ids are known to be genes
        return Opening(
            part=options.part,
            genes_known=lambda names: sum(species_of_id(name) is not None for name in names),
        )
    # Symbols of a mouse are found too: their case is no matter here.
    return Opening(
        part=options.part,
        genes_known=lambda names: int((genes.lookup(names) != UNKNOWN).sum()),
    )


def _positions(
    cells: Sequence[str] | Sequence[int], ids: list[str], name: str
) -> NDArray[np.int64]:
    """Positions of cells that are given by name or position, sorted and without repeats."""
    numbers = [int(cell) for cell in cells if not isinstance(cell, str)]
    names = {cell for cell in cells if isinstance(cell, str)}
    outside: list[Any] = [number for number in numbers if not 0 <= number < len(ids)]
    outside += sorted(names.difference(ids))
    if outside:
        shown = ", ".join(f"`{cell}`" for cell in outside[:5])
        problem = f"{len(outside):,} of the cells asked for are not in {name}: {shown}"
        raise CellFileError(problem, hint=f"its {len(ids):,} cells have names such as `{ids[0]}`")
    numbers += [position for position, cell in enumerate(ids) if cell in names]
    return np.unique(np.asarray(numbers, dtype=np.int64))
