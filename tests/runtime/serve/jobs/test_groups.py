"""Groups of a job: in its files of results as the command writes them, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cell_libraries import pd
from cli_process import random_cells
from serve_jobs import CELLS, OPTIONS, MakeJobs, finish, lines_of, send

from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.serve.jobs.jobs import Jobs
from c2t.runtime.serve.jobs.state import JobState, Reading
from c2t.runtime.serve.room.room import EngineRoom
from c2t.runtime.system.errors import C2TError


@pytest.fixture
def grouped(tmp_path: Path) -> Path:
    adata = random_cells(CELLS)
    adata.obs["louvain"] = pd.Categorical([str(n % 4) if n % 7 else None for n in range(CELLS)])
    path = tmp_path / "grouped.h5ad"
    adata.write_h5ad(path)
    return path


@pytest.fixture
def jobs(make_jobs: MakeJobs) -> Jobs:
    return make_jobs()


def file_of(jobs: Jobs, job: JobState, kind: str) -> Path:
    return jobs.results(job.id, kind)


def test_a_column_groups_a_job_as_the_command_does(
    jobs: Jobs, room: EngineRoom, grouped: Path, tmp_path: Path
) -> None:
    job = finish(jobs, send(jobs, grouped, reading=Reading(group_by="louvain", min_share=0.3)))
    assert job.state == "done", job.problem
    assert job.formats[-1] == "groups"
    assert "9 cells have no value in obs['louvain'] and are in no group" in job.warnings
    options = DescribeFileOptions(
        cells=grouped,
        output=tmp_path / "out.csv",
        describing=OPTIONS,
        groups=GroupOptions(by="louvain", min_share=0.3, text=False),
    )
    describe_file(room.model.bundle, options, stream=io.BytesIO(), report=lambda said: None)
    for kind, name in (("groups", "out.groups.csv"), ("csv", "out.csv")):
        found = file_of(jobs, job, kind)
        assert found.name == name.replace("out", "grouped")
        assert found.read_bytes() == (tmp_path / name).read_bytes()


def test_clusters_of_a_job_outlive_a_restart(make_jobs: MakeJobs, grouped: Path) -> None:
    pytest.importorskip("igraph")
    first = make_jobs()
    job = finish(first, send(first, grouped, reading=Reading(group_by="leiden", resolution=1.0)))
    assert job.state == "done", job.problem
    # The lines of a job are those of its cells; what is kept for the clusters is not told.
    assert b"embedding" not in lines_of(first, job)
    first.close()
    again = make_jobs()
    lines = file_of(again, job, "groups").read_text(encoding="utf-8").splitlines()
    assert lines[1].startswith("0,")
    assert len(lines) > 1


def test_without_groups_there_is_no_such_format(jobs: Jobs, grouped: Path) -> None:
    job = finish(jobs, send(jobs, grouped))
    assert "groups" not in job.formats
    with pytest.raises(C2TError, match="has no results as groups"):
        jobs.results(job.id, "groups")


def test_a_column_that_is_not_there_ends_the_job(jobs: Jobs, grouped: Path) -> None:
    job = finish(jobs, send(jobs, grouped, reading=Reading(group_by="Louvain")))
    assert job.state == "failed"
    assert "grouped.h5ad has no column 'Louvain' in obs to group by" in job.problem
    assert "near ones are: louvain" in job.hint
    assert job.done == 0


@pytest.mark.parametrize("by", [None, "louvain"])
def test_a_resolution_without_clusters_is_refused_at_once(
    jobs: Jobs, grouped: Path, by: str | None
) -> None:
    with pytest.raises(C2TError, match="`resolution` is 2, but no clusters are computed"):
        send(jobs, grouped, reading=Reading(group_by=by, resolution=2.0))
