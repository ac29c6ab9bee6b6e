"""Block hashes of a signed bundle: they bind what runs no less than hashes of whole files do."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed: c2t[trust]")
pytest.importorskip("onnx", reason="onnx is not installed: c2t[gpu]")
from block_hashes import BLOCK, flip, give_blocks, record_hashing, short_blocks
from cli_process import make_cells
from key_pairs import KeyPair
from tiny_data import BUNDLES
from trust_checks import refused

from c2t.runtime.bench import bundle_bench
from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.commands.bench import bench
from c2t.runtime.commands.sign import sign
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.engines.built.half_graphs import open_half_graphs
from c2t.runtime.scale_out.job import Job, make_job
from c2t.runtime.scale_out.work import Work
from c2t.runtime.system.errors import BundleError, EngineError
from c2t.runtime.trust.envelope import seal
from c2t.runtime.trust.keys import SigningKey
from c2t.runtime.trust.statement import write_statement

DATA = "decoder.onnx.data"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with block hashes, not signed yet."""
    short_blocks(monkeypatch)
    return give_blocks(shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny"))


def sign_whole_files(folder: Path, keys: KeyPair) -> None:
    """As tools do that know nothing of manifests."""
    files = {path.name: sha256_of(path) for path in folder.iterdir()}
    content = seal(write_statement(folder.name, files), SigningKey.read(keys.private))
    (folder / "model.sig").write_bytes(content)


def of_two_contents(folder: Path) -> tuple[bytes, bytes]:
    """A manifest whose whole hash is of one content, and whose blocks are of another."""
    one = (folder / DATA).read_bytes()
    flip(folder / DATA, 7)
    other = (folder / DATA).read_bytes()
    document = json.loads((folder / "manifest.json").read_bytes())
    hashes = document["files"][DATA]["blocks"]["sha256"]
    hashes[0] = hashlib.sha256(other[:BLOCK]).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(document))
    return one, other


def test_blocks_suffice_where_c2t_signed(
    folder: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign(folder, keys.private)
    for verify in (True, False):
        hashed = record_hashing(monkeypatch)
        bundle = open_bundle(folder, trust=keys.public, verify=verify)
        _ = bundle.token_embedding
        assert not any(part.is_whole for part in hashed if part.name == DATA)
        assert len([part for part in hashed if part.name == DATA]) == (15 if verify else 7)
    flip(folder / DATA, 73_727)
    with pytest.raises(BundleError, match="SHA-256 differs"):
        _ = open_bundle(folder, trust=keys.public, verify=False).token_embedding


def test_the_list_is_signed(folder: Path, keys: KeyPair) -> None:
    """Who changes a byte can make its block's hash fit, but not the signature of the manifest."""
    sign(folder, keys.private)
    of_two_contents(folder)
    open_bundle(folder)
    refused(folder, keys.public, r"not what was signed: manifest\.json")
    refused(folder, keys.public, r"not what was signed: manifest\.json", verify=False)


def test_a_signature_of_whole_files_binds_whole_files(
    folder: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_whole_files(folder, keys)
    hashed = record_hashing(monkeypatch)
    _ = open_bundle(folder, trust=keys.public, verify=False).token_embedding
    assert [part.is_whole for part in hashed if part.name == DATA].count(True) == 1


@pytest.mark.parametrize("verify", [True, False])
def test_a_manifest_of_two_contents(folder: Path, keys: KeyPair, verify: bool) -> None:
    """Signed as a whole with one of them, nothing is read of the other, and no graph runs."""
    one, other = of_two_contents(folder)
    (folder / DATA).write_bytes(one)
    sign_whole_files(folder, keys)
    for content in (one, other):
        (folder / DATA).write_bytes(content)
        with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
            open_bundle(folder, trust=keys.public, verify=verify).file("decoder.onnx")
    with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
        _ = open_bundle(folder, trust=keys.public, verify=verify).token_embedding


def test_a_manifest_of_two_contents_and_its_workers(
    folder: Path, keys: KeyPair, tmp_path: Path
) -> None:
    """A worker has no key: what the signature binds comes with the job."""
    one, other = of_two_contents(folder)
    (folder / DATA).write_bytes(one)
    sign_whole_files(folder, keys)
    opened = open_bundle(folder, trust=keys.public, verify=False)
    cells, reading = make_cells(tmp_path / "cells.h5ad", 3), CellOptions()
    with open_cells(cells, opened, reading) as reader:
        describing = DescribeOptions(threads=1)
        job = make_job(opened, cells, reader, reading=reading, describing=describing)
    assert Job.decoded(job.encoded()) == job
    for content in (one, other):
        (folder / DATA).write_bytes(content)
        with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
            Work(job)


def test_nothing_runs_before_a_signed_bundle_was_hashed(
    folder: Path, keys: KeyPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`c2t bench` opens it in other processes, which hash nothing."""
    sign(folder, keys.private)
    flip(folder / DATA, 73_727)
    monkeypatch.setattr(bundle_bench, "measure_fresh", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
        bench(str(folder), trust=keys.public, limit=1, repeats=1)


def test_c2t_does_not_sign_a_manifest_of_two_contents(folder: Path, keys: KeyPair) -> None:
    for content in of_two_contents(folder):
        (folder / DATA).write_bytes(content)
        with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
            sign(folder, keys.private)
    assert not (folder / "model.sig").exists()


def test_nobody_else_can_say_that_blocks_were_compared(folder: Path, keys: KeyPair) -> None:
    sign_whole_files(folder, keys)
    path = folder / "model.sig"
    document = json.loads(path.read_bytes())
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    statement["predicate"]["c2t_blocks_compared"] = True
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    document["dsseEnvelope"]["payload"] = payload
    path.write_text(json.dumps(document))
    refused(folder, keys.public, "signature")


def test_model_signing_accepts_the_field(folder: Path, keys: KeyPair) -> None:
    verifying = pytest.importorskip("model_signing.verifying", reason="not installed")
    sign(folder, keys.private)
    config = verifying.Config().use_elliptic_key_verifier(public_key=keys.public)
    config.verify(folder, folder / "model.sig")


def test_half_precision_graphs_of_a_signed_bundle(
    folder: Path, keys: KeyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their record has blocks, too; a signature of theirs is one of whole files."""
    sign(folder, keys.private)
    trusted, plain = open_bundle(folder, trust=keys.public), open_bundle(folder)
    built = Path(build_half_graphs(trusted, HalfGraphsOptions(cache=tmp_path / "built")).folder)
    sign(built, keys.private)
    for bundle, wholes in ((plain, 0), (trusted, 1)):
        hashed = record_hashing(monkeypatch)
        assert open_half_graphs(bundle, built.parent) == built
        assert len([p for p in hashed if p.name == DATA and p.is_whole]) == wholes
        assert len([p for p in hashed if p.name == DATA and not p.is_whole]) > 1
    record = json.loads((built / "plans.json").read_bytes())
    flip(built / DATA, 7)
    blocks = record["files"][DATA]["blocks"]["sha256"]
    blocks[0] = hashlib.sha256((built / DATA).read_bytes()[:BLOCK]).hexdigest()
    (built / "plans.json").write_text(json.dumps(record))
    sign(built, keys.private, force=True)
    with pytest.raises(EngineError, match=f"{DATA} was changed since it was built"):
        open_half_graphs(trusted, built.parent)
    record["files"][DATA]["blocks"]["sha256"].pop()
    (built / "plans.json").write_text(json.dumps(record))
    with pytest.raises(EngineError, match=f"{DATA} has .* hashes of blocks") as caught:
        open_half_graphs(plain, built.parent)
    assert caught.value.hint
