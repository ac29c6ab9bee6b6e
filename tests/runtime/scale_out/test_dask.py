"""Describing with the workers of a Dask cluster: the same bytes, whatever is killed."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_process import Completed, make_cells, run_c2t
from tiny_data import BUNDLES

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.output.parts.manifest import check_parts
from c2t.runtime.scale_out import cluster as cluster_module
from c2t.runtime.scale_out import dask_workers as workers_module
from c2t.runtime.scale_out.cluster import Place
from c2t.runtime.scale_out.dask_workers import dask_workers
from c2t.runtime.scale_out.window import AHEAD
from c2t.runtime.system.errors import C2TError

pytest.importorskip("distributed")
from dask_cluster import PROTOCOL, Cluster, dask_cluster

pytestmark = [pytest.mark.slow]
N = 2000
Call = Callable[..., Completed]


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", N)


@pytest.fixture(scope="module")
def expected(cells: Path) -> bytes:
    """What `describe` writes."""
    return describe(cells, cells.with_name("expected.jsonl"))


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Cluster]:
    with dask_cluster(tmp_path, (), ()) as cluster:
        yield cluster


def describe(cells: Path, output: Path, address: str | None = None) -> bytes:
    options = DescribeFileOptions(cells=cells, output=output)
    elsewhere = None if address is None else dask_workers(Place(address=address), print)
    describe_file(
        open_bundle(BUNDLES["mlp"]),
        options,
        stream=io.BytesIO(),
        report=print,
        elsewhere=elsewhere,
    )
    return output.read_bytes()


class KillingStream(io.BytesIO):
    """Takes lines; kills a process when it has a number of them."""

    def __init__(self, process: subprocess.Popen[bytes], lines: int) -> None:
        super().__init__()
        self._process, self._left = process, lines

    def write(self, line: object) -> int:
        self._left -= 1
        if self._left == 0:
            self._process.kill()
            self._process.wait()
        return super().write(line)  # type: ignore[arg-type]


def test_two_workers_one_killed_midway(
    cells: Path, expected: bytes, two: Cluster, tmp_path: Path
) -> None:
    stream = KillingStream(two.workers[0], 300)
    describe_file(
        open_bundle(BUNDLES["mlp"]),
        DescribeFileOptions(cells=cells),
        stream=stream,
        report=print,
        elsewhere=dask_workers(Place(address=two.address), print),
    )
    assert two.workers[0].poll() is not None
    assert two.workers[1].poll() is None
    assert stream.getvalue() == expected
    # The engines of the other one are open: it describes the next file, too.
    assert describe(cells, tmp_path / "again.jsonl", two.address) == expected


def test_processes_of_this_machine(cells: Path, expected: bytes, tmp_path: Path) -> None:
    """In a process of its own: multiprocessing imports the main module again."""
    output = tmp_path / "out.jsonl"
    done = run_c2t("describe", BUNDLES["mlp"], cells, "-o", output, "--dask", "local:2")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == expected
    *_, workers, summary = done.stderr.splitlines()
    assert workers.startswith("2 Dask workers; engine cpu")
    assert summary.startswith(f"described {N:,} cells, 2 of them with an error")


def test_a_lost_scheduler_costs_no_cell(
    cells: Path, expected: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 2)
    output = tmp_path / "out.jsonl"
    journal = tmp_path / ".out.jsonl.partial"
    with dask_cluster(tmp_path, ()) as cluster:
        step = AHEAD

        def lose(answer: object) -> object:
            nonlocal step
            step -= 1
            if step == 0:
                cluster.kill(cluster.scheduler)
            return decode(answer)

        decode = workers_module.decode_answer
        with monkeypatch.context() as patch:
            patch.setattr(workers_module, "decode_answer", lose)
            with pytest.raises(C2TError, match=r"the Dask scheduler at .* was lost") as lost:
                describe(cells, output, cluster.address)
    assert "run the same command again" in lost.value.hint
    assert not output.exists()
    kept = journal.read_bytes().count(b"\n") - 1
    assert 0 < kept < N
    with dask_cluster(tmp_path, ()) as cluster:
        assert describe(cells, output, cluster.address) == expected
    assert not journal.exists()


def test_parts_by_the_command_line(
    cells: Path, two: Cluster, tmp_path: Path, call_c2t: Call
) -> None:
    pytest.importorskip("pyarrow")
    here, there = tmp_path / "here.parts", tmp_path / "there.parts"
    bundle = BUNDLES["mlp"]
    assert call_c2t("describe", bundle, cells, "-o", here).returncode == 0
    done = call_c2t("describe", bundle, cells, "-o", there, "--dask", two.address)
    assert done.returncode == 0, done.stderr
    assert "2 Dask workers; engine cpu" in done.stderr
    assert check_parts(there) == check_parts(here)
    for path in here.iterdir():
        assert (there / path.name).read_bytes() == path.read_bytes()


def test_other_versions_are_refused(
    cells: Path, two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "our_version", lambda: "99.0")
    with pytest.raises(C2TError, match=r"worker tcp://\S+ has c2t \S+, this machine 99\.0"):
        describe(cells, tmp_path / "out.jsonl", two.address)
    assert not list(tmp_path.glob("*out.jsonl*"))


def test_workers_with_a_gpu_get_all_the_work(
    cells: Path, expected: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with dask_cluster(tmp_path, (), ("--resources", "GPU=1")) as cluster:
        assert describe(cells, tmp_path / "out.jsonl", cluster.address) == expected
    assert "1 Dask worker;" in capsys.readouterr().out


def test_no_workers(cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "WORKERS_SECONDS", 1)
    with dask_cluster(tmp_path) as cluster, pytest.raises(C2TError, match="has no workers"):
        describe(cells, tmp_path / "out.jsonl", cluster.address)
    assert not list(tmp_path.glob("*out.jsonl*"))


def tls_settings(folder: Path) -> dict[str, str]:
    """New keys in a folder, and Dask's settings that name them, as variables."""
    from distributed.security import Security

    keys = Security.temporary()
    folder.mkdir()
    (folder / "ca.pem").write_text(keys.tls_ca_file)
    (folder / "key.pem").write_text(keys.tls_client_key + keys.tls_client_cert)
    files = {"CA_FILE": "ca.pem"}
    for who in ("SCHEDULER", "WORKER", "CLIENT"):
        files |= {f"{who}__CERT": "key.pem", f"{who}__KEY": "key.pem"}
    places = {f"DASK_DISTRIBUTED__COMM__TLS__{k}": str(folder / v) for k, v in files.items()}
    return {**places, PROTOCOL: "tls", "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}


def test_a_cluster_with_keys(cells: Path, expected: bytes, tmp_path: Path) -> None:
    """As the README says: `tls://`, with the places of the keys in Dask's own settings."""
    ours, others = tls_settings(tmp_path / "keys"), tls_settings(tmp_path / "others")
    output = tmp_path / "out.jsonl"
    with dask_cluster(tmp_path, (), settings=ours) as cluster:
        words = ("describe", BUNDLES["mlp"], cells, "-o", output, "--dask")
        without_tls = cluster.address.replace("tls", "tcp")
        refused = ((cluster.address, {}), (cluster.address, others), (without_tls, ours))
        for address, settings in refused:
            done = run_c2t(*words, address, env=settings)
            assert done.returncode == 1
            *_, error, hint = done.stderr.splitlines()
            assert error.startswith(f"error: no Dask scheduler can be reached at {address}: ")
            assert hint.startswith("hint: start one with")
            assert not list(tmp_path.glob("*out.jsonl*"))
        done = run_c2t(*words, cluster.address, env=ours)
        assert done.returncode == 0, done.stderr
    assert output.read_bytes() == expected
