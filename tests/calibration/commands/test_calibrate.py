"""`c2t calibrate` from the command line."""

from __future__ import annotations

from cli_process import make_cells

SMALL = ("--cells-count", 8, "--gate-cells", 4, "--threads", 1)
# Random weights have no certain choices: agreement of their texts says nothing.
ANYTHING = ("--least-agreement", 0)


def test_an_int8_bundle_describes(bundle, cells, tmp_path, call_c2t):
    int8 = tmp_path / "int8"
    done = call_c2t("calibrate", bundle, cells, "-o", int8, *SMALL, *ANYTHING)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "calibrating on 8 cells" in done.stderr
    assert "0 linear layers left in float32" in done.stderr
    assert call_c2t("verify", int8).returncode == 0
    assert "int8" in call_c2t("info", int8).stdout
    described = call_c2t("describe", int8, cells)
    assert described.returncode == 0
    assert len(described.stdout.splitlines()) == 20


def test_errors_are_two_lines(bundle, cells, tmp_path, call_c2t):
    few = make_cells(tmp_path / "few.h5ad", 3)
    int8 = tmp_path / "int8"
    for arguments, problem in (
        ((bundle, few), "error: 3 cells are too few"),
        ((bundle, cells, "--label-column", "kind"), "no column 'kind' of cell types"),
        ((bundle, cells, "--least-agreement", 100, *SMALL, "--precision", "int4-weights"), "gate"),
    ):
        done = call_c2t("calibrate", *arguments, "-o", int8)
        assert done.returncode == 1
        *_, error, hint = done.stderr.splitlines()
        assert error.startswith("error: ")
        assert problem in error
        assert hint.startswith("hint: ")
        assert not int8.exists()


def test_options_are_refused_before_the_bundle_is_opened(tmp_path, call_c2t):
    arguments = ("calibrate", "no-bundle", "no.h5ad", "-o", tmp_path / "x")
    done = call_c2t(*arguments, "--cells-count", 2)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: --cells-count is 2",
        "hint: give at least 4, better 256",
    ]
    done = call_c2t(
        "calibrate", "no-bundle", "no.h5ad", "-o", tmp_path / "x", "--precision", "fp32"
    )
    assert done.returncode == 2
    assert "'fp32' is not one of 'int8', 'int8-weights', 'int4-weights'" in done.stderr
