"""The commands on a bundle whose cells are gene sentences, as programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, sp
from cli_process import run_c2t
from tiny_data import SENTENCES

CANNOT = "error: the bundle 'tiny-sentences' (cell2sentence) cannot "
CAN = "hint: it can describe and annotate: see `c2t info`"


@pytest.fixture(scope="module")
def symbols(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cells whose genes have symbols, in two groups."""
    data = anndata.AnnData(sp.csr_matrix(np.array([[3, 2, 0], [0, 1, 9], [0, 0, 0]], np.float32)))
    data.var_names, data.obs_names = ["CD3E", "ACTB", "GAPDH"], ["a", "b", "c"]
    data.obs["sample"] = ["x", "y", "x"]
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    data.write_h5ad(path)
    return path


def test_describe(symbols: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / f"out{suffix}" for suffix in (".jsonl", ".csv", ".h5ad")]
    for output in outputs:
        done = run_c2t("describe", SENTENCES, symbols, "-o", output, "--species", "mouse")
        assert done.returncode == 0, done.stderr
        assert "as they are written: 3 symbols" in done.stderr
        assert "mouse cells" in done.stderr
    lines = [json.loads(line) for line in outputs[0].read_text().splitlines()]
    assert [line["error"] for line in lines] == [None, None, "cell is empty"]
    assert [line["genes_used"] for line in lines] == [2, 2, 0]
    human = run_c2t("describe", SENTENCES, symbols)
    assert "nothing in the file says whether its cells are of human or mouse" in human.stderr
    texts = [json.loads(line)["text"] for line in human.stdout.splitlines()]
    assert texts[:2] != [line["text"] for line in lines][:2]


def test_annotate_and_verify(symbols: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("B cell\nplatelet\n")
    done = run_c2t("annotate", SENTENCES, symbols, "--labels", labels, "--organism", "human")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    verified = run_c2t("verify", SENTENCES)
    assert verified.returncode == 0, verified.stderr
    assert "3 of 3 golden cells have the expected text" in verified.stdout


def test_info_says_what_it_is_for() -> None:
    said = run_c2t("info", SENTENCES).stdout
    for line in (
        "  family       cell2sentence",
        "  tasks        describe, annotate",
        "  inputs       counts of genes; the symbols of the 20 highest",
        "  species      human or mouse",
        "  organism     Homo sapiens (human), Mus musculus (mouse)",
    ):
        assert line in said
    info = json.loads(run_c2t("info", SENTENCES, "--json").stdout)
    assert (info["tasks"], info["context"]) == (["describe", "annotate"], 512)
    assert info["manifest"]["encoder"] is None


def test_what_it_cannot_do_is_refused(symbols: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.h5ad"
    for task, arguments in (
        ("explain", ("explain", SENTENCES, symbols, "--limit", 1)),
        ("embed", ("describe", SENTENCES, symbols, "-o", output, "--embedding")),
        ("embed", ("describe", SENTENCES, symbols, "-o", output, "--group-by", "leiden")),
        ("embed", ("embed", SENTENCES, symbols, "-o", tmp_path / "v.npz")),
        ("search", ("search", SENTENCES, symbols, "a B cell")),
    ):
        done = run_c2t(*arguments)
        assert done.returncode == 1
        assert f"{CANNOT}{task}" in done.stderr
        assert CAN in done.stderr
    done = run_c2t("bench", SENTENCES)
    assert done.returncode == 1
    assert "'tiny-sentences' has no encoder" in done.stderr
    assert not output.exists()


def test_groups_have_no_text_of_their_own(symbols: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    done = run_c2t(
        *("describe", SENTENCES, symbols, "-o", output, "--group-by", "sample"),
        *("--species", "human"),
    )
    assert done.returncode == 0, done.stderr
    assert "groups have no text of their own: the bundle has no encoder" in done.stderr
