"""Cells as maps from gene to count, and what the reader of files says of the same cells."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import numpy as np
from cell_libraries import anndata, sp
from make_cells import V2, vocabulary

from c2t.runtime.cells.counted_cells import CountedCellReader, _of_request
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.formats.count_maps import CountMaps
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError


def counted_reader(genes=None, gene_input=V2) -> CountedCellReader:
    """A reader over a vocabulary, the small one of `make_cells` by default."""
    manifest = SimpleNamespace(gene_input=gene_input, gene_sentence=None)
    return CountedCellReader(SimpleNamespace(genes=genes or vocabulary(), manifest=manifest))


def maps_of(cells: anndata.AnnData) -> list[dict[str, float]]:
    """Each cell's counts that are not zero, by the names of its columns."""
    rows, names = sp.csr_matrix(cells.X).astype(np.float64), list(cells.var_names)
    bounds = zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
    return [
        dict(
            zip((names[c] for c in rows.indices[a:b]), rows.data[a:b].tolist(), strict=True),
        )
        for a, b in bounds
    ]


def outcome(read) -> dict[str, object]:
    """What reading gives, in a form that can be compared; a refusal as its problem."""
    try:
        cells, warnings = read()
    except CellFileError as error:
        said = _of_request(error.problem)  # of a file, its name stands before " holds "
        return {"refused": _shown(said.partition(" holds ")[2] or said)}
    return {
        "ids": list(cells.ids),
        "tokens": [row.tolist() for row in cells.tokens],
        "errors": list(cells.errors),
        "used": cells.genes_used.tolist(),
        "found": cells.genes_found.tolist(),
        "index": cells.index.tolist(),
        "warnings": [_shown(_of_request(said)) for said in warnings if "columns for" not in said],
    }


def by_maps(reader: CountedCellReader, maps, ids=None, **options) -> dict[str, object]:
    """What the reader of maps says; it says the same of their JSON, where that is plain."""
    names = ids or [f"cell{n}" for n in range(len(maps))]

    def read():
        result = reader.read(maps, names, CellOptions(**options))
        return result.cells, result.warnings

    def read_json():
        result = reader.read_json(texts, names, CellOptions(**options))
        assert result is not None, "plain JSON was not read"
        return result.cells, result.warnings

    said = outcome(read)
    texts = [json.dumps(cell).encode() for cell in maps]
    if all(map(_is_plain, maps)) and any(maps):
        assert outcome(read_json) == said
    elif maps:
        assert not any(maps) or reader.read_json(texts, names, CellOptions(**options)) is None
    return said


def _is_plain(cell) -> bool:
    return all(
        name.isascii()
        and name.isprintable()
        and not {'"', "\\"} & set(name)
        and 1 <= len(name) <= 64
        for name in cell
    ) and all(0 <= count < np.inf for count in cell.values())


def by_definition(source, genes=None, gene_input=V2, **options) -> dict[str, object]:
    """What `CellReader` says of an AnnData object, or of maps."""

    def read():
        cells = source
        if isinstance(source, list):
            cells = CountMaps.of(source, [f"cell{n}" for n in range(len(source))])
        with CellReader(cells, genes or vocabulary(), gene_input, CellOptions(**options)) as reader:
            return EncodedCells.joined(list(reader.chunks())), reader.warnings

    return outcome(read)


def _shown(message: str) -> str:
    """A message without the name that it gives as an example, and the place of the values."""
    return re.sub(r"^(X|counts) (?=holds|is)", "", re.sub(r"`[^`]+`", "`…`", message))
