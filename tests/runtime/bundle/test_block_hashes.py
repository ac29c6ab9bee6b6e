"""Files by blocks: every byte counts, and just what is read is hashed before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from block_hashes import BLOCK, flip, give_blocks, record_hashing, short_blocks
from tiny_data import BUNDLES

import c2t
from c2t.runtime.bundle import checked_files, file_parts, hashes
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.file_parts import BLOCK_BYTES, BLOCKS_MAX, LONG_BYTES, Part, block_bytes
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.system.errors import BundleError

DATA = "decoder.onnx.data"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle whose longest files have block hashes."""
    short_blocks(monkeypatch)
    return give_blocks(shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny"))


def on_use(folder: Path) -> Bundle:
    bundle = open_bundle(folder, verify=False)
    bundle.check_on_use()
    return bundle


def changed_manifest(folder: Path, change: Any) -> None:
    path = folder / "manifest.json"
    document = json.loads(path.read_bytes())
    change(document["files"][DATA])
    path.write_text(json.dumps(document))


def test_long_files_have_them_and_others_do_not(folder: Path) -> None:
    entries = open_bundle(folder).manifest.files
    for name, entry in entries.items():
        content = (folder / name).read_bytes()
        assert entry.sha256 == hashlib.sha256(content).hexdigest()
        assert (entry.blocks is not None) == (len(content) > file_parts.LONG_BYTES)
        if entry.blocks is not None:
            parts = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
            assert entry.blocks.sha256 == tuple(hashlib.sha256(p).hexdigest() for p in parts)
    assert len(entries[DATA].blocks.sha256) == 15
    listed = json.loads((folder / "manifest.json").read_bytes())["files"]
    assert set(listed["golden.json"]) == {"bytes", "sha256"}


def test_real_lengths(tmp_path: Path) -> None:
    lengths = (LONG_BYTES, LONG_BYTES + 1, 2 * LONG_BYTES)
    for length in lengths:
        with (tmp_path / str(length)).open("wb") as file:
            file.truncate(length)
    entries = file_entries(tmp_path, map(str, lengths))
    counts = [len(e.blocks.sha256) if e.blocks else 0 for e in entries.values()]
    assert sorted(counts) == [0, 3, 4]
    assert entries[str(LONG_BYTES + 1)].blocks.sha256[2] == hashlib.sha256(b"\0").hexdigest()


def test_blocks_grow_where_there_would_be_too_many() -> None:
    assert block_bytes(BLOCKS_MAX * BLOCK_BYTES) == BLOCK_BYTES
    assert block_bytes(BLOCKS_MAX * BLOCK_BYTES + 1) == 2 * BLOCK_BYTES


CHECKS: dict[str, Any] = {
    "all": open_bundle,
    "on use": lambda folder: on_use(folder).file("decoder.onnx"),
    "wholly": lambda folder: open_bundle(folder, verify=False).check_hashes(wholly=True),
}


@pytest.mark.parametrize("how", CHECKS)
def test_one_byte_of_each_block(folder: Path, how: str) -> None:
    path = folder / DATA
    length = path.stat().st_size
    places = [*range(0, length, BLOCK), *range(BLOCK - 1, length, BLOCK), length - 1]
    assert len(places) == 30
    for place in places:
        flip(path, place)
        with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}\n") as caught:
            CHECKS[how](folder)
        assert caught.value.hint
        flip(path, place)
    open_bundle(folder)


def test_a_file_that_is_cut_or_longer(folder: Path) -> None:
    path = folder / DATA
    content = path.read_bytes()
    for other in (content[:-1], content[: -(len(content) % BLOCK)], content + b"x"):
        path.write_bytes(other)
        with pytest.raises(BundleError, match=f"{DATA} has .* bytes, expected"):
            open_bundle(folder, verify=False)


@pytest.mark.parametrize("more", [-1, 1, 4096])
def test_a_file_that_is_cut_or_longer_after_it_was_looked_at(folder: Path, more: int) -> None:
    """Blocks end where the manifest says: what was appended would belong to none."""
    path = folder / DATA
    for use in (
        lambda bundle: bundle.check_hashes(),
        lambda bundle: bundle.file("decoder.onnx"),
        lambda bundle: bundle.token_embedding,
    ):
        bundle, length = on_use(folder), path.stat().st_size
        content = path.read_bytes()
        os.truncate(path, length + more)
        with pytest.raises(BundleError, match=DATA):
            use(bundle)
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            lambda blocks: blocks["sha256"].pop(),
            r"has 14 hashes of blocks; its 73,728",
        ),
        (lambda blocks: blocks["sha256"].append("0" * 64), "has 16 hashes of blocks"),
        (lambda blocks: blocks["sha256"].clear(), "has 0 hashes of blocks"),
        (lambda blocks: blocks.update(bytes=4095), f"the blocks of {DATA} have 4,095 bytes"),
        (lambda blocks: blocks.update(bytes=0), "have 0 bytes"),
        (lambda blocks: blocks.update(bytes=-5000), "have -5,000 bytes"),
        (lambda blocks: blocks.update(bytes=1 << 60), "15 hashes of blocks; .* are 1 blocks"),
        (lambda blocks: blocks["sha256"].__setitem__(3, "x" * 64), "a block of .* has no SHA-256"),
        (lambda blocks: blocks["sha256"].__setitem__(3, ""), "a block of .* has no SHA-256"),
    ],
)
def test_a_list_that_does_not_fit_its_file(folder: Path, change: Any, problem: str) -> None:
    changed_manifest(folder, lambda entry: change(entry["blocks"]))
    with pytest.raises(BundleError, match=problem) as caught:
        open_bundle(folder, verify=False)
    assert caught.value.hint
    assert "\n" not in caught.value.problem + caught.value.hint


def test_a_list_that_is_too_long(folder: Path) -> None:
    def change(entry: Any) -> None:
        entry["bytes"] = 4096 * (BLOCKS_MAX + 1)
        entry["blocks"] = {"bytes": 4096, "sha256": ["0" * 64] * (BLOCKS_MAX + 1)}

    changed_manifest(folder, change)
    with pytest.raises(BundleError, match="at most 8,192 are read"):
        open_bundle(folder, verify=False)


def test_one_other_hash_in_the_list(folder: Path) -> None:
    changed_manifest(folder, lambda entry: entry["blocks"]["sha256"].__setitem__(14, "0" * 64))
    with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
        open_bundle(folder)


def test_another_hash_of_the_whole_is_seen_where_all_is_compared(folder: Path) -> None:
    """`c2t verify` and `c2t sign` compare both; what runs is what the blocks say."""
    changed_manifest(folder, lambda entry: entry.update(sha256="0" * 64))
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
        bundle.check_hashes(wholly=True)


def test_a_manifest_without_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of older versions: a tensor has all of its file hashed."""
    changed_manifest(folder, lambda entry: entry.pop("blocks"))
    hashed = record_hashing(monkeypatch)
    bundle = on_use(folder)
    assert DATA not in {part.name for part in hashed}
    _ = bundle.token_embedding
    bundle.file("decoder.onnx")
    assert [part.is_whole for part in hashed if part.name == DATA] == [True]
    flip(folder / DATA, 0)
    with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
        _ = on_use(folder).token_embedding


def test_what_older_versions_look_at_is_as_it_was(folder: Path) -> None:
    """They ignore the field, and compare whole files."""
    with_blocks = json.loads((folder / "manifest.json").read_bytes())
    for entry in with_blocks["files"].values():
        entry.pop("blocks", None)
    without = json.loads((BUNDLES["mlp"] / "manifest.json").read_bytes())
    assert with_blocks["files"] == without["files"]


def test_only_blocks_of_the_tensor_are_hashed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = on_use(folder)
    hashed = record_hashing(monkeypatch)
    reference = bundle.manifest.decoder.token_embedding
    first, last = reference.offset // BLOCK, (73_728 - 1) // BLOCK
    _ = bundle.token_embedding
    _ = bundle.tensor(reference)
    assert [part.start // BLOCK for part in hashed] == [*range(first, last + 1)]
    assert {part.name for part in hashed} == {DATA}
    bundle.file("decoder.onnx")  # the others, once
    assert sorted(part.start for part in hashed if part.name == DATA) == [*range(0, 73_728, BLOCK)]


def test_no_part_of_a_file_is_read_that_was_not_hashed(folder: Path) -> None:
    """One changed byte: whatever reads its block is refused, at first and again."""
    path = folder / DATA
    for place in range(0, 73_728, BLOCK):
        flip(path, place)
        bundle = on_use(folder)
        for offset in range(0, 73_728 - 8, 1000):
            reference = TensorReference(file=DATA, offset=offset, shape=(2,), dtype="float32")
            block = range(offset // BLOCK, (offset + 7) // BLOCK + 1)
            if place // BLOCK in block:
                for _ in range(2):
                    with pytest.raises(BundleError, match="SHA-256 differs"):
                        bundle.tensor(reference)
            else:
                stored = np.frombuffer(path.read_bytes()[offset : offset + 8], np.float32)
                assert bundle.tensor(reference).tobytes() == stored.tobytes()
        with pytest.raises(BundleError, match="SHA-256 differs"):
            bundle.file("decoder.onnx")
        flip(path, place)


def test_a_graph_alone_has_its_data_not_hashed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = on_use(folder)
    hashed = record_hashing(monkeypatch)
    graph = bundle.graph_alone("decoder.onnx")
    assert hashed == []  # the graph is short
    assert len(graph.nodes) > 10
    # Weights of the data file are not there to be read.
    assert not any(isinstance(values, np.memmap) for values in graph.values.values())
    flip(folder / "decoder.onnx", 100)
    with pytest.raises(BundleError, match=r"decoder\.onnx of the bundle has changed since"):
        bundle.graph_alone("decoder.onnx")


def test_a_file_that_changes_between_two_of_its_blocks(folder: Path) -> None:
    bundle = on_use(folder)
    table = bundle.token_embedding
    content = (folder / DATA).read_bytes()
    (folder / DATA).unlink()
    (folder / DATA).write_bytes(content)  # the same bytes: but no longer the file that is mapped
    with pytest.raises(BundleError, match=f"{DATA} of the bundle has changed since"):
        bundle.file("decoder.onnx")
    assert table.shape == (320, 24)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_links_and_pipes_in_place_of_a_file_that_is_not_hashed_yet(folder: Path, kind: str) -> None:
    bundle = on_use(folder)
    (folder / DATA).rename(folder / "other")
    if kind == "link":
        (folder / DATA).symlink_to("other")
    else:
        os.mkfifo(folder / DATA)
    with pytest.raises(BundleError, match=f"cannot read .*{DATA}"):
        _ = bundle.token_embedding


def test_each_byte_is_progress_once(folder: Path) -> None:
    bundle = open_bundle(folder, verify=False)
    for wholly in (False, True):
        counts: list[int] = []
        bundle.check_hashes(wholly=wholly, progress=counts.append)
        assert sum(counts) == bundle.bytes
    counts.clear()
    file_entries(folder, bundle.manifest.files, progress=counts.append)
    assert sum(counts) == bundle.bytes


def test_a_file_that_is_written_to_while_it_is_hashed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hashes._hashed

    def slow(place: Path, part: Any, progress: Any) -> Any:
        found = real(place, part, progress)
        os.utime(place / part.name, ns=(0, part.start + 1))
        return found

    monkeypatch.setattr(hashes, "_hashed", slow)
    with pytest.raises(OSError, match="it is being written to"):
        file_entries(folder, [DATA])
    with pytest.raises(BundleError, match=f"{DATA} of the bundle has changed since"):
        open_bundle(folder)


def test_c2t_open_hashes_long_files_before_they_are_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip(folder / DATA, 0)
    hashed = record_hashing(monkeypatch)
    with c2t.open(folder) as model:
        names = {part.name for part in hashed}
        assert DATA not in names
        assert {"golden.json", "genes.npz", "decoder.onnx"} <= names
        with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
            model.describer()
    with c2t.open(folder, verify=False) as model:
        model.describer()


def test_progress_is_shown_for_long_files_only(folder: Path) -> None:
    shown: list[int] = []

    def showing(total: int) -> Any:
        shown.append(total)
        return checked_files._show_nothing(total)

    bundle = open_bundle(folder, verify=False)
    bundle.check_on_use(showing)
    bundle.file("golden.json")
    assert shown == []
    bundle.file("decoder.onnx")
    assert shown == [73_728]
    bundle.file("decoder.onnx")
    assert shown == [73_728]


def test_thousands_of_blocks_are_not_compared_with_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, compared = 1000, 0
    monkeypatch.setattr(file_parts, "LONG_BYTES", 64)
    monkeypatch.setattr(file_parts, "BLOCK_BYTES", 64)
    (tmp_path / "long").write_bytes(os.urandom(64 * count))
    entries = file_entries(tmp_path, ["long"])
    assert len(entries["long"].blocks.sha256) == count
    real = Part.__eq__

    def counted(part: Part, other: object) -> Any:
        nonlocal compared
        compared += 1
        return real(part, other)

    monkeypatch.setattr(Part, "__eq__", counted)
    states = {"long": hashes.FileState.of(tmp_path / "long")}
    checked_files.CheckedFiles(tmp_path, entries, states, on_use=True).need(["long"])
    assert compared <= 4 * count
