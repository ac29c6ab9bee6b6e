"""What the author's own code wrote must be what c2t reads, and what the bundle writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_cell, tiny_checkpoint

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.parity.reference import ReferenceCell, compare_with_reference
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.system.errors import C2TError, CheckpointError, ParityError


def author_cells(count: int = 2) -> list[dict[str, Any]]:
    """Cells as the author of the tiny checkpoint would write them down."""
    loaded = tiny_checkpoint()
    cells = []
    for number in range(count):
        genes = tiny_cell(12 + number, seed=number)
        ids = loaded.model.generate(genes, loaded.prompt, loaded.generation)
        text = loaded.tokenizer.decode(ids, skip_special_tokens=True)
        cells.append({"gene_tokens": genes.tolist(), "token_ids": ids, "text": text})
    return cells


def export(folder: Path, cells: object, output: Path) -> Bundle:
    reference = output.with_suffix(".json")
    reference.write_text(cells if isinstance(cells, str) else json.dumps({"cells": cells}))
    checkpoint = CheckpointOptions(folder=folder)
    return export_bundle(ExportOptions(output=output, reference=reference, checkpoint=checkpoint))


def test_reference_cells_that_agree_become_golden_cells(
    tiny_checkpoint_folder: Path, tmp_path: Path
) -> None:
    cells = author_cells()
    del cells[0]["text"], cells[1]["token_ids"]
    bundle = export(tiny_checkpoint_folder, cells, tmp_path / "bundle")
    golden = bundle.golden.cells
    assert [list(cell.gene_tokens) for cell in golden[:2]] == [c["gene_tokens"] for c in cells]
    assert list(golden[0].token_ids) == cells[0]["token_ids"]
    assert golden[1].text == cells[1]["text"]


@pytest.mark.parametrize("what", ["token_ids", "text"])
def test_a_difference_leaves_nothing(
    tiny_checkpoint_folder: Path, tmp_path: Path, what: str
) -> None:
    cells = author_cells()
    if what == "token_ids":
        cells[1][what][3] = (cells[1][what][3] + 1) % 300
        match = r"reference cell 1: text token 3 is \d+ in the reference, and \d+ by PyTorch"
    else:
        cells[1] = {**cells[1], "token_ids": None, "text": "another text"}
        match = "reference cell 1: the text differs from character"
    with pytest.raises(ParityError, match=match) as caught:
        export(tiny_checkpoint_folder, cells, tmp_path / "bundle")
    assert "alpha" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.json"]


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ("no JSON", r"bundle\.json"),
        ("[]", r"bundle\.json"),
        ([], "has 0 cells"),
        ([{"gene_tokens": [], "token_ids": [1]}], "cell 0 of .* has 0 gene tokens"),
        ([{"gene_tokens": [5] * 500, "text": "x"}], "has 500 gene tokens"),
        ([{"gene_tokens": [5, 5000], "text": "x"}], "gene tokens outside"),
        ([{"gene_tokens": [5, -1], "text": "x"}], "gene tokens outside"),
        ([{"gene_tokens": [5, 6]}], "neither token_ids nor text"),
        ([{"gene_tokens": [5, 6], "token_ids": [9999]}], "text tokens outside"),
        ([{"gene_tokens": ["ENSG1"], "text": "x"}], "gene_tokens"),
    ],
)
def test_reference_cells_that_cannot_be(
    tiny_checkpoint_folder: Path, tmp_path: Path, cells: object, match: str
) -> None:
    with pytest.raises(CheckpointError, match=match):
        export(tiny_checkpoint_folder, cells, tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.json"]


def compare(cell: ReferenceCell, ids: list[int], text: str) -> None:
    compare_with_reference(0, cell, ids, text, writer="somebody", end_tokens=(1, 2))


def test_what_comes_after_the_end_does_not_count() -> None:
    cell = ReferenceCell(gene_tokens=(5,), token_ids=(7, 8, 1, 0, 0), text=" said ")
    compare(cell, [7, 8], "said")
    compare(cell, [7, 8, 2], "said")
    with pytest.raises(ParityError, match="token 2 is the end in the reference, and 9 by somebody"):
        compare(cell, [7, 8, 9], "said more")


def test_where_texts_differ_is_shown() -> None:
    cell = ReferenceCell(gene_tokens=(5,), text="A B cell.")
    with pytest.raises(ParityError, match=r"character 2 on .*\n- reference: 'A B cell\.'"):
        compare(cell, [7], "A T cell.")


def test_the_bundles_own_texts_are_compared_too(
    tiny_checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2t.export import pipeline

    make_manifest = pipeline.make_manifest

    def with_another_prompt(*arguments: Any) -> Any:
        from dataclasses import replace

        manifest = make_manifest(*arguments)
        prompt = replace(manifest.prompt, suffix_ids=manifest.prompt.suffix_ids[:-3])
        return manifest.replace(prompt=prompt)

    monkeypatch.setattr(pipeline, "make_manifest", with_another_prompt)
    with pytest.raises(C2TError, match="by the bundle"):
        export(tiny_checkpoint_folder, author_cells(), tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.json"]
