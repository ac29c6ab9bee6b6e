"""The page about results: columns and fields, from the code that writes them."""

from __future__ import annotations

from collections.abc import Iterable

from field_notes import field_notes

from c2t.runtime.output.evidence.rows import CELL_COLUMNS, GROUP_COLUMNS
from c2t.runtime.output.groups_file import COLUMNS as GROUPS_COLUMNS
from c2t.runtime.output.obs import COLUMNS as OBS_COLUMNS
from c2t.runtime.output.obs import UNSURE_COLUMNS
from c2t.runtime.output.obs_extras import EMBEDDING
from c2t.runtime.output.obs_extras import GROUP_COLUMNS as OBS_GROUP_COLUMNS
from c2t.runtime.output.record import FIELDS, GROUP_FIELDS, UNSURE_FIELDS, GroupedRecord, Record

_PAGE = """\
# Results

What is missing is `null` in JSON, empty in `.csv`, and missing in Parquet and `obs`.

## `c2t describe`: .jsonl, .csv, .parquet, .parts

One cell a line, in the order of the file:

{fields}

`.parquet` and `.parts` also hold `embedding` with `--embedding`. `.parts` is a folder: its
[manifest](formats/parts.md).

## `c2t describe`: .h5ad

A copy of the file with columns of `obs`:

{obs}

With a threshold for unsure cells: {unsure}. With groups: {groups_obs}.
`obsm["{embedding}"]` with `--embedding`. `uns["c2t"]` says bundle, engine, settings, how counts and
genes were read, and when. With `--cellxgene` there are
[columns of CELLxGENE's schema](../how-to/fields.md), too.

## `c2t describe --group-by`: NAME.groups.csv

{groups}

[Groups](../how-to/groups.md) says what they hold. `shares` is JSON: all answers of the group.

## `c2t explain`: .csv, .parquet, .jsonl

One gene a row; in JSON, one cell a line with its genes in a list. Of cells:

{evidence}

Of groups:

{group_evidence}

## `c2t report`: .html

One page without scripts. It is made to be read and printed, not to be parsed: take the numbers from
the results themselves.
"""


def output_page() -> dict[str, str]:
    """The page, by its name."""
    notes = field_notes(Record) | field_notes(GroupedRecord)
    fields = [
        f"- `{name}`" + (f": {notes[name]}" if name in notes else "")
        for name in (*FIELDS, *UNSURE_FIELDS, *GROUP_FIELDS)
    ]
    text = _PAGE.format(
        fields="\n".join(fields),
        obs=_list(OBS_COLUMNS),
        unsure=_list(UNSURE_COLUMNS),
        groups_obs=_list(OBS_GROUP_COLUMNS),
        embedding=EMBEDDING,
        groups=_list(GROUPS_COLUMNS),
        evidence=_list(CELL_COLUMNS),
        group_evidence=_list(GROUP_COLUMNS),
    )
    return {"reference/outputs.md": text}


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
