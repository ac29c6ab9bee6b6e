"""Groups as a table: `NAME.groups.csv`, one line a group, beside the cells' output."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from c2t.runtime.groups.consensus import Group
from c2t.runtime.system.plain_newlines import PlainNewlines

GROUPS_SUFFIX = ".groups.csv"
COLUMNS = (
    "group",
    "cells",
    "errors",
    "unsure",
    "state",
    "cell_type",
    "cell_type_ontology_term_id",
    "share",
    "runner_up",
    "runner_up_ontology_term_id",
    "runner_up_share",
    "median_cell_type_confidence",
    "shares",  # JSON: all answers
    "text_of_mean_vectors",
    "text_cell_type",
)


def groups_path(target: Path) -> Path:
    """Where the groups of an output lie."""
    return target.with_name(f"{target.stem}{GROUPS_SUFFIX}")


def write_groups(path: Path, groups: Iterable[Group]) -> None:
    """Write the table; missing values are empty."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(PlainNewlines(stream))
        writer.writerow(COLUMNS)
        writer.writerows(map(_line, groups))


def _line(group: Group) -> list[Any]:
    runner_up = group.runner_up
    shares: Iterator[dict[str, Any]] = (
        {
            "cell_type": share.cell_type,
            "cell_type_ontology_term_id": share.ontology_id,
            "cells": share.cells,
            "share": share.share,
        }
        for share in group.shares
    )
    return [
        group.name,
        group.cells,
        group.errors,
        group.unsure,
        group.state,
        group.cell_type,
        group.ontology_id,
        group.share,
        runner_up and runner_up.cell_type,
        runner_up and runner_up.ontology_id,
        runner_up and runner_up.share,
        group.median_confidence,
        msgspec.json.encode(list(shares)).decode(),
        group.text,
        group.text_cell_type,
    ]
