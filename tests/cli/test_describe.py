"""`c2t describe` in a process of its own: formats, choices, what is said on the way."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from cli_process import ENVIRONMENT, Command, make_cells, random_cells, run_c2t


def records(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_without_a_file_the_records_are_printed(bundle: Path, cells: Path) -> None:
    done = run_c2t("describe", bundle, cells, "--limit", 7)
    assert done.returncode == 0
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["cell"] for line in lines] == [f"cell{i}" for i in range(7)]
    assert lines[3]["text"] is None
    assert lines[3]["error"] == "cell is empty"
    assert "NaN" in lines[5]["error"]
    assert 0 < lines[0]["confidence"] <= 1
    assert lines[0]["genes_used"] > 10
    assert "raw counts" in done.stderr
    assert "60 of 60 expressed genes known" in done.stderr
    assert "described 7 cells, 2 of them with an error" in done.stderr


def test_summary_as_json_and_nothing_else(bundle: Path, cells: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    done = run_c2t("describe", bundle, cells, "-o", out, "--json")
    summary = json.loads(done.stdout)
    assert (summary["cells"], summary["failed"], summary["resumed"]) == (20, 2, 0)
    assert summary["outputs"] == [str(out)]
    assert len(records(out)) == 20
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_every_format_says_the_same(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("out.jsonl", "out.csv", "out.parquet", "out.h5ad"):
        done = call_c2t("describe", bundle, cells, "-o", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    expected = records(tmp_path / "out.jsonl")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["text"] for row in csv.DictReader(stream)] == [
            r["text"] or "" for r in expected
        ]
    assert parquet.read_table(tmp_path / "out.parquet").to_pylist() == expected
    with h5py.File(tmp_path / "out.h5ad") as file:
        texts = file["obs/c2t_description"].asstr()[:].tolist()
    assert texts == [r["text"] or "" for r in expected]


def test_write_obs_lies_beside_the_cells(call_c2t: Command, bundle: Path, tmp_path: Path) -> None:
    cells = make_cells(tmp_path / "pbmc.h5ad", 8)
    before = cells.read_bytes()
    done = call_c2t("describe", bundle, cells, "--write-obs", "--limit", 2)
    assert done.returncode == 0, done.stderr
    assert cells.read_bytes() == before
    with h5py.File(tmp_path / "pbmc.c2t.h5ad") as copy:
        texts = copy["obs/c2t_description"].asstr()[:]
        assert (texts != "").tolist() == [True, True] + [False] * 6
        about = copy["uns/c2t"]
        assert len(about["bundle_sha256"].asstr()[()]) == 64
        assert about["precision"].asstr()[()] == "fp32"
        assert about["c2t_version"].asstr()[()]
        assert about["generation/num_beams"][()] == 1


def test_chosen_cells(call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path) -> None:
    done = call_c2t("describe", bundle, cells, "--cells", "cell9,cell2")
    assert [json.loads(x)["cell"] for x in done.stdout.splitlines()] == ["cell2", "cell9"]
    (tmp_path / "ids.txt").write_text("cell9\ncell2\n")
    again = call_c2t("describe", bundle, cells, "--cells", tmp_path / "ids.txt")
    assert again.stdout == done.stdout
    done = call_c2t("describe", bundle, cells, "--cells", "cell2,nobody")
    assert done.returncode == 1
    assert "error: 1 of the cells asked for are not in" in done.stderr
    assert "hint: " in done.stderr


def test_generation_options_reach_the_model(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    greedy, short, beams = (tmp_path / f"{name}.jsonl" for name in ("greedy", "short", "beams"))
    call_c2t("describe", bundle, cells, "-o", greedy, "--limit", 3)
    call_c2t("describe", bundle, cells, "-o", short, "--limit", 3, "--max-new-tokens", 4)
    call_c2t("describe", bundle, cells, "-o", beams, "--limit", 3, "--num-beams", 4)
    texts = [[r["text"] for r in records(path)] for path in (greedy, short, beams)]
    assert all(a != b and a.startswith(b[:2]) for a, b in zip(texts[0], texts[1], strict=True))
    assert texts[0] != texts[2]


def test_warnings_are_lines_without_the_place_in_the_code() -> None:
    code = """
import sys, typer, warnings
from c2t.runtime.command_line.run import add_command, run_app

def warn() -> None:
    warnings.warn("slow file", stacklevel=1)

app = typer.Typer()
add_command(app, warn)
sys.argv = ["c2t"]
run_app(app)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "warning: slow file\n")


def test_closed_pipe_is_no_error(bundle: Path, cells: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = run_c2t("describe", bundle, cells, stdout=writer)
    os.close(writer)
    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_records_that_cannot_be_printed(bundle: Path, cells: Path) -> None:
    with Path("/dev/full").open("w") as stream:
        done = run_c2t("describe", bundle, cells, stdout=stream.fileno())
    assert done.returncode == 1
    assert "error: cannot write to standard output: No space left" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_profile_names_every_stage(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    done = call_c2t("describe", bundle, cells, "-o", tmp_path / "out.jsonl", "--profile")
    for stage in ("read", "encode", "embed", "encoder", "projector", "prefill", "decode"):
        assert f"\n{stage} " in done.stderr
    assert "first token after" in done.stderr


def test_a_run_in_which_every_cell_failed_fails(bundle: Path, tmp_path: Path) -> None:
    cells = tmp_path / "cells.h5ad"
    adata = random_cells(6)
    x = adata.X.toarray()
    x[range(6), range(6)] = float("nan")
    x[0] = 0
    adata.X = x
    adata.write_h5ad(cells)
    out = tmp_path / "out.jsonl"
    done = run_c2t("describe", bundle, cells, "-o", out, "--json", "--counts-are", "counts")
    assert done.returncode == 1
    assert len(records(out)) == 6
    assert json.loads(done.stdout)["failed"] == 6
    *_, summary, error, hint = done.stderr.splitlines()
    assert summary.startswith("described 6 cells, 6 of them with an error")
    assert error.startswith(
        f"error: no cell of {cells} could be described; 4 of the 6: cell has 1 NaN"
    )
    assert "--layer" in hint
    assert run_c2t("describe", bundle, cells, "--counts-are", "counts").returncode == 1
