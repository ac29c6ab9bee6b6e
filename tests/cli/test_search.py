"""`c2t embed`, `c2t search` and `c2t annotate` on a bundle with a joint space, as programs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_process import run_c2t
from tiny_data import JOINT


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("T cell\nB cell\nmonocyte\n")
    return path


def test_embed_and_search(cells: Path, tmp_path: Path) -> None:
    output = tmp_path / "v.npz"
    done = run_c2t("embed", JOINT, cells, "-o", output, "--limit", 6)
    assert done.returncode == 0, done.stderr
    assert "embedded 6 cells, 2 of them with an error" in done.stderr
    assert np.load(output)["joint"].shape == (6, 20)
    done = run_c2t("search", JOINT, cells, "activated T cells", "a monocyte", "--top", 2)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("activated T cells\n\ncell")
    assert "\na monocyte\n" in done.stdout
    asked = run_c2t("search", JOINT, cells, "a monocyte", "--top", 3, "--json")
    found = json.loads(asked.stdout)["found"]
    assert [text["query"] for text in found] == ["a monocyte"]
    best = [cell["score"] for cell in found[0]["cells"]]
    assert best == sorted(best, reverse=True)
    assert len(best) == 3


def test_annotate_by_the_joint_space(cells: Path, labels: Path) -> None:
    done = run_c2t("annotate", JOINT, cells, "--labels", labels)
    assert done.returncode == 0, done.stderr
    assert "read as '{label}'; --label-template" in done.stderr
    first = json.loads(done.stdout.splitlines()[0])
    assert first["mass"] == 1
    assert sum(label["probability"] for label in first["top"]) == pytest.approx(1, abs=1e-4)
    wrong = run_c2t("annotate", JOINT, cells, "--labels", labels, "--label-template", "a cell")
    assert wrong.returncode == 1
    assert "the template of labels is 'a cell'" in wrong.stderr


def test_commands_that_a_bundle_cannot_do_say_which_it_can(
    cells: Path, labels: Path, bundle: Path, tmp_path: Path
) -> None:
    done = run_c2t("search", bundle, cells, "T cell")
    assert done.returncode == 1
    assert "(cell2text) cannot search" in done.stderr
    template = run_c2t("annotate", bundle, cells, "--labels", labels, "--label-template", "{label}")
    assert template.returncode == 1
    assert "a template of labels is for a joint space" in template.stderr
    describe = run_c2t("describe", JOINT, cells, "-o", tmp_path / "d.jsonl")
    assert describe.returncode == 1
    assert "it can embed, search and annotate" in describe.stderr


def test_calibrate_a_joint_space(cells: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: c2t[calibrate]")
    output = tmp_path / "int8"
    count = ("--cells-count", 6, "--gate-cells", 6, "--least-agreement", 0, "--force-gate")
    done = run_c2t("calibrate", JOINT, cells, "-o", output, *count)
    assert done.returncode == 0, done.stderr
    assert "the text tower stays float32" in done.stderr
    assert run_c2t("verify", output).returncode == 0
    found = run_c2t("search", output, cells, "a monocyte", "--top", 2)
    assert found.returncode == 0, found.stderr
