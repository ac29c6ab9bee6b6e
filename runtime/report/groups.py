"""The groups of `c2t describe --group-by`: columns of the cells, and the table beside them.

One decision: the table must be that of the results. It has the groups of the cells and no others,
each with as many cells and the same answer, or it is of another run and refused.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from c2t.runtime.report.results import Results
from c2t.runtime.system.errors import ReportError

HINT = "give NAME.groups.csv, which `c2t describe --group-by` wrote beside the results"
NEEDED = ("group", "cells", "cell_type", "share")
ROWS_MAX = 1_000_000
BYTES_MAX = 1 << 30


@dataclass(frozen=True, kw_only=True)
class GroupLine:
    """The answer of one group.

    Attributes:
        name: The group's.
        cells: Its cells.
        answer: The consensus, "mixed", or "" where none of its cells is described.
        term: Ontology id of the answer; None: none is known.
        share: Of the cells that give the most frequent answer, of the described ones; None: none.
        unsure: Cells below the threshold; None: not stated.
        runner_up: The second most frequent answer with its share; "" for none.
        text: Written from the mean of the group's cell vectors; "" for none.
    """

    name: str
    cells: int
    answer: str
    term: str | None
    share: float | None
    unsure: int | None = None
    runner_up: str = ""
    text: str = ""


def group_lines(results: Results, table: Path | None) -> list[GroupLine]:
    """The groups, the largest first; empty where cells were not grouped.

    Args:
        results: The descriptions, whose columns may say each cell's group.
        table: The file with the groups; None: columns alone.

    Raises:
        ReportError: It cannot be read, or has other groups than the results.
    """
    counted = Counter(name for name in results.groups if name)
    if table is None:
        lines = _of_columns(results, counted)
    else:
        lines = _read(table)
        _check(table, lines, _of_columns(results, counted))
    return sorted(lines, key=lambda line: -line.cells)


def _of_columns(results: Results, counted: Mapping[str, int]) -> list[GroupLine]:
    first = {name: row for row, name in reversed(list(enumerate(results.groups))) if name}
    lines = []
    for name, cells in counted.items():
        answer = results.group_answers[first[name]]
        lines.append(
            GroupLine(
                name=name,
                cells=cells,
                answer=answer.name or "",
                term=answer.term,
                share=answer.share,
            )
        )
    return lines


def _check(table: Path, lines: list[GroupLine], own: list[GroupLine]) -> None:
    """Refuse a table that is not of these results.

    Args:
        table: The file.
        lines: What it says.
        own: What the columns of the results say.
    """
    if not own:
        problem = f"{table} has groups, and the results say no cell's group: nothing to compare"
        hint = "leave --groups out, or give the results of the run that grouped the cells"
        raise ReportError(problem, hint=hint)
    stated = {line.name: line for line in lines}
    if len(stated) < len(lines):
        problem = f"{table} has a group twice"
        raise ReportError(problem, hint=HINT)
    hint = "it is of another run: " + HINT
    answered = any(line.answer for line in own)  # else the results have no column of answers
    for line in own:
        found = stated.pop(line.name, None)
        if found is None or found.cells != line.cells:
            here = "no line" if found is None else f"{found.cells:,} cells"
            problem = f"{table} has {here} for the group {line.name!r}; "
            problem += f"the results have {line.cells:,} cells"
            raise ReportError(problem, hint=hint)
        if answered and found.answer != line.answer:
            problem = f"{table} says {found.answer!r} of the group {line.name!r}; "
            problem += f"the results say {line.answer!r}"
            raise ReportError(problem, hint=hint)
    if stated:
        problem = f"{table} has the group {next(iter(stated))!r}, which no cell of the results has"
        raise ReportError(problem, hint=hint)


def _read(table: Path) -> list[GroupLine]:
    try:
        if table.stat().st_size > BYTES_MAX:
            problem = f"{table} has more than {BYTES_MAX:,} bytes"
            raise ReportError(problem, hint=HINT)
        with table.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if not set(NEEDED) <= set(reader.fieldnames or ()):
                problem = f"{table} is no table of groups: it lacks {', '.join(NEEDED)}"
                raise ReportError(problem, hint=HINT)
            lines: list[GroupLine] = []
            for row in reader:
                if len(lines) == ROWS_MAX:
                    problem = f"{table} has more than {ROWS_MAX:,} groups"
                    raise ReportError(problem, hint=HINT)
                lines.append(_line(row))
            return lines
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"{table} cannot be read as a table of groups: {reason}"
        raise ReportError(problem, hint=HINT) from error


def _line(row: Mapping[str, str | None]) -> GroupLine:
    """A line of the file.

    Raises:
        ValueError: A number that is none.
        TypeError: A value is missing.
    """
    answer, second = row["cell_type"] or "", row.get("runner_up") or ""
    share = row.get("runner_up_share")
    unsure = row.get("unsure")
    return GroupLine(
        name=row["group"] or "",
        cells=int(row["cells"] or 0),
        answer=answer,
        term=row.get("cell_type_ontology_term_id") or None,
        share=_share(row["share"]),
        unsure=int(unsure) if unsure else None,
        runner_up=f"{second} {100 * float(share):.0f} %" if second and share else second,
        text=row.get("text_of_mean_vectors") or "",
    )


def _share(text: str | None) -> float | None:
    value = float(text) if text else math.nan
    return value if 0 <= value <= 1 else None
