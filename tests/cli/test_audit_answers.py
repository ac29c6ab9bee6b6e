"""`--audit` on embed, search and ask."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ask_bundles import vector_bundle
from cell_libraries import needs_anndata
from cli_process import Command, random_cells
from tiny_data import JOINT, SENTENCES
from trail_lines import actions, begun_and_done, lines_of, sha256


@pytest.fixture
def joint_cells(tmp_path: Path) -> Path:
    cells = random_cells(6)
    cells.obs["kind"] = ["a", "b"] * 3
    cells.write_h5ad(tmp_path / "joint.h5ad")
    return tmp_path / "joint.h5ad"


@needs_anndata
def test_embed_says_what_it_did(
    joint_cells: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    out, trail = tmp_path / "out.npz", tmp_path / "trail"
    call = ("embed", JOINT, joint_cells, "-o", out, *places)
    done = call_c2t(*call, "--audit-reason", "first use")
    assert done.returncode == 0, done.stderr
    assert lines_of(trail)[0]["details"]["reason"] == "first use"
    start, stop = begun_and_done(trail, "embed")
    assert start["input_sha256"] == stop["input_sha256"] == sha256(joint_cells)
    assert start["bundle"] == sha256(JOINT / "manifest.json")
    assert start["engine"].startswith("onnxruntime-cpu")
    assert start["settings"]["layer"] == "X"
    assert (start["cells"], stop["cells"], stop["result"]) == (6, 6, "done")
    assert stop["outputs"] == {str(out): sha256(out)}
    assert call_c2t(*call).returncode == 1  # it exists
    done = call_c2t("embed", SENTENCES, joint_cells, "-o", tmp_path / "none.npz", *places)
    assert done.returncode == 1
    assert actions(trail)[-2:] == [("embed", "refuse")] * 2
    assert "cannot embed" in lines_of(trail)[-1]["details"]["problem"]
    assert call_c2t("audit", "check", trail, *places[2:]).returncode == 0


@needs_anndata
def test_search_says_what_it_did(
    joint_cells: Path,
    tmp_path: Path,
    call_c2t: Command,
    places: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, trail, texts = tmp_path / "out.csv", tmp_path / "trail", ("T cells", "a µ; b")
    call = ("search", JOINT, joint_cells, *texts, "--group-by", "kind", *places[2:])
    monkeypatch.setenv("C2T_AUDIT", str(trail))
    done = call_c2t(*call, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    start, stop = begun_and_done(trail, "search")
    assert start["input_sha256"] == sha256(joint_cells)
    assert start["bundle"] == sha256(JOINT / "manifest.json")
    assert json.loads(start["settings"]["texts"]) == list(texts)
    assert (start["settings"]["group by"], start["settings"]["top"]) == ("kind", "10")
    lines = "".join(
        json.dumps(found, ensure_ascii=False, separators=(",", ":")) + "\n"
        for found in json.loads(done.stdout)["found"]
    )
    printed = hashlib.sha256(lines.encode()).hexdigest()
    assert stop["outputs"] == {str(out): sha256(out), "standard output": printed}
    assert (stop["cells"], stop["result"]) == (6, "done")
    # The same whether tables are printed or JSON, and with a file or without one.
    assert call_c2t(*call).returncode == 0
    assert begun_and_done(trail, "search")[1]["outputs"] == {"standard output": printed}
    assert call_c2t("search", SENTENCES, joint_cells, "x", *places[2:]).returncode == 1
    assert actions(trail)[-1] == ("search", "refuse")
    assert "cannot search" in lines_of(trail)[-1]["details"]["problem"]


def test_ask_says_what_it_did(
    cells: Path, tmp_path: Path, call_c2t: Command, places: tuple[Any, ...]
) -> None:
    bundle, trail = vector_bundle(tmp_path / "asks"), tmp_path / "trail"
    out, question = tmp_path / "out.jsonl", "What cell is it?"
    call = ("ask", bundle, cells, question, "--limit", 3, *places)
    done = call_c2t(*call, "-o", out)
    assert done.returncode == 0, done.stderr
    start, stop = begun_and_done(trail, "ask")
    assert start["input_sha256"] == sha256(cells)
    assert start["bundle"] == sha256(bundle / "manifest.json")
    assert start["settings"]["question"] == question
    assert (stop["cells"], stop["outputs"]) == (3, {str(out): sha256(out)})
    done = call_c2t(*call)
    _, stop = begun_and_done(trail, "ask")
    assert stop["outputs"] == {"standard output": hashlib.sha256(done.stdout.encode()).hexdigest()}
    assert call_c2t("ask", JOINT, cells, question, *places).returncode == 1
    assert actions(trail)[-1] == ("ask", "refuse")
