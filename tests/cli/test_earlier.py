"""What a file of cells has from an earlier run: who replaces a part of it is told."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from cli_process import Command


def test_a_smaller_selection_says_what_the_copy_will_not_have(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "cells.h5ad"
    copied.write_bytes(cells.read_bytes())
    with h5py.File(copied, "r+") as file:
        file["obs"]["label"] = np.array([b"a", b"b"] * 10)
    first = call_c2t(
        *("describe", bundle, copied, "-o", "all.h5ad", "--group-by", "label", "--embedding"),
        cwd=tmp_path,
    )
    assert first.returncode == 0, first.stderr
    assert "earlier run" not in first.stderr
    few = call_c2t("describe", bundle, "all.h5ad", "-o", "few.h5ad", "--limit", 3, cwd=tmp_path)
    assert few.returncode == 0, few.stderr
    with h5py.File(tmp_path / "all.h5ad") as file:
        texts = int((file["obs/c2t_description"].asstr()[:] != "").sum())
    assert texts > 3
    assert f"has descriptions of {texts} cells; the copy will have those of 3" in few.stderr
    assert "has c2t_group, " in few.stderr
    assert "X_c2t of an earlier run; the copy will not" in few.stderr
    again = call_c2t("describe", bundle, "all.h5ad", "-o", "few.csv", "--limit", 3, cwd=tmp_path)
    assert "earlier run" not in again.stderr  # nothing is lost
    whole = ("-o", "new.h5ad", "--group-by", "label", "--embedding")
    again = call_c2t("describe", bundle, "all.h5ad", *whole, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "earlier run" not in again.stderr


def test_a_smaller_selection_says_what_labels_the_copy_will_not_have(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("T cell\nB cell\n")
    first = call_c2t(
        "annotate", bundle, cells, "--labels", "labels.txt", "-o", "all.h5ad", cwd=tmp_path
    )
    assert first.returncode == 0, first.stderr
    assert "earlier run" not in first.stderr
    few = call_c2t(
        *("annotate", bundle, "all.h5ad", "--labels", "labels.txt", "-o", "few.h5ad"),
        *("--limit", 3),
        cwd=tmp_path,
    )
    assert few.returncode == 0, few.stderr
    with h5py.File(tmp_path / "all.h5ad") as file:
        labelled = int((file["obs/c2t_label/codes"][:] >= 0).sum())
    assert labelled > 3
    assert f"has labels of {labelled} cells; the copy will have those of 3" in few.stderr
