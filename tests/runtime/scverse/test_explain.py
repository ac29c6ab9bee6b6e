"""`c2t.tl.explain`: what the model finds, as a table in the object; which cells is always said."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cell_libraries import anndata
from cli_process import random_cells

import c2t
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import MANIFEST_NAME
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.fields.rules import (
    RULES_NAME,
    RULES_VERSION,
    FieldRules,
    Sentence,
    Step,
    rules_bytes,
)
from c2t.runtime.report.evidence import read_evidence
from c2t.runtime.system.errors import C2TError

FEW = ExplainOptions(runs=48)
SHORT = c2t.DescribeOptions(max_new_tokens=12)
# The small model of tests writes letters: some are taken for a sentence that names a type.
RULES = FieldRules(
    version=RULES_VERSION,
    sentences=(
        Sentence(
            begins=("lP", "This", "q", "l", "s"),
            steps=(Step(field="cell_type", ends=("e", "p", "#")),),
        ),
    ),
)


@pytest.fixture(scope="module")
def model(
    tiny_bundle_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[c2t.Model]:
    folder = shutil.copytree(tiny_bundle_folder, tmp_path_factory.mktemp("rules") / "bundle")
    (folder / RULES_NAME).write_bytes(rules_bytes(RULES))
    manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes())
    names = [*manifest.files, RULES_NAME]
    write_manifest(folder, manifest.replace(files=file_entries(folder, names)))
    with c2t.open(folder) as opened:
        yield opened


def explained(adata: Any, model: Any, *args: Any, **given: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return c2t.tl.explain(adata, model, *args, options=FEW, **given)


def test_the_table_is_what_the_model_finds(model: c2t.Model, tmp_path: Path) -> None:
    adata, chosen = random_cells(20), [0, 1, 2, 7, 8, 9, 10, 11]
    assert explained(adata, model, chosen, n_genes=4) is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = list(model.explain(random_cells(20), FEW, reading=c2t.CellOptions(cells=chosen)))
    table = adata.uns["c2t_evidence"]
    good = [one for one in found if one.error is None]
    assert good, "no text of the small model names a type: choose other rules"
    for one in found:
        rows = table[table["cell"] == one.cell]
        assert rows["gene_id"].tolist() == [gene.gene_id for gene in one.genes[:4]] or [""]
        if one.error is None:
            np.testing.assert_allclose(
                rows["evidence"], [gene.evidence for gene in one.genes[:4]], rtol=1e-6, atol=1e-9
            )
        else:
            assert rows["error"].tolist() == [one.error]
        names = [g.symbol or g.gene_id for g in one.genes if g.direction == "for"][:4]
        assert adata.obs["c2t_evidence"][one.cell] == "; ".join(names)
    assert adata.obs["c2t_evidence"]["cell4"] == ""
    assert adata.uns["c2t_evidence_about"]["explaining"]["runs"] == 48
    adata.write_h5ad(tmp_path / "out.h5ad")
    again = anndata.read_h5ad(tmp_path / "out.h5ad")
    assert again.uns["c2t_evidence"]["gene_id"].tolist() == table["gene_id"].tolist()
    table.to_csv(tmp_path / "evidence.csv", index=False)
    assert set(read_evidence(tmp_path / "evidence.csv")) == {one.words for one in good}


def test_groups_are_sampled(model: c2t.Model) -> None:
    adata = random_cells(12)
    adata.obs["group"] = ["a", "b", "", "a", "b", "a"] * 2
    made = explained(adata, model, groupby="group", per_group=2, copy=True, key_added="why")
    cells = made.uns["why_evidence"]["cell"].unique().tolist()
    groups = [adata.obs["group"][cell] for cell in cells]
    assert sorted(groups) == ["a", "a", "b", "b"]
    assert made.uns["why_evidence_about"]["groupby"] == "group"
    assert "why_evidence" not in adata.uns
    other = explained(adata, model, groupby="group", per_group=2, copy=True)
    assert other.uns["c2t_evidence"]["cell"].unique().tolist() == cells


def test_bad_input_is_refused_before_the_work(model: c2t.Model) -> None:
    adata = random_cells(3)
    adata.obs["none"] = ""
    for given, words in (
        ({}, "neither cells nor groupby"),
        ({"cells": [0], "groupby": "none"}, "both are given"),
        ({"cells": []}, r"cells is \[\]"),
        ({"cells": "cell0"}, "cells is 'cell0'"),
        ({"cells": ["cell9"]}, "cell9"),
        ({"cells": [3]}, "not in"),
        ({"groupby": "nope"}, "no column 'nope'"),
        ({"groupby": "none"}, "no cell of adata is in a group"),
        ({"groupby": "none", "per_group": 0}, "per_group is 0"),
        ({"cells": [0], "n_genes": 0}, "n_genes is 0"),
    ):
        with pytest.raises(C2TError, match=words) as caught:
            c2t.tl.explain(adata, model, **given)
        assert caught.value.hint
    assert list(adata.obs.columns) == ["none"]
    assert not adata.uns
