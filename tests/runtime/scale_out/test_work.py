"""`(start, stop) → records` in one process, and what a worker refuses. Nothing here needs Dask."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli_process import make_cells
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.output.record import embedding_array
from c2t.runtime.output.text_files import json_line
from c2t.runtime.scale_out.cluster import ClusterError, Place, parse_place
from c2t.runtime.scale_out.job import Failed, Job, Ready, decode_answer, make_job
from c2t.runtime.scale_out.work import Work, describe_range, look
from c2t.runtime.system.errors import BundleError, C2TError, CellFileError

N = 70


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    return make_cells(tmp_path / "cells.h5ad", N)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return shutil.copytree(BUNDLES["mlp"], tmp_path / "bundle")


def job_of(bundle: Path, cells: Path, reading: CellOptions | None = None) -> Job:
    reading, describing = reading or CellOptions(), DescribeOptions(threads=1)
    opened = open_bundle(bundle)
    with open_cells(cells, opened, reading) as reader:
        return make_job(opened, cells, reader, reading=reading, describing=describing)


def described(bundle: Path, cells: Path, reading: CellOptions) -> bytes:
    stream = io.BytesIO()
    describe_file(
        open_bundle(bundle),
        DescribeFileOptions(cells=cells, reading=reading),
        stream=stream,
        report=lambda sentence: None,
    )
    return stream.getvalue()


def test_records_have_the_embedding_where_the_job_keeps_it(bundle: Path, cells: Path) -> None:
    job = job_of(bundle, cells)
    describing = replace(job.describing, embedding=True)
    settings = job.settings | {"embedding": "kept"}
    work = Work(msgspec.structs.replace(job, describing=describing, settings=settings))
    plain = Work(job)
    for record, without in zip(work.records(0, 8), plain.records(0, 8), strict=True):
        vector = embedding_array(record)
        assert (vector is None) == (record.error is not None)
        assert without == replace(record, embedding=None)
    answer = decode_answer(describe_range(work.job.encoded(), 0, 2))
    assert [record.embedding for record in answer.records] == [
        record.embedding for record in work.records(0, 2)
    ]
    work.close()
    plain.close()


@pytest.mark.parametrize(
    "reading", [CellOptions(), CellOptions(cells=["cell7", "cell3", "cell44"])]
)
def test_ranges_are_what_describe_writes(bundle: Path, cells: Path, reading: CellOptions) -> None:
    job = Job.decoded(job_of(bundle, cells, reading).encoded())
    work = Work(job)
    count = work.cells
    cuts = [0, 1, 2, count // 2 + 1, count]
    ranges = list(itertools.pairwise(cuts))
    lines = {}
    for start, stop in [ranges[2], ranges[0], ranges[3], ranges[1]]:  # in no order
        if start < stop:
            lines[start] = b"".join(map(json_line, work.records(start, stop)))
    assert b"".join(lines[start] for start in sorted(lines)) == described(bundle, cells, reading)
    work.close()


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 3), (5, 2), (0, N + 1)])
def test_a_range_outside_the_file(bundle: Path, cells: Path, start: int, stop: int) -> None:
    work = Work(job_of(bundle, cells))
    with pytest.raises(C2TError, match="are asked for") as caught:
        work.records(start, stop)
    assert caught.value.hint == f"give a range within 0 to {N}"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"c2t_version": "99.0"}, C2TError, r"is installed here, not 99\.0"),
        (
            {"bundle_sha256": "0" * 64},
            BundleError,
            r"is another bundle here \(.*, not 000000000000",
        ),
        ({"bundle": "/nowhere/bundle"}, BundleError, "/nowhere/bundle is not a bundle"),
        ({"cells": "/nowhere/cells.h5ad"}, CellFileError, "/nowhere/cells.h5ad"),
        ({"rows_sha256": "0" * 64}, CellFileError, "other cells of .* are chosen here"),
        ({"settings": {"layer": "raw"}}, CellFileError, "layer is X here, not raw"),
        ({"reading": {"cells": ["nobody"]}}, CellFileError, "cells asked for are not in"),
    ],
)
def test_a_worker_that_sees_something_else_refuses(
    bundle: Path, cells: Path, change: dict[str, Any], error: type[C2TError], words: str
) -> None:
    job = msgspec.structs.replace(job_of(bundle, cells), **change)
    with pytest.raises(error, match=words):
        Work(job)
    answer = decode_answer(look(job.encoded()))  # the same as an answer, which names the worker
    assert isinstance(answer, Failed)
    assert answer.where.startswith(f"{os.getpid()} on ")
    assert type(answer.error()) is error
    assert answer.error().problem.startswith(f"worker {answer.where}: ")
    assert answer.hint


def test_files_that_change(bundle: Path, cells: Path) -> None:
    job = job_of(bundle, cells)
    assert isinstance(decode_answer(look(job.encoded())), Ready)
    work = Work(job)
    with (bundle / "golden.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(BundleError, match="has changed since"):
        work.records(0, 4)
    other = msgspec.structs.replace(
        job, cells_mark=replace(job.cells_mark, sha256="0" * 64), describing=DescribeOptions()
    )
    answer = decode_answer(describe_range(other.encoded(), 0, 4))
    assert isinstance(answer, Failed)
    assert "is another file here" in answer.problem


def test_cells_that_change_while_they_are_described(bundle: Path, cells: Path) -> None:
    work = Work(job_of(bundle, cells))
    os.utime(cells, ns=(1, 1))
    with pytest.raises(CellFileError, match="changed while it was described"):
        work.records(0, 4)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"type": "other"}'])
def test_what_is_no_job_and_no_answer(content: bytes) -> None:
    with pytest.raises(C2TError, match="a job cannot be read"):
        Job.decoded(content)
    with pytest.raises(C2TError, match="answer cannot be read"):
        decode_answer(content)
    assert isinstance(decode_answer(look(content)), Failed)


def test_places() -> None:
    assert parse_place("tcp://node1:8786", "auto") == Place(address="tcp://node1:8786")
    assert parse_place("localhost:8786", "auto") == Place(address="localhost:8786")
    assert parse_place("local:1", "cpu") == Place(address="", processes=1)
    assert parse_place("local", "cpu").processes >= 2
    assert parse_place("tls://[fe80::1%eth0]:8786", "cpu").address == "tls://[fe80::1%eth0]:8786"
    wrong = ("", " ", "local:", "local:0", "local:many", "local:99999", "local:-1", "ftp://h:1")
    wrong += ("ucx://h:1", "inproc://x", "tcp://h", "h", "h:x", "h:0", "h:65536", "tcp://h:1\n")
    for text in wrong:
        with pytest.raises(ClusterError):
            parse_place(text, "cpu")


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("tcp://127.0.0.1:1", "no Dask scheduler can be reached at tcp://127.0.0.1:1: "),
        ("127.0.0.1:1", "no Dask scheduler can be reached at tcp://127.0.0.1:1: "),
        (
            "tls://127.0.0.1:1",
            "no Dask scheduler can be reached at tls://127.0.0.1:1: there are no",
        ),
    ],
)
def test_a_scheduler_that_is_not_there(
    bundle: Path,
    cells: Path,
    call_c2t: Any,
    monkeypatch: pytest.MonkeyPatch,
    address: str,
    words: str,
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("c2t.runtime.scale_out.cluster.CONNECT_SECONDS", 0.5)
    before = sorted(cells.parent.iterdir())
    for output in ("out.jsonl", "out.parts"):
        done = call_c2t("describe", bundle, cells, "-o", cells.with_name(output), "--dask", address)
        assert done.returncode == 1
        *_, error, hint = done.stderr.splitlines()
        assert error.startswith(f"error: {words}")
        assert hint.startswith("hint: start one with")
    assert sorted(cells.parent.iterdir()) == before


def test_profile_and_dask(bundle: Path, cells: Path, call_c2t: Any) -> None:
    done = call_c2t("describe", bundle, cells, "--profile", "--dask", "local:1")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --profile shows where the time went here")
