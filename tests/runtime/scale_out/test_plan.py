"""The plan of an atlas of 100 million cells, on paper: parts, ranges, a restart, the manifest."""

import itertools

import msgspec
import pytest

from c2t.runtime.output.cells_mark import CellsMark
from c2t.runtime.output.parts.manifest import MANIFEST_FORMAT, PartEntry, PartsManifest
from c2t.runtime.output.parts.plan import PART_CELLS, PartPlan, ranges_left
from c2t.runtime.scale_out.window import AHEAD, in_order, range_cells

ATLAS = 100_000_000


def test_parts_of_an_atlas_cover_all_cells_once() -> None:
    plan = PartPlan(cells=ATLAS)
    parts = list(plan.after(0))
    assert len(parts) == len(plan) == 1526
    assert [part.first for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].first, parts[-1].stop) == (0, ATLAS)
    assert sum(part.cells for part in parts) == ATLAS
    names = [part.name for part in parts]
    assert names == sorted(set(names))
    assert (names[0], names[-1]) == ("part-00000.parquet", "part-01525.parquet")


@pytest.mark.parametrize(
    ("cells", "parts"), [(0, []), (1, [1]), (10, [10]), (11, [10, 1]), (20, [10, 10])]
)
def test_parts_at_the_edges(cells: int, parts: list[int]) -> None:
    plan = PartPlan(cells=cells, part_cells=10)
    assert [part.cells for part in plan.after(0)] == parts
    assert list(plan.after(len(parts))) == []


@pytest.mark.parametrize("lost_at", [0, 1, PART_CELLS, 5 * PART_CELLS + 777, ATLAS - 1, ATLAS])
def test_a_lost_scheduler_leaves_one_part_to_write_again(lost_at: int) -> None:
    """The scheduler is lost when `lost_at` cells are in finished parts and in the journal."""
    plan = PartPlan(cells=ATLAS)
    finished = lost_at // PART_CELLS if lost_at < ATLAS else len(plan)
    left = list(plan.after(finished))
    in_journal = lost_at - finished * PART_CELLS if left else 0
    assert 0 <= in_journal < PART_CELLS
    assert sum(part.cells for part in left) - in_journal == ATLAS - lost_at

    size = range_cells(ATLAS, 100, 512)
    ranges = list(ranges_left(lost_at, ATLAS, size))
    assert [start for start, _ in ranges] == [lost_at, *(stop for _, stop in ranges)][: len(ranges)]
    assert all(start % size == 0 for start, _ in ranges[1:])
    assert sum(stop - start for start, stop in ranges) == ATLAS - lost_at
    # What a run that was never interrupted gives out, but for the piece that was begun.
    whole = set(ranges_left(0, ATLAS, size))
    assert len(set(ranges) - whole) <= 1


def test_what_a_client_holds_of_an_atlas_is_small() -> None:
    workers = 100
    size = range_cells(ATLAS, workers, 512)
    assert size % 256 == 0
    assert AHEAD * workers * size < 2_000_000  # cells whose records wait for their turn, at most
    assert -(-ATLAS // size) < 50_000  # tasks: Dask takes about a millisecond for each
    entries = [
        PartEntry(
            file=part.name,
            first=part.first,
            rows=part.cells,
            bytes=8_000_000,
            sha256="f" * 64,
            failed=part.cells,
            errors={"cell has no counts of known genes": part.cells},
        )
        for part in PartPlan(cells=ATLAS).after(0)
    ]
    manifest = PartsManifest(
        format=MANIFEST_FORMAT,
        c2t_version="1",
        bundle_sha256="b" * 64,
        cells=CellsMark(name="atlas.h5ad", bytes=1 << 40, sha256="c" * 64, changed=1),
        rows=ATLAS,
        rows_sha256="d" * 64,
        failed=ATLAS,
        settings={},
        about={},
        parts=tuple(entries),
    )
    assert len(msgspec.json.encode(manifest)) < 500_000


@pytest.mark.parametrize(
    ("cells", "workers", "at_once", "expected"),
    [
        (20_000, 2, 32, 256),  # a short file: small, so that workers end together
        (ATLAS, 100, 32, 4096),  # an atlas: large
        (20_000, 2, 512, 2048),  # many threads in a worker: enough for all of them
        (1, 1, 32, 256),
    ],
)
def test_size_of_a_range(cells: int, workers: int, at_once: int, expected: int) -> None:
    assert range_cells(cells, workers, at_once) == expected


def test_window_keeps_order_and_is_bounded() -> None:
    out: list[int] = []
    most = 0

    def submit(start: int, stop: int) -> int:
        nonlocal most
        out.append(start)
        most = max(most, len(out))
        return start

    def take(task: int) -> int:
        assert task == out[0]  # the oldest first
        return out.pop(0)

    widths = itertools.cycle([3, 0, 5])
    got = list(in_order(ranges_left(3, 100, 7), submit, take, ahead=lambda: next(widths)))
    assert got == [3, *range(7, 100, 7)]
    assert most <= 5
