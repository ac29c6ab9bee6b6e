"""What is sent or named from outside: bounded, judged, and gone if it is not finished."""

from __future__ import annotations

import os
import stat
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from cli_process import make_cells
from serve_jobs import MakeJobs, finish, send, until_some_are_done

from c2t.runtime.serve.jobs.errors import (
    JobError,
    PathRefusedError,
    StorageError,
    TooLargeError,
)
from c2t.runtime.serve.jobs.inputs.allowed import AllowedFolders
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.system.errors import C2TError, CellFileError

MIB = 1 << 20


def left(jobs: Jobs) -> list[str]:
    """Names of all files in the jobs' folder but its own."""
    found = (path.name for path in jobs.options.folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != "lock" and not name.startswith("state.sqlite3"))


def test_the_folder_is_private(jobs: Jobs) -> None:
    assert stat.S_IMODE(jobs.options.folder.stat().st_mode) == 0o700


def test_a_folder_that_others_may_read_is_closed_only_if_it_is_ours(
    make_jobs: MakeJobs, tmp_path: Path
) -> None:
    theirs = tmp_path / "home"
    theirs.mkdir(mode=0o755)
    (theirs / "letter.txt").write_text("dear")
    with pytest.raises(StorageError, match="holds other files"):
        make_jobs(folder=theirs)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o755
    empty = tmp_path / "empty"
    empty.mkdir(mode=0o755)
    make_jobs(folder=empty)
    assert stat.S_IMODE(empty.stat().st_mode) == 0o700


@pytest.mark.parametrize("how", ["abort", "leave", "raise"])
def test_an_upload_that_is_not_finished_leaves_nothing(
    make_jobs: MakeJobs, cells: Path, how: str
) -> None:
    jobs = make_jobs(stored_bytes=MIB)
    for _ in range(3):  # its bytes are given back
        upload = jobs.create_from_upload("cells.h5ad")
        upload.write(bytes(MIB * 2 // 3))
        assert left(jobs) == ["cells.h5ad"]
        if how == "abort":
            upload.abort()
        elif how == "leave":
            with upload:
                pass
        else:
            with pytest.raises(ZeroDivisionError), upload:
                raise ZeroDivisionError
        assert left(jobs) == []
        with pytest.raises(JobError, match="is over"):
            upload.write(b"more")


def test_an_upload_is_bounded_while_it_comes(make_jobs: MakeJobs) -> None:
    jobs = make_jobs(upload_bytes=MIB)
    with pytest.raises(TooLargeError, match="1,048,576"):
        jobs.create_from_upload("cells.h5ad", size=MIB + 1)
    upload = jobs.create_from_upload("cells.h5ad")
    upload.write(bytes(MIB))
    with pytest.raises(TooLargeError):
        upload.write(b"x")
    assert left(jobs) == []


def test_all_uploads_together_are_bounded(make_jobs: MakeJobs, cells: Path) -> None:
    size = cells.stat().st_size
    jobs = make_jobs(start=False, stored_bytes=2 * size)
    first = send(jobs, cells)
    under_way = jobs.create_from_upload("other.h5ad")
    under_way.write(bytes(size // 2))
    with pytest.raises(StorageError, match="together"):
        send(jobs, cells)
    under_way.abort()
    send(jobs, cells)
    jobs.close()
    again = make_jobs(start=False, stored_bytes=2 * size)  # counts what is there
    with pytest.raises(StorageError, match="together"):
        send(again, cells)
    again.delete(first.id)
    send(again, cells)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "../up.h5ad", "a/b.h5ad", "c:\\d.h5ad", "a\0b", "a\nb", "é" * 150],
)
def test_names_that_are_paths_are_refused(jobs: Jobs, name: str) -> None:
    with pytest.raises(JobError) as caught:
        jobs.create_from_upload(name)
    assert caught.value.hint
    assert "\n" not in caught.value.problem
    assert left(jobs) == []


def test_what_is_no_file_of_cells_is_refused_by_its_name(jobs: Jobs) -> None:
    with jobs.create_from_upload("cells.h5ad") as upload:
        upload.write(b"PK\3\4" + bytes(1000))
        with pytest.raises(CellFileError) as caught:
            upload.finish()
    assert "cells.h5ad" in caught.value.problem
    assert str(jobs.options.folder) not in str(caught.value)
    assert left(jobs) == []
    assert jobs.recent() == []


def test_a_large_upload_needs_little_memory(jobs: Jobs) -> None:
    block = bytes(MIB)
    tracemalloc.start()
    try:
        with jobs.create_from_upload("cells.h5ad") as upload:
            for _ in range(64):
                upload.write(block)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """An allowed folder, with a folder below, beside a secret."""
    (tmp_path / "lab" / "run").mkdir(parents=True)
    make_cells(tmp_path / "lab" / "run" / "cells.h5ad", 8)
    make_cells(tmp_path / "secret.h5ad", 8)
    return tmp_path / "lab"


def test_a_file_below_an_allowed_folder_is_described(make_jobs: MakeJobs, lab: Path) -> None:
    link = lab / "latest.h5ad"
    link.symlink_to(lab / "run" / "cells.h5ad")
    jobs = make_jobs(allowed=(lab,))
    for path in (lab / "run" / "cells.h5ad", link, lab / "run" / ".." / "run" / "cells.h5ad"):
        job = finish(jobs, jobs.create_from_path(str(path)))
        assert (job.state, job.name) == ("done", "cells.h5ad")


def hostile(lab: Path, kind: str) -> str:
    path = lab / "run" / "hostile.h5ad"
    if kind == "outside":
        return str(lab.parent / "secret.h5ad")
    if kind == "dots":
        return f"{lab}/run/../../secret.h5ad"
    if kind == "link out":
        path.symlink_to(lab.parent / "secret.h5ad")
    elif kind == "folder out":
        (lab / "way").symlink_to(lab.parent)
        return str(lab / "way" / "secret.h5ad")
    elif kind == "neighbour":  # its name begins like the allowed one's
        neighbour = lab.parent / "laboratory"
        neighbour.mkdir()
        return str(make_cells(neighbour / "cells.h5ad", 8))
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "relative":
        return "run/cells.h5ad"
    elif kind == "NUL":
        return f"{lab}/run/cells.h5ad\0.txt"
    elif kind == "the folder itself":
        return str(lab)
    elif kind == "too long":
        return f"{lab}/{'a/' * 5000}cells.h5ad"
    elif kind == "unprintable":
        return str(make_cells(lab / "run" / "a\nb.h5ad", 8))
    elif kind == "process":
        path.symlink_to("/proc/self/environ")
    return str(path)


KINDS = (
    *("outside", "dots", "link out", "folder out", "neighbour", "pipe", "folder", "device"),
    *("loop", "relative", "NUL", "the folder itself", "too long", "process", "nothing there"),
    "unprintable",
)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_paths_are_refused(make_jobs: MakeJobs, lab: Path, kind: str) -> None:
    jobs = make_jobs(allowed=(lab,))
    with pytest.raises(PathRefusedError) as caught:
        jobs.create_from_path(hostile(lab, kind))
    assert caught.value.hint
    assert "\n" not in caught.value.problem
    assert jobs.recent() == []
    assert left(jobs) == []


def test_the_jobs_own_folder_is_never_allowed(make_jobs: MakeJobs, cells: Path) -> None:
    jobs = make_jobs(start=False)
    job = send(jobs, cells)
    folder = jobs.options.folder
    jobs.close()
    again = make_jobs(start=False, allowed=(folder.parent,))
    with pytest.raises(PathRefusedError):
        again.create_from_path(str(folder / "jobs" / job.id / "input" / "cells.h5ad"))


def test_without_allowed_folders_no_path_is_read(jobs: Jobs, cells: Path) -> None:
    with pytest.raises(PathRefusedError) as caught:
        jobs.create_from_path(str(cells))
    assert "--allow-folder" in caught.value.hint


def test_what_is_there_outside_cannot_be_told_from_what_is_not(
    make_jobs: MakeJobs, lab: Path
) -> None:
    jobs = make_jobs(allowed=(lab,))
    problems = []
    for path in (lab.parent / "secret.h5ad", lab.parent / "absent.h5ad"):
        with pytest.raises(PathRefusedError) as caught:
            jobs.create_from_path(str(path))
        problems.append(caught.value.problem.replace(str(path), ""))
    assert problems[0] == problems[1]


def test_a_folder_exchanged_for_a_link_after_it_was_judged_is_not_followed(
    lab: Path, tmp_path: Path
) -> None:
    allowed = AllowedFolders((lab,), private=tmp_path / "state")
    place = allowed.find(str(lab / "run" / "cells.h5ad"))
    (lab / "run").rename(lab / "old")
    (tmp_path / "elsewhere").mkdir()
    make_cells(tmp_path / "elsewhere" / "cells.h5ad", 8)
    (lab / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PathRefusedError), allowed.open(place, tmp_path):
        pass
    # Exchanged between the judgement and the opening: the same links, which nobody follows.
    with pytest.raises(PathRefusedError, match="cannot be opened"):
        allowed._opened(place, str(place))


def test_an_open_file_stays_the_same_when_its_name_is_given_to_another(
    lab: Path, tmp_path: Path
) -> None:
    if not Path("/proc/self/fd").exists():
        pytest.skip("open files have no paths here")
    allowed = AllowedFolders((lab,), private=tmp_path / "state")
    place = allowed.find(str(lab / "run" / "cells.h5ad"))
    before = place.read_bytes()
    with allowed.open(place, tmp_path) as path:
        make_cells(tmp_path / "other.h5ad", 9).replace(place)
        assert path.name == "cells.h5ad"
        assert path.read_bytes() == before
    assert place.read_bytes() != before


def test_a_file_that_became_a_link_is_not_described(make_jobs: MakeJobs, lab: Path) -> None:
    jobs = make_jobs(start=False, allowed=(lab,))
    job = jobs.create_from_path(str(lab / "run" / "cells.h5ad"))
    (lab / "run" / "cells.h5ad").unlink()
    (lab / "run" / "cells.h5ad").symlink_to(lab.parent / "secret.h5ad")
    jobs.start()
    failed = finish(jobs, job)
    assert failed.state == "failed"
    assert failed.problem is not None
    assert "is not in a folder" in failed.problem


def test_the_h5ad_of_a_changed_file_is_refused(make_jobs: MakeJobs, lab: Path) -> None:
    path = lab / "run" / "cells.h5ad"
    jobs = make_jobs(allowed=(lab,))
    job = finish(jobs, jobs.create_from_path(str(path)))
    make_cells(path, 8, seed=3)
    with pytest.raises(C2TError, match=r"cells\.h5ad has changed since it was described"):
        jobs.results(job.id, "h5ad")
    assert jobs.results(job.id, "csv").exists()


def test_a_file_that_changes_while_it_is_described_has_no_results(
    make_jobs: MakeJobs, lab: Path
) -> None:
    path = make_cells(lab / "many.h5ad", 400)
    jobs = make_jobs(allowed=(lab,))
    job = jobs.create_from_path(str(path))
    until_some_are_done(jobs, job)
    assert jobs.get(job.id).state == "running"
    with path.open("r+b") as stream:  # a byte that says nothing to HDF5
        stream.seek(0, os.SEEK_END)
        stream.write(bytes(1))
    failed = finish(jobs, job)
    assert failed.state == "failed"
    assert failed.problem is not None
    assert "many.h5ad changed while it was described" in failed.problem
    assert failed.done == 0
    assert list(jobs.lines(job.id).lines) == []
    assert jobs.events(job.id, after=np.iinfo(np.int64).max)[-1].event == "failed"
