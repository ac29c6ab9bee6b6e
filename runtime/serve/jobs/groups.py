"""The groups of a job: made when its last cell is described, and kept beside its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from c2t.runtime.groups.consensus import Group
from c2t.runtime.groups.labels import GroupLabels
from c2t.runtime.output.grouping import Grouped
from c2t.runtime.output.groups_file import write_groups
from c2t.runtime.serve.jobs.folders import JobFolder, storing
from c2t.runtime.system.checked_read import read_json
from c2t.runtime.system.errors import OutputError
from c2t.runtime.system.files import atomic_file

BYTES_MAX = 1 << 30
HINT = "remove the job, and make it again"


class KeptGroups(msgspec.Struct, frozen=True, kw_only=True):
    """Groups as they are kept.

    Args:
        names: Of the groups.
        codes: The group of each cell, int32, little-endian; -1: none.
        groups: Their answers.
        about: How they were made.
    """

    names: list[str]
    codes: bytes
    groups: tuple[Group, ...]
    about: dict[str, Any]


def keep_groups(folder: JobFolder, grouped: Grouped) -> None:
    """Keep the groups of a job.

    Raises:
        StorageError: The disk is full.
    """
    kept = KeptGroups(
        names=list(grouped.labels.names),
        codes=grouped.labels.codes.astype("<i4").tobytes(),
        groups=grouped.groups,
        about=grouped.about,
    )
    with storing("the groups"), atomic_file(folder.groups, force=True) as temporary:
        temporary.write_bytes(msgspec.json.encode(kept))


def read_groups(folder: JobFolder) -> Grouped:
    """Read them again.

    Raises:
        OutputError: They are damaged.
    """
    kept = read_json(folder.groups, KeptGroups, bytes_max=BYTES_MAX, error=OutputError, hint=HINT)
    codes = np.frombuffer(kept.codes, "<i4").astype(np.int32)
    if codes.size and not (codes.min() >= -1 and codes.max() < len(kept.groups)):
        problem = "the groups of the job are damaged"
        raise OutputError(problem, hint=HINT)
    labels = GroupLabels(kept.names, codes)
    return Grouped(labels=labels, groups=kept.groups, about=kept.about)


def write_group_results(folder: JobFolder, target: Path) -> None:
    """Write the table of the groups, which appears when it is complete.

    Raises:
        OutputError: What was kept is damaged.
        StorageError: The disk is full.
    """
    grouped = read_groups(folder)
    with storing(target.name):
        folder.results.mkdir(mode=0o700, exist_ok=True)
        with atomic_file(target, force=True) as temporary:
            write_groups(temporary, grouped.groups)
