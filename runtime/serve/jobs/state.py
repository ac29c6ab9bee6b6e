"""What a job is, as doors tell it: its state, and the events by which it changes.

One decision: the number of an event follows from how many cells are done, not from a log. So a
listener that comes back with the last number it saw goes on there, also after a restart.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from c2t.runtime.cells.options import CellOptions
from c2t.runtime.groups.options import LEIDEN, MIN_SHARE, RESOLUTION_MAX, GroupOptions
from c2t.runtime.serve.room.messages import Settings
from c2t.runtime.system.errors import C2TError

Status = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED: tuple[Status, ...] = ("done", "failed", "cancelled")
ResultFormat = Literal["jsonl", "csv", "parquet", "h5ad", "groups"]
PATH_BYTES_MAX = 4096
IDS_MAX = 200_000  # cells that a job may ask for by name

Name = Annotated[str, Meta(min_length=1, max_length=256)]


class Reading(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How to read a file of cells, which of its cells, and how to group them.

    As of `c2t describe`. The table of orthologues lies where the service runs, in a folder that it
    was allowed.
    """

    part: Name | None = None
    layer: Name | None = None
    gene_column: Name | None = None
    cells: Annotated[tuple[Name, ...], Meta(max_length=IDS_MAX)] | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None
    filter_pass: bool = True
    group_by: Name | None = None
    min_share: Annotated[float, Meta(ge=0, le=1)] = MIN_SHARE
    resolution: Annotated[float, Meta(gt=0, le=RESOLUTION_MAX)] | None = None
    species: Name | None = None
    orthologues: Annotated[str, Meta(min_length=1, max_length=PATH_BYTES_MAX)] | None = None

    def groups(self) -> GroupOptions | None:
        """How the cells are grouped; None: not at all.

        Raises:
            C2TError: A resolution without clusters that are computed.
        """
        if self.resolution is not None and self.group_by != LEIDEN:
            problem = f"`resolution` is {self.resolution:g}, but no clusters are computed"
            raise C2TError(problem, hint=f'set `group_by` to "{LEIDEN}", or leave it out')
        if self.group_by is None:
            return None
        return GroupOptions(
            by=self.group_by, min_share=self.min_share, resolution=self.resolution, text=False
        )

    def options(self, settings: Settings, *, orthologues: Path | None = None) -> CellOptions:
        """The same for the reader of cells, with the settings that are about reading.

        Args:
            settings: Of the job.
            orthologues: Where the table is opened; None: as it was named.

        Raises:
            CellFileError: They contradict each other.
        """
        return CellOptions(
            part=self.part,
            layer=self.layer,
            values=settings.counts_are,
            gene_column=self.gene_column,
            min_coverage=settings.min_coverage,
            organism=settings.organism,
            species=self.species,
            orthologues=self.orthologues if orthologues is None else str(orthologues),
            cells=self.cells,
            limit=self.limit,
            filter_pass=self.filter_pass,
        )


DEFAULT_SETTINGS = Settings()
DEFAULT_READING = Reading()


class JobState(msgspec.Struct, kw_only=True, frozen=True):
    """A job at one moment.

    Args:
        id: Its name: 32 hexadecimal digits.
        state: How far it is. A job that ended does not change any more, unless it is resumed.
        name: Name of the file of cells, without folders.
        source: How its cells came: a file that was sent, a path, or counts in the request.
        settings: How to describe.
        created: When it was made, UTC.
        started: When its cells were first read.
        ended: When it ended.
        expires: When it is removed by itself, at the latest.
        cells: How many cells it has; None until they are read.
        done: Cells whose results can be had.
        failed_cells: Those of them that have an error instead of a text.
        notes: What was found out about the counts and the genes, a sentence each.
        warnings: What is doubtful about the cells.
        problem: Why it failed, else None.
        hint: What to do about it.
        formats: Results that can be had when it has ended.
        event: Number of its latest event.
    """

    id: str
    state: Status
    name: str
    source: Literal["upload", "path", "cells"]
    settings: Settings
    created: datetime
    started: datetime | None = None
    ended: datetime | None = None
    expires: datetime | None = None
    cells: int | None = None
    done: int = 0
    failed_cells: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    problem: str | None = None
    hint: str | None = None
    formats: tuple[ResultFormat, ...] = ()
    event: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it changes no more."""
        return self.state in ENDED


class JobEvent(msgspec.Struct, kw_only=True, frozen=True):
    """Something that happened to a job.

    Args:
        id: Its number, larger than those of all events before; see `Jobs.events`.
        event: "cells": more results can be had, `count` of them from `first` on; "progress": the
            job's numbers; else how it ended, which is the last event.
        job: The job after it; None for "cells".
        first: Of "cells".
        count: Of "cells".
    """

    id: int
    event: Literal["cells", "progress", "done", "failed", "cancelled"]
    job: JobState | None = None
    first: int | None = None
    count: int | None = None


def now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)
