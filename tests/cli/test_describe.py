"""`c2t describe` in a process of its own: formats, choices, errors."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from cli_process import ENVIRONMENT, Command, make_cells, random_cells, run_c2t
from unsure_rules import bundle_with, make_rule

from c2t.runtime.describe.describer import Describer


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


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (["--limit", "1", "-o", "out.xlsx"], 1, "no suffix that says what to write", ".parquet"),
        (["-o", "taken.csv"], 1, "taken.csv exists already", "--force"),
        (["-o", "missing/out.csv"], 1, "there is no folder", "mkdir -p"),
        (["--json"], 2, "--json prints the summary", "-o"),
        (["--layer", "nonsense"], 1, "nonsense", ""),
        (["--cells", ","], 1, "no cell ids", "commas"),
    ],
)
def test_errors_are_two_lines(
    call_c2t: Command,
    bundle: Path,
    cells: Path,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    error: str,
    hint: str,
) -> None:
    (tmp_path / "taken.csv").write_text("mine")
    done = call_c2t("describe", bundle, cells, *arguments, cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    told = [x for x in done.stderr.splitlines() if x.startswith(("error: ", "hint: "))]
    assert len(told) == 2
    assert error in told[0]
    assert hint in told[1]
    assert "Traceback" not in done.stderr
    assert (tmp_path / "taken.csv").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["taken.csv"]


def test_a_folder_is_no_file_of_cells(call_c2t: Command, bundle: Path, tmp_path: Path) -> None:
    done = call_c2t("describe", bundle, tmp_path, "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    error, hint = done.stderr.splitlines()[-2:]
    assert error == f"error: {tmp_path} is a folder, not an .h5ad file"
    assert hint.startswith("hint: give one .h5ad file")


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


@pytest.mark.parametrize(
    ("option", "value", "least"),
    [
        ("--batch-size", 0, 1),
        ("--threads", -3, 1),
        ("--max-new-tokens", 0, 1),
        ("--num-beams", 0, 1),
        ("--no-repeat-ngram-size", -1, 0),
    ],
)
def test_a_number_out_of_range_is_wrong_usage(
    call_c2t: Command, option: str, value: int, least: int
) -> None:
    done = call_c2t("describe", "bundle", "cells.h5ad", option, value)
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()
    assert error.startswith(f"error: invalid value for '{option}'")
    assert str(value) in error
    assert str(least) in error
    assert hint == "hint: see `c2t describe --help`"


def test_mistakes_with_paths_are_found_before_the_bundle_is_opened(
    call_c2t: Command, cells: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "taken.csv").touch()
    for arguments, error, hint in (
        (["nope.h5ad"], "no such file: nope.h5ad", "check the path"),
        ([tmp_path], f"{tmp_path} is a folder, not an .h5ad file", "give one .h5ad file"),
        (["pipe"], "pipe is a pipe or a device", "save it to a file first"),
        ([cells, "-o", "out.xlsx"], "out.xlsx has no suffix", "end its name in"),
        ([cells, "-o", "taken.csv"], "taken.csv exists already", "pass --force"),
    ):
        done = call_c2t("describe", "no-bundle", *arguments, cwd=tmp_path)
        assert done.returncode == 1
        told = done.stderr.splitlines()
        assert len(told) == 2
        assert told[0].startswith(f"error: {error}")
        assert told[1].startswith(f"hint: {hint}")


def test_missing_files_are_named(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    done = call_c2t("describe", bundle, tmp_path / "none.h5ad", "-o", tmp_path / "out.csv")
    assert done.returncode == 1
    assert "none.h5ad" in done.stderr
    done = call_c2t("describe", tmp_path, cells)
    assert done.returncode == 1
    assert "is not a bundle" in done.stderr


def test_changed_bundle_is_refused(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for file in bundle.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    data = bytearray((copy / "decoder.onnx.data").read_bytes())
    data[-1] ^= 1
    (copy / "decoder.onnx.data").write_bytes(data)
    done = call_c2t("describe", copy, cells)
    assert done.returncode == 1
    assert "SHA-256 differs): decoder.onnx.data" in done.stderr


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


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--layer", "none"], "none"),
        (["--gene-column", "none"], "none"),
        (["--engine", "tensorrt-ep"], "engine tensorrt-ep does not work here"),
        (["--cells", "nobody"], "nobody"),
        (["--max-new-tokens", "9999"], "9999 new tokens exceed"),
        (["--num-beams", "30000000"], "num_beams is 30,000,000"),
        (["--batch-size", "30000000"], "batch_size is 30,000,000"),
        ([], "SHA-256 differs"),
    ],
)
def test_what_is_wrong_is_said_before_gigabytes_are_hashed(
    call_c2t: Command,
    bundle: Path,
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    problem: str,
) -> None:
    """A damaged weight is found last, when all else is right; and no engine opens before."""
    damaged = shutil.copytree(bundle, tmp_path / "bundle")
    weights = damaged / "decoder.onnx.data"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr("c2t.runtime.output.describe_file.SMALL_FILE", len(content) - 1)
    monkeypatch.setattr("c2t.runtime.describe.describer.choose_engines", None)
    done = call_c2t("describe", damaged, cells, *arguments)
    assert done.returncode == 1
    assert problem in done.stderr
    assert done.stdout == ""


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


def test_control_characters_of_cells_do_not_reach_the_terminal(
    bundle: Path, cells: Path, tmp_path: Path
) -> None:
    adata = random_cells(8)
    adata.obs_names = ["\x1b[2J\rx\nerror: forged", *adata.obs_names[1:]]
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    done = run_c2t("describe", bundle, path, "--cells", "no such cell")
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    assert r"names such as `\x1b[2J\rx" in done.stderr
    assert sum(line.startswith("error:") for line in done.stderr.splitlines()) == 1


@pytest.mark.parametrize("target", ["missing.bin", "other.csv"])
def test_output_through_a_link_with_another_suffix(
    target: str, call_c2t: Command, cells: Path, tmp_path: Path
) -> None:
    (tmp_path / target).touch()
    (tmp_path / "out.jsonl").symlink_to(target)
    done = call_c2t("describe", "no-bundle", cells, "-o", tmp_path / "out.jsonl", "--force")
    assert done.returncode == 1
    assert f"out.jsonl is a link to {tmp_path / target}" in done.stderr


def test_pipe_and_device_as_output(call_c2t: Command, cells: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.csv")
    (tmp_path / "null.csv").symlink_to("/dev/null")
    for name in ("out.csv", "null.csv"):
        done = call_c2t("describe", "no-bundle", cells, "-o", tmp_path / name, "--force")
        assert done.returncode == 1
        assert "is a pipe or a device; a file is to be written there" in done.stderr


@pytest.mark.parametrize("output", [[], ["-o", "out.jsonl"]])
def test_a_bundle_that_is_written_to_meanwhile_leaves_nothing(
    call_c2t: Command,
    bundle: Path,
    cells: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    output: list[str],
) -> None:
    """Its weights are mapped: other bytes are other texts."""
    own = shutil.copytree(bundle, tmp_path / "bundle")
    described = Describer.describe

    def meddled(self: Describer, *arguments: object, **options: object) -> object:
        yield from described(self, *arguments, **options)
        weights = own / "decoder.onnx.data"
        weights.write_bytes(bytes(weights.stat().st_size))

    monkeypatch.setattr(Describer, "describe", meddled)
    done = call_c2t("describe", own, cells, *output, cwd=tmp_path)
    assert done.returncode == 1
    assert "decoder.onnx.data of the bundle has changed since it was checked" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_unsure_cells_are_marked_where_a_threshold_is_in_force(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    stating = bundle_with(make_rule(), bundle, tmp_path / "stating")
    for source, more, marked, sentence in (
        (bundle, (), False, ""),
        (bundle, ("--unsure-below", "0.5"), True, "cell_type_confidence below 0.5"),
        (stating, (), True, "below 0.3 are marked unsure, by the bundle's own"),
        (stating, ("--unsure-below", "auto"), True, "below 0.3 are marked unsure, by the bundle's"),
        (stating, ("--unsure-below", "0.4"), True, "cell_type_probability below 0.4"),
    ):
        out = tmp_path / "out.jsonl"
        done = call_c2t("describe", source, cells, "-o", out, "--force", "--limit", 4, *more)
        assert done.returncode == 0, done.stderr
        assert sentence in done.stderr
        # Random weights name no cell type: no cell has a sure answer, the failed one least of all.
        assert [r.get("unsure") for r in records(out)] == [True if marked else None] * 4


def test_thresholds_that_are_none_are_refused(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    for below, problem, hint, code in (
        ("auto", "states no threshold for unsure cells", "c2t evaluate --fit-unsure", 1),
        ("1.5", "--unsure-below is '1.5'", "from 0 to 1", 2),
        ("often", "--unsure-below is 'often'", '"auto"', 2),
        ("nan", "--unsure-below is 'nan'", "from 0 to 1", 2),
    ):
        out = tmp_path / "out.jsonl"
        done = call_c2t("describe", bundle, cells, "-o", out, "--unsure-below", below)
        assert done.returncode == code
        error, help_ = done.stderr.splitlines()[-2:]
        assert problem in error
        assert hint in help_
        assert list(tmp_path.iterdir()) == []


def test_another_threshold_is_another_run(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path, monkeypatch
) -> None:
    plain = Describer.describe

    def stop(self, *given, **more):
        for number, description in enumerate(plain(self, *given, **more)):
            if number == 3:
                raise KeyboardInterrupt
            yield description

    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(Describer, "describe", stop)
    call_c2t("describe", bundle, cells, "-o", out, "--unsure-below", "0.5")
    monkeypatch.undo()
    done = call_c2t("describe", bundle, cells, "-o", out, "--unsure-below", "0.6")
    assert done.returncode == 1
    assert "unsure below (0.5 (cell_type_confidence), now 0.6" in done.stderr
