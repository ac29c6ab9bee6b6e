"""What `c2t describe` refuses, and in which words: arguments, paths, changed bundles."""

import os
import shutil
from pathlib import Path

import pytest
from cli_process import Command, random_cells, run_c2t

from c2t.runtime.describe.describer import Describer


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
    """A damaged weight is found last, when all else is right; and nothing opens with it."""
    damaged = shutil.copytree(bundle, tmp_path / "bundle")
    weights = damaged / "decoder.onnx.data"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr("c2t.runtime.bundle.checked_files.LONG_BYTES", len(content) - 1)
    opens = (
        "engines.cpu.open.open_decoder" if not arguments else "describe.describer.choose_engines"
    )
    monkeypatch.setattr(f"c2t.runtime.{opens}", None)
    done = call_c2t("describe", damaged, cells, *arguments)
    assert done.returncode == 1
    assert problem in done.stderr
    assert done.stdout == ""


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
