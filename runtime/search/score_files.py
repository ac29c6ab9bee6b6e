"""Scores become files: lines of JSON, tables, a copy of the cells with a column for each text."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from c2t.runtime.describe.searcher import ScoredCells
from c2t.runtime.output.obs import check_obs
from c2t.runtime.output.parquet import check_parquet, import_pyarrow
from c2t.runtime.search.into_h5ad import Addition, write_copy
from c2t.runtime.system.plain_newlines import PlainNewlines

SCORE, ERROR, ABOUT = "c2t_score", "c2t_search_error", "c2t_search"  # in obs, obs, uns
DIGITS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """What a file is written from: the scores, and provenance by name."""

    scored: ScoredCells
    about: dict[str, Any]

    @property
    def columns(self) -> list[str]:
        """A column a text: "score", or "score_1", "score_2", ... of several."""
        count = len(self.scored.queries)
        return ["score"] if count == 1 else [f"score_{n}" for n in range(1, count + 1)]

    def rows(self) -> Iterator[list[Any]]:
        """Cell, scores and error of each; None where there is none."""
        scored = self.scored
        for name, own, error in zip(scored.ids, scored.scores, scored.errors, strict=True):
            values = [None if error else round(float(score), DIGITS) for score in own]
            yield [str(name), *values, error]


def _write_jsonl(scores: Scores, cells: Path, path: Path) -> None:
    """One JSON object a line: the scores of a cell by text."""
    with path.open("wb") as stream:
        for name, *values, error in scores.rows():
            by_text = dict(zip(scores.scored.queries, values, strict=True))
            line = {"cell": name, "scores": by_text, "error": error}
            stream.write(msgspec.json.encode(line) + b"\n")


def _write_csv(scores: Scores, cells: Path, path: Path) -> None:
    """A row a cell, a column a text: the texts themselves are the header."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(PlainNewlines(stream))
        writer.writerow(["cell", *scores.scored.queries, "error"])
        writer.writerows(scores.rows())


def _write_parquet(scores: Scores, cells: Path, path: Path) -> None:
    """A row a cell; the texts of the columns stand in the schema's metadata (key `c2t`, JSON)."""
    pyarrow, parquet = import_pyarrow()
    scored = scores.scored
    failed = np.array([bool(error) for error in scored.errors])
    columns: dict[str, Any] = {"cell": pyarrow.array(list(map(str, scored.ids)), pyarrow.string())}
    for number, name in enumerate(scores.columns):
        columns[name] = pyarrow.array(scored.scores[:, number], mask=failed)
    columns["error"] = pyarrow.array(list(scored.errors), pyarrow.string())
    about = scores.about | {"texts": dict(zip(scores.columns, scored.queries, strict=True))}
    table = pyarrow.table(columns).replace_schema_metadata({"c2t": msgspec.json.encode(about)})
    parquet.write_table(table, path, compression="zstd")


def _write_h5ad(scores: Scores, cells: Path, path: Path) -> None:
    scored = scores.scored
    names = [SCORE + name.removeprefix("score") for name in scores.columns]
    texts = np.array([query.replace("\0", "\ufffd") for query in scored.queries], dtype=object)
    columns = np.array(names, dtype=object)
    addition = Addition(
        rows=scored.index,
        columns={name: scored.scores[:, number] for number, name in enumerate(names)},
        errors=(ERROR, [error or "" for error in scored.errors]),
        about=(ABOUT, scores.about | {"texts": texts, "columns": columns}),
        left=SCORE,
    )
    write_copy(cells, path, addition)


@dataclass(frozen=True)
class OutputFormat:
    """How scores become a file, and what refuses the file of cells before the work."""

    write: Callable[[Scores, Path, Path], None]
    check: Callable[[Path], None] = lambda cells: None


FORMATS = {
    ".jsonl": OutputFormat(_write_jsonl),
    ".csv": OutputFormat(_write_csv),
    ".parquet": OutputFormat(_write_parquet, check_parquet),
    ".h5ad": OutputFormat(_write_h5ad, check_obs),
}
