"""`--audit` on describe and verify; `c2t audit check` and `c2t audit show`."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cell_libraries import needs_anndata
from cli_process import C2T, ENVIRONMENT, Command, make_cells, random_cells
from explain_bundle import with_rules
from tiny_data import BUNDLES
from trail_lines import actions, begun_and_done, lines_of, sha256

from c2t.runtime.audit.texts import TextsHash


def test_describe_says_what_it_did(
    bundle: Path, cells: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    out, trail = tmp_path / "out.jsonl", tmp_path / "trail"
    done = call_c2t("describe", bundle, cells, "-o", out, *places, "--audit-reason", "first use")
    assert done.returncode == 0, done.stderr
    assert actions(trail) == [
        ("describe", action) for action in ("configuration", "start", "chunk", "stop")
    ]
    configuration, start, chunk, stop = (line["details"] for line in lines_of(trail))
    assert configuration["reason"] == "first use"
    assert start["input_sha256"] == sha256(cells)
    assert start["bundle"] == sha256(bundle / "manifest.json")
    assert start["engine"].startswith("onnxruntime-cpu")
    assert start["settings"]["layer"] == "X"
    assert (chunk["first"], chunk["cells"], chunk["failed"]) == (0, 20, 2)
    assert stop["outputs"] == {str(out): sha256(out)}
    # The hash of the texts can be computed again from the output.
    texts = TextsHash()
    for line in out.read_text().splitlines():
        record = json.loads(line)
        texts.add(record["cell"], record["text"], record.get("error"))
    assert chunk["text_sha256"] == stop["text_sha256"] == texts.hexdigest()
    # Nothing new is said of settings that are as before.
    call_c2t("describe", bundle, cells, *places)
    assert [action for _, action in actions(trail)[4:]] == ["start", "chunk", "stop"]
    call_c2t("describe", bundle, cells, *places, "--max-new-tokens", 3)
    changes = lines_of(trail)[7]["details"]["changes"]
    assert changes == {"max_new_tokens": {"previous": "16", "new": "3"}}


def test_annotate_says_what_it_did(
    bundle: Path, cells: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    out, matrix, trail = tmp_path / "out.jsonl", tmp_path / "m.csv", tmp_path / "trail"
    labels = tmp_path / "labels.txt"
    labels.write_text("T cell\nB cell\n")
    call = ("annotate", bundle, cells, "--labels", labels, *places)
    done = call_c2t(*call, "-o", out, "--matrix", matrix, "--audit-reason", "first use")
    assert done.returncode == 0, done.stderr
    configuration = lines_of(trail)[0]
    assert configuration["action"] == "configuration"
    assert configuration["details"]["reason"] == "first use"
    start, stop = begun_and_done(trail, "annotate")
    assert start["input_sha256"] == stop["input_sha256"] == sha256(cells)
    assert start["bundle"] == sha256(bundle / "manifest.json")
    assert start["engine"].startswith("onnxruntime-cpu")
    assert start["settings"]["labels"].startswith("2 of ")
    assert start["settings"]["layer"] == "X"
    assert (stop["cells"], stop["failed"], stop["result"]) == (20, 2, "done")
    assert stop["outputs"] == {str(out): sha256(out), str(matrix): sha256(matrix)}
    # What is printed is hashed, too.
    done = call_c2t(*call)
    again, stop = begun_and_done(trail, "annotate")
    assert stop["outputs"] == {"standard output": hashlib.sha256(done.stdout.encode()).hexdigest()}
    assert again["settings"] == start["settings"]
    labels.write_text("T cell\nplatelet\n")
    call_c2t(*call, "-o", out, "--force")
    other, _ = begun_and_done(trail, "annotate")
    changed = {
        name for name, value in other["settings"].items() if start["settings"][name] != value
    }
    assert changed == {"labels sha256"}
    assert call_c2t(*call, "-o", out).returncode == 1  # it exists
    assert actions(trail)[-1] == ("annotate", "refuse")
    assert call_c2t("audit", "check", trail, *places[2:]).returncode == 0


@pytest.mark.parametrize("group_by", [(), ("--group-by", "kind")])
def test_explain_says_what_it_did(
    tmp_path: Path,
    call_c2t: Command,
    places: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
    group_by: tuple[str, ...],
) -> None:
    bundle = with_rules(shutil.copytree(BUNDLES["mlp"], tmp_path / "tiny"))
    made = random_cells(3)
    made.obs["kind"] = ["a", "b", "a"]
    cells, out, trail = tmp_path / "cells.h5ad", tmp_path / "out.csv", tmp_path / "trail"
    made.write_h5ad(cells)
    call = ("explain", bundle, cells, "--limit", 3, "--runs", 60, *group_by)
    monkeypatch.setenv("C2T_AUDIT", str(trail))
    done = call_c2t(*call, *places[2:], "-o", out)
    assert done.returncode == 0, done.stderr
    start, stop = begun_and_done(trail, "explain")
    assert start["input_sha256"] == sha256(cells)
    assert start["bundle"] == sha256(bundle / "manifest.json")
    assert start["settings"]["runs"] == "60"
    assert start["settings"].get("group by") == (group_by[1] if group_by else None)
    assert stop["outputs"] == {str(out): sha256(out)}
    assert (stop["cells"], stop["result"]) == (3, "done")
    done = call_c2t(*call, *places[2:])
    _, stop = begun_and_done(trail, "explain")
    assert stop["outputs"] == {"standard output": hashlib.sha256(done.stdout.encode()).hexdigest()}
    assert call_c2t(*call, *places[2:], "--field", "mood").returncode == 1
    assert actions(trail)[-1] == ("explain", "refuse")


@needs_anndata
@pytest.mark.parametrize(
    ("by", "more", "expected"),
    [
        (
            "mark",
            ("--min-share", 0.7, "--no-group-text"),
            {"group by": "obs['mark']", "least share": "0.7", "texts of groups": "none"},
        ),
        (
            "leiden",
            ("--resolution", 0.5),
            {
                "group by": "leiden of the encoder's embedding",
                "least share": "0.4",
                "resolution": "0.5",
                "texts of groups": "written",
            },
        ),
    ],
)
def test_groups_and_embeddings_are_said(
    bundle: Path,
    tmp_path: Path,
    call_c2t: Command,
    places: tuple[Any, ...],
    by: str,
    more: tuple[Any, ...],
    expected: dict[str, str],
) -> None:
    pytest.importorskip("pyarrow")
    if by == "leiden":
        pytest.importorskip("igraph")
    adata = random_cells(12)
    adata.obs["mark"] = ["a", "b"] * 6
    cells, out = tmp_path / "marked.h5ad", tmp_path / "out.parts"
    adata.write_h5ad(cells)
    where = ("describe", bundle, cells, "-o", out)
    done = call_c2t(*where, "--group-by", by, *more, "--embedding", *places)
    assert done.returncode == 0, done.stderr
    _, start, *_, stop = (line["details"] for line in lines_of(tmp_path / "trail"))
    settings = start["settings"]
    assert {name: settings.get(name) for name in expected} == expected
    assert settings["embedding in the output"] == "yes"
    written = (out / "manifest.json", out / "groups.csv", out / "cell_groups.parquet")
    assert stop["outputs"] == {str(path): sha256(path) for path in written}
    call_c2t("describe", bundle, cells, *places)
    plain = next(x for x in reversed(lines_of(tmp_path / "trail")) if x["action"] == "start")
    assert plain["details"]["settings"]["embedding in the output"] == "no"
    assert not set(expected) & set(plain["details"]["settings"])


def test_refusals_and_verify(
    bundle: Path, cells: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    trail = tmp_path / "trail"
    assert call_c2t("describe", bundle, tmp_path / "none.h5ad", *places).returncode == 1
    assert call_c2t("describe", tmp_path, cells, *places).returncode == 1
    assert call_c2t("verify", bundle, *places).returncode == 0
    assert call_c2t("verify", tmp_path, *places).returncode == 1
    expected = [("describe", "refuse")] * 2 + [("verify", "verify"), ("verify", "refuse")]
    assert actions(trail) == expected
    lines = lines_of(trail)
    assert "none.h5ad" in lines[0]["details"]["problem"]
    assert lines[2]["details"]["result"] == "2 of 2 golden cells have the expected text"


def test_check_and_show(
    bundle: Path, cells: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    trail, where = tmp_path / "trail", places[2:]
    call_c2t("describe", bundle, cells, *places)
    done = call_c2t("audit", "check", trail, *where)
    assert done.returncode == 0
    assert done.stdout.startswith("4 lines are as they were written, from 20")
    assert done.stderr == ""
    done = call_c2t("audit", "show", trail)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 4
    assert "describe start" in done.stdout
    content = trail.read_bytes()
    lines = content.splitlines(keepends=True)
    trail.write_bytes(content.replace(b'"failed":2', b'"failed":0', 1))
    done = call_c2t("audit", "check", trail, *where)
    assert (done.returncode, done.stdout) == (1, "")
    (error, hint) = done.stderr.splitlines()
    assert error.startswith(f"error: {trail} is not as it was written: line 3 was changed")
    assert hint.startswith("hint: ")
    trail.write_bytes(b"".join([lines[1], lines[3]]))
    done = call_c2t("audit", "check", trail, *where, "--json")
    assert done.returncode == 1
    assert [fault["line"] for fault in json.loads(done.stdout)["faults"]] == [1, 3]
    trail.write_bytes(b"".join(lines[:2]))
    done = call_c2t("audit", "check", trail, *where)
    assert "lines 3 to 4 are cut off from the end" in done.stderr
    # Nothing is described into a trail that was cut.
    out = tmp_path / "out.jsonl"
    done = call_c2t("describe", bundle, cells, *places, "-o", out)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    assert "was changed" in done.stderr
    assert not out.exists()
    assert trail.read_bytes() == b"".join(lines[:2])


def test_bad_keys_and_trails_of_others_in_two_lines(
    bundle: Path, cells: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    trail, where, out = tmp_path / "trail", places[2:], tmp_path / "out"
    call_c2t("verify", bundle, *places)
    content = trail.read_bytes()
    before = set(tmp_path.iterdir())
    commands = (
        ("audit", "check", trail, *where),
        ("verify", bundle, *places),
        ("verify", bundle, "--report", out, *places),
        ("describe", bundle, cells, "-o", out.with_suffix(".jsonl"), *places),
    )
    for key in (secrets.token_hex(32), "no key", ""):
        (tmp_path / "key").write_text(key)
        for command in commands:
            done = call_c2t(*command)
            assert (done.returncode, done.stdout) == (1, "")
            assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
                "error",
                "hint",
            ]
    assert trail.read_bytes() == content
    assert set(tmp_path.iterdir()) == before
    done = call_c2t("audit", "check", tmp_path / "none")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2
    done = call_c2t("audit", "show", cells)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


def test_what_strangers_wrote_is_shown_as_it_is(
    bundle: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    call_c2t("describe", bundle, tmp_path / "a\x1b[31m\nb.h5ad", *places)
    done = call_c2t("audit", "show", tmp_path / "trail")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "\x1b" not in done.stdout


def test_an_interrupted_run_says_so_and_the_next_one_says_what_it_kept(
    bundle: Path, tmp_path: Path, places: tuple[Any, ...], call_c2t: Command
) -> None:
    cells = make_cells(tmp_path / "many.h5ad", 500)
    out, trail = tmp_path / "out.jsonl", tmp_path / "trail"
    command = [C2T, "describe", bundle, cells, "-o", out, *places, "--threads", 1]
    running = subprocess.Popen(
        [str(word) for word in command], env=ENVIRONMENT, stderr=subprocess.PIPE
    )
    journal = tmp_path / ".out.jsonl.partial"
    while running.poll() is None and (
        not journal.exists() or journal.read_bytes().count(b"\n") < 10
    ):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130, said
    # Some cells are there, and have a line.
    *_, chunk, stop = lines_of(trail)
    assert chunk["action"] == "chunk"
    assert stop["action"] == "stop"
    assert stop["details"]["result"] == "not finished: DescribeInterrupted"
    described = journal.read_bytes().count(b"\n") - 1
    done = call_c2t(*command[1:])
    assert done.returncode == 0, done.stderr
    kept = next(x for x in lines_of(trail) if "kept" in x["details"].get("result", ""))
    assert kept["details"]["cells"] == described
    texts = TextsHash()
    for number, line in enumerate(out.read_text().splitlines(), start=1):
        record = json.loads(line)
        texts.add(record["cell"], record["text"], record.get("error"))
        if number == described:
            assert kept["details"]["text_sha256"] == texts.hexdigest()
    assert lines_of(trail)[-1]["details"]["text_sha256"] == texts.hexdigest()
    assert call_c2t("audit", "check", trail, *places[2:]).returncode == 0
