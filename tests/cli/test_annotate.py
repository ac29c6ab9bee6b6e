"""`c2t annotate` as users call it: formats, calibration, and what is refused before the work."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from cli_process import C2T, ENVIRONMENT, Command, random_cells, run_c2t

LABELS = "label,id\nT cell,CL:0000084\nB cell,CL:0000236\nerythrocyte,\nplatelet,CL:0000233\n"
NAMES = ["T cell", "B cell", "erythrocyte", "platelet"]


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(LABELS)
    return path


def lines(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def texts(column: h5py.Group) -> list[str]:
    """A categorical column; "" for a missing value."""
    names = [*column["categories"].asstr()[:], ""]
    return [names[code] for code in column["codes"][:]]


def test_without_a_file_the_records_are_printed(bundle: Path, cells: Path, labels: Path) -> None:
    done = run_c2t("annotate", bundle, cells, "--labels", labels, "--limit", 7, "--top", 2)
    assert done.returncode == 0, done.stderr
    found = lines(done.stdout)
    assert [line["cell"] for line in found] == [f"cell{i}" for i in range(7)]
    assert found[3]["error"] == "cell is empty"
    assert found[3]["label"] is found[3]["mass"] is None
    best = found[0]
    assert best["label"] == best["top"][0]["label"] in NAMES
    assert best["probability"] == best["top"][0]["probability"] >= best["top"][1]["probability"]
    assert 0 < best["mass"] < 0.5  # its weights are random
    assert len(best["top"]) == 2
    assert "4 labels of" in done.stderr
    assert "in 5 of 7 cells the model would rather say something else" in done.stderr
    assert "annotated 7 cells, 2 of them with an error" in done.stderr


def test_every_format_says_the_same(
    call_c2t: Command, bundle: Path, cells: Path, labels: Path, tmp_path: Path
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("out.jsonl", "out.csv", "out.parquet", "out.h5ad"):
        more = ("--matrix", "m.csv") if name == "out.csv" else ()
        more = ("--matrix", "m.parquet") if name == "out.jsonl" else more
        done = call_c2t(
            "annotate", bundle, cells, "--labels", labels, "-o", name, *more, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    expected = lines((tmp_path / "out.jsonl").read_text())
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    with (tmp_path / "out.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    with (tmp_path / "m.csv").open(newline="") as stream:
        matrix = list(csv.DictReader(stream))
    wide = parquet.read_table(tmp_path / "m.parquet").to_pylist()
    with h5py.File(tmp_path / "out.h5ad") as file:
        shares = file["obsm/c2t_label_probabilities"][:]
        assert file["uns/c2t_labels/labels"].asstr()[:].tolist() == NAMES
        assert file["uns/c2t_labels/ids"].asstr()[:].tolist()[0] == "CL:0000084"
        obs = {name: file[f"obs/{name}"][:] for name in ("c2t_label_probability", "c2t_label_mass")}
        said, ids = (texts(file[f"obs/{name}"]) for name in ("c2t_label", "c2t_label_id"))
        assert "c2t_label" in file["obs"].attrs["column-order"]
    assert shares.shape == (20, 4)
    for number, line in enumerate(expected):
        assert table[number]["label"] == line["label"]
        assert rows[number]["label"] == (line["label"] or "") == said[number]
        assert rows[number]["id"] == (line.get("id") or "") == ids[number]
        if line["label"] is None:
            assert np.isnan(shares[number]).all()
            assert matrix[number]["B cell"] == ""
            assert matrix[number]["cell"] == rows[number]["cell"]
            assert wide[number]["B cell"] is None
            continue
        assert table[number]["label_2"] == line["top"][1]["label"]
        assert obs["c2t_label_probability"][number] == pytest.approx(line["probability"], abs=1e-5)
        assert obs["c2t_label_mass"][number] == pytest.approx(line["mass"], abs=1e-5)
        np.testing.assert_allclose(shares[number].sum(), 1, rtol=1e-5)
        best = NAMES.index(line["label"])
        assert shares[number].argmax() == best
        assert float(matrix[number][line["label"]]) == pytest.approx(shares[number, best], abs=1e-5)
        assert wide[number][line["label"]] == pytest.approx(shares[number, best], abs=1e-5)


def test_anndata_reads_the_copy(
    call_c2t: Command, bundle: Path, cells: Path, labels: Path, tmp_path: Path
) -> None:
    anndata = pytest.importorskip("anndata")
    out = tmp_path / "out.h5ad"
    chosen = ("--cells", "cell2,cell7")
    done = call_c2t("annotate", bundle, cells, "--labels", labels, "-o", out, *chosen)
    assert done.returncode == 0, done.stderr
    read = anndata.read_h5ad(out)
    assert read.obs["c2t_label"].notna().to_numpy().nonzero()[0].tolist() == [2, 7]
    assert read.obs["c2t_label"].dtype == "category"
    shares = read.obsm["c2t_label_probabilities"]
    assert np.isfinite(shares).all(axis=1).nonzero()[0].tolist() == [2, 7]
    assert list(read.uns["c2t_labels"]["labels"]) == NAMES
    # The copy again, with labels that have no ids.
    few, again = tmp_path / "few.txt", tmp_path / "again.h5ad"
    few.write_text("T cell\nB cell\n")
    done = call_c2t("annotate", bundle, out, "--labels", few, "-o", again)
    assert done.returncode == 0, done.stderr
    read = anndata.read_h5ad(again)
    assert read.obs["c2t_label_id"].isna().all()
    assert read.obsm["c2t_label_probabilities"].shape == (20, 2)
    assert list(read.obs.columns).count("c2t_label") == 1


def test_calibrate_on_one_file_and_use_it_for_another(
    call_c2t: Command, bundle: Path, labels: Path, tmp_path: Path
) -> None:
    adata = random_cells(80)
    adata.obs["type"] = ["T", "B cell", "CL:0000233", "other"] * 20
    cells = tmp_path / "cells.h5ad"
    adata.write_h5ad(cells)
    names, saved = tmp_path / "map.json", tmp_path / "calibration.json"
    names.write_text('{"T": "T cell"}')
    fit = ("--calibrate-on", "type", "--label-map", names, "--save-calibration", saved)
    first = tmp_path / "first.jsonl"
    done = call_c2t("annotate", bundle, cells, "--labels", labels, *fit, "-o", first)
    assert done.returncode == 0, done.stderr
    assert "60 of 80 cells have one of the labels" in done.stderr
    assert "'other' (20)" in done.stderr
    calibration = json.loads(saved.read_text())
    assert calibration["cells"] == 59  # one of the two bad cells has a label
    second = tmp_path / "second.jsonl"
    use = ("--calibration", saved)
    done = call_c2t("annotate", bundle, cells, "--labels", labels, *use, "-o", second)
    assert done.returncode == 0, done.stderr
    assert lines(first.read_text()) == lines(second.read_text())
    few = tmp_path / "few.txt"
    few.write_text("T cell\nB cell\n")
    done = call_c2t("annotate", bundle, cells, "--labels", few, *use)
    assert done.returncode == 1
    assert "other labels" in done.stderr


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--labels", "none.txt"), "there is no file none.txt"),
        (("--labels", "empty.txt"), "has no labels"),
        (("--labels", "twice.txt"), "twice"),
        (("--labels", "labels.csv", "--calibrate-on", "nothere"), "no column 'nothere'"),
        (("--labels", "labels.csv", "--save-calibration", "c.json"), "needs --calibrate-on"),
        (("--labels", "labels.csv", "--label-map", "c.json"), "needs --calibrate-on"),
        (("--labels", "labels.csv", "--calibration", "none.json"), "none.json"),
        (
            ("--labels", "labels.csv", "--calibration", "x", "--calibrate-on", "y"),
            "fits another",
        ),
        (("--labels", "labels.csv", "--json"), "--json prints the summary"),
        (("--labels", "labels.csv", "-o", "out.txt"), "no suffix"),
        (("--labels", "labels.csv", "--matrix", "m.h5ad"), "no suffix"),
        (("--labels", "labels.csv", "--matrix", "none/m.csv"), "none"),
        (("--labels", "labels.csv", "-o", "o.csv", "--matrix", "o.csv"), "written twice"),
        (("--labels", "special.txt", "-o", "o.csv"), "keeps for itself"),
        ((), "labels"),
    ],
)
def test_refused_and_nothing_written(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path, more: tuple, problem: str
) -> None:
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "twice.txt").write_text("T cell\nT cell\n")
    (tmp_path / "special.txt").write_text("T cell\n<|eot_id|>\n")
    before = sorted(tmp_path.iterdir())
    done = call_c2t("annotate", bundle, cells, *more, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert problem in done.stderr
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == before
    if more:
        error, hint = done.stderr.splitlines()[-2:]
        assert error.startswith("error: ")
        assert hint.startswith("hint: ")


def test_the_cells_themselves_stay(
    call_c2t: Command, bundle: Path, cells: Path, labels: Path
) -> None:
    before = cells.read_bytes()
    done = call_c2t("annotate", bundle, cells, "--labels", labels, "-o", cells, "--force")
    assert "the file of cells itself" in done.stderr
    assert cells.read_bytes() == before


def test_no_cell_that_can_be_annotated(
    call_c2t: Command, bundle: Path, cells: Path, labels: Path
) -> None:
    done = call_c2t("annotate", bundle, cells, "--labels", labels, "--cells", "cell3")
    assert done.returncode == 1
    assert "no cell of" in done.stderr


def test_lines_come_while_cells_are_annotated(bundle: Path, cells: Path, labels: Path) -> None:
    """A reader that goes away after the first line ends the run, without an error."""
    words = [str(C2T), "annotate", str(bundle), str(cells), "--labels", str(labels)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["cell"] == "cell0"
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert "Traceback" not in said


def test_no_cell_can_be_annotated_and_a_temperature_is_wanted(
    call_c2t: Command, bundle: Path, labels: Path, tmp_path: Path
) -> None:
    adata = random_cells(8)[3:4].copy()  # an empty cell
    adata.obs["type"] = "T cell"
    path = tmp_path / "cells.h5ad"
    adata.write_h5ad(path)
    fit = ("--calibrate-on", "type", "--save-calibration", tmp_path / "c.json")
    done = call_c2t("annotate", bundle, path, "--labels", labels, *fit)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-2].startswith("error: ")
    assert not (tmp_path / "c.json").exists()


def test_a_label_called_cell_and_one_cell(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("cell\n")
    done = call_c2t(
        *("annotate", bundle, cells, "--labels", "labels.txt", "-o", "out.csv"),
        *("--matrix", "m.csv", "--limit", 1),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.csv").read_text().splitlines()[0] == "cell_id,cell"
    assert "1 label of" in done.stderr
    assert "annotated 1 cell," in done.stderr
