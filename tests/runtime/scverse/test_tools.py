"""`c2t.tl`: an AnnData object is filled as a file would be, or refused before the work."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cell_libraries import anndata
from cli_process import Command, random_cells

import c2t
from c2t.runtime.system.errors import C2TError

SHORT = c2t.DescribeOptions(max_new_tokens=6)
LABELS = ["B cell", "T cell", "monocyte"]
CORE = ("description", "confidence", "cell_type_confidence", "error")


@pytest.fixture(scope="module")
def model(tiny_bundle_folder: Path) -> Iterator[c2t.Model]:
    with c2t.open(tiny_bundle_folder, SHORT) as opened:
        yield opened


def described(adata: Any, model: Any, **options: Any) -> Any:
    """Describe; cells 3 and 5 of `random_cells` have errors, which is warned about."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*have an error instead of|.*name of an earlier cell")
        warnings.filterwarnings("ignore", r"genes of the file|.*bundle's genes|.*values")
        return c2t.tl.describe(adata, model, **options)


def test_the_columns_are_those_of_the_command(
    model: c2t.Model, tiny_bundle_folder: Path, call_c2t: Command, tmp_path: Path
) -> None:
    adata = random_cells(12)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "out.h5ad"
    done = call_c2t(
        "describe", tiny_bundle_folder, tmp_path / "cells.h5ad", "-o", out, "--max-new-tokens", 6
    )
    assert done.returncode == 0, done.stderr
    written = anndata.read_h5ad(out)
    assert described(adata, model) is None
    assert set(written.obs.columns) <= set(adata.obs.columns)
    for name in written.obs.columns:
        left, right = adata.obs[name], written.obs[name]
        if left.dtype.kind == "f":
            np.testing.assert_allclose(left, right, atol=1e-5)
        else:
            assert (
                left.astype(object).where(left.notna(), "").tolist()
                == right.astype(object).where(right.notna(), "").tolist()
            ), name
    for name in written.uns["c2t"]:
        if name not in ("cells", "cells_with_errors", "embedding"):
            assert adata.uns["c2t"][name] == written.uns["c2t"][name]
    assert adata.uns["c2t"]["date"].endswith("+00:00")
    for name in ("c2t_cell_type", "c2t_error"):
        assert isinstance(adata.obs[name].dtype, pd.CategoricalDtype)
    adata.write_h5ad(tmp_path / "again.h5ad")
    again = anndata.read_h5ad(tmp_path / "again.h5ad")
    assert again.obs["c2t_description"].tolist() == adata.obs["c2t_description"].tolist()


def test_errors_are_said_and_do_not_cost_the_others(model: c2t.Model) -> None:
    adata = random_cells(12)
    with pytest.warns(UserWarning, match="2 of 12 cells have an error instead of a description"):
        c2t.tl.describe(adata, model)
    errors = adata.obs["c2t_error"].astype(str)
    assert [n for n in range(12) if errors.iloc[n]] == [3, 5]
    assert np.isnan(adata.obs["c2t_confidence"].iloc[3])
    assert adata.obs["c2t_description"].iloc[4]


def test_a_path_is_opened_and_closed_and_a_model_stays_open(
    model: c2t.Model, tiny_bundle_folder: Path
) -> None:
    by_path, by_model = random_cells(3), random_cells(3)
    for path in (tiny_bundle_folder, str(tiny_bundle_folder)):
        described(by_path, path, options=SHORT)
    described(by_model, model)
    described(by_model, model)
    assert by_path.obs["c2t_description"].tolist() == by_model.obs["c2t_description"].tolist()


def test_embeddings_are_the_encoders_own(
    model: c2t.Model, tiny_bundle_folder: Path, call_c2t: Command, tmp_path: Path
) -> None:
    adata = random_cells(8)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    out = tmp_path / "out.h5ad"
    given = ("--max-new-tokens", 6, "--embedding")
    done = call_c2t("describe", tiny_bundle_folder, tmp_path / "cells.h5ad", "-o", out, *given)
    assert done.returncode == 0, done.stderr
    written = anndata.read_h5ad(out)
    described(adata, model)
    assert adata.obsm["X_c2t"].dtype == np.float32
    np.testing.assert_allclose(adata.obsm["X_c2t"], written.obsm["X_c2t"], atol=1e-5)
    assert np.isnan(adata.obsm["X_c2t"][3]).all()
    assert adata.uns["c2t"]["embedding"] == written.uns["c2t"]["embedding"]
    without = random_cells(4)
    described(without, model, embedding=False)
    assert not list(without.obsm)
    assert "embedding" not in without.uns["c2t"]


def test_columns_of_an_earlier_description_do_not_stay(model: c2t.Model) -> None:
    adata = random_cells(4)
    adata.obs["c2t_disease"] = "lupus"
    adata.obs["c2t_mine"] = adata.obs["other_disease"] = "mine"
    adata.uns["c2t"] = {"mine": 1}
    described(adata, model)
    assert "c2t_disease" not in adata.obs or adata.obs["c2t_disease"].isna().all()
    assert "mine" not in adata.uns["c2t"]
    assert set(adata.obs["c2t_mine"]) == set(adata.obs["other_disease"]) == {"mine"}


def test_a_copy_is_filled_and_the_object_stays(model: c2t.Model) -> None:
    adata = random_cells(4)
    made = described(adata, model, copy=True, key_added="mine")
    assert not [name for name in adata.obs if name.startswith("mine")]
    assert "c2t" not in adata.uns
    assert "mine" not in adata.uns
    assert {f"mine_{name}" for name in CORE} <= set(made.obs.columns)
    assert made.uns["mine"]["bundle"] == "tiny"


def test_chosen_cells_alone(model: c2t.Model) -> None:
    adata = random_cells(8)
    described(adata, model, reading=c2t.CellOptions(cells=["cell6", "cell1"]))
    there = [bool(text) for text in adata.obs["c2t_description"]]
    assert [n for n in range(8) if there[n]] == [1, 6]
    whole = random_cells(8)
    described(whole, model)
    for n in (1, 6):
        assert adata.obs["c2t_description"].iloc[n] == whole.obs["c2t_description"].iloc[n]


def test_names_that_repeat(model: c2t.Model) -> None:
    plain, same = random_cells(6), random_cells(6)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Observation names are not unique")
        same.obs_names = ["a", "a", "b", "a", "b", "c"]
        described(same, model)
    described(plain, model)
    assert same.obs["c2t_description"].tolist() == plain.obs["c2t_description"].tolist()


def layer(adata: Any) -> Any:
    adata.layers["counts"] = adata.X.copy()
    adata.X = adata.X.toarray() - 0.5
    return adata


def raw(adata: Any) -> Any:
    adata.raw = adata.copy()
    adata.X = adata.X.toarray() - 0.5
    return adata


def csc(adata: Any) -> Any:
    adata.X = adata.X.tocsc()
    return adata


def dense(adata: Any) -> Any:
    adata.X = adata.X.toarray()
    return adata


@pytest.mark.parametrize("change", [layer, raw, csc, dense])
def test_counts_wherever_they_are(model: c2t.Model, change: Callable[[Any], Any]) -> None:
    plain, other = random_cells(5, seed=2), change(random_cells(5, seed=2))
    described(plain, model)
    described(other, model)
    assert other.obs["c2t_description"].tolist() == plain.obs["c2t_description"].tolist()


def test_gene_options_are_passed_on(model: c2t.Model) -> None:
    adata = random_cells(4)
    plain = random_cells(4)
    adata.var["mine"] = adata.var_names.to_numpy()
    adata.var_names = [f"feature{n}" for n in range(adata.n_vars)]
    described(adata, model, reading=c2t.CellOptions(gene_column="mine", filter_pass=False))
    described(plain, model)
    assert adata.obs["c2t_description"].tolist() == plain.obs["c2t_description"].tolist()
    with pytest.raises(C2TError, match="nothing"):
        c2t.tl.describe(adata, model, reading=c2t.CellOptions(gene_column="nothing"))


def test_a_view_becomes_an_object_of_its_own(model: c2t.Model) -> None:
    adata = random_cells(8)
    view = adata[[6, 1, 4]]
    described(view, model)
    assert not view.is_view
    assert "c2t_description" not in adata.obs
    described(adata, model)
    expected = adata.obs["c2t_description"].iloc[[6, 1, 4]].tolist()
    assert view.obs["c2t_description"].tolist() == expected


def test_backed_objects(model: c2t.Model, tmp_path: Path) -> None:
    path = tmp_path / "cells.h5ad"
    random_cells(5).write_h5ad(path)
    before = path.read_bytes()
    backed, plain = anndata.read_h5ad(path, backed="r"), random_cells(5)
    described(backed, model)
    described(plain, model)
    assert backed.obs["c2t_description"].tolist() == plain.obs["c2t_description"].tolist()
    for refused, options in ((backed[:2], {}), (backed, {"copy": True})):
        with pytest.raises(C2TError, match="backed by a file") as caught:
            c2t.tl.describe(refused, model, **options)
        assert "to_memory" in str(caught.value.hint)
    backed.file.close()
    assert path.read_bytes() == before


@pytest.mark.parametrize("tool", ["describe", "annotate"])
def test_what_is_no_target_is_refused(model: c2t.Model, tool: str) -> None:
    call = getattr(c2t.tl, tool)
    labels = () if tool == "describe" else (LABELS,)
    good = random_cells(2)
    for adata, other, options, words in (
        ("cells.h5ad", model, {}, "is the path"),
        (pd.DataFrame(), model, {}, "DataFrame, not an AnnData"),
        (good, 7, {}, "model is int"),
        (good, "nowhere", {}, "nowhere"),
        (good, model, {"key_added": ""}, "key_added is ''"),
        (good, model, {"key_added": "a/b"}, "key_added is 'a/b'"),
    ):
        with pytest.raises(C2TError, match=words) as caught:
            call(adata, other, *labels, **options)
        assert caught.value.hint
    assert not list(good.obs.columns)
    assert not good.uns


def test_an_interruption_leaves_the_object_as_it_was(
    model: c2t.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    adata = random_cells(4)
    real = c2t.Model.describe

    def stop(self: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        for number, one in enumerate(real(self, *args, **kwargs)):
            if number == 2:
                raise KeyboardInterrupt
            yield one

    monkeypatch.setattr(c2t.Model, "describe", stop)
    with pytest.raises(KeyboardInterrupt):
        c2t.tl.describe(adata, model)
    assert not list(adata.obs.columns)
    assert not adata.uns


def annotated(adata: Any, model: Any, labels: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return c2t.tl.annotate(adata, model, labels, **options)


def test_labels_are_those_of_the_model(model: c2t.Model) -> None:
    adata = random_cells(8)
    annotated(adata, model, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = list(model.annotate(random_cells(8), LABELS))
    matrix = adata.obsm["c2t_label_probabilities"]
    assert matrix.shape == (8, 3)
    assert matrix.dtype == np.float32
    assert adata.uns["c2t_labels"]["labels"].tolist() == LABELS
    for row, cell in enumerate(found):
        if cell.error is not None:
            assert adata.obs["c2t_label_error"].iloc[row] == cell.error
            assert pd.isna(adata.obs["c2t_label"].iloc[row])
            assert np.isnan(matrix[row]).all()
            continue
        assert adata.obs["c2t_label"].iloc[row] == cell.label
        np.testing.assert_allclose(matrix[row], cell.probabilities, atol=1e-5)
        assert adata.obs["c2t_label_mass"].iloc[row] == pytest.approx(cell.mass)
    assert adata.obs["c2t_label"].cat.categories.tolist() == LABELS


def test_that_no_label_fits_is_said(model: c2t.Model) -> None:
    with pytest.warns(UserWarning, match=r"in 3 of 3 cells the model would rather say") as caught:
        list(model.annotate(random_cells(3), ["B cell"]))
    with pytest.warns(UserWarning, match=r"in 3 of 3 cells the model would rather say") as filled:
        c2t.tl.annotate(random_cells(3), model, ["B cell"])
    for found in (caught, filled):
        (said,) = (one for one in found if "would rather" in str(one.message))
        assert said.filename == __file__


def test_labels_from_a_file_with_ids(model: c2t.Model, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("label,id\nB cell,CL:0000236\nT cell,CL:0000084\n")
    adata = random_cells(3)
    annotated(adata, model, path)
    ids = dict(zip(["B cell", "T cell"], ["CL:0000236", "CL:0000084"], strict=True))
    for label, term in zip(adata.obs["c2t_label"], adata.obs["c2t_label_id"], strict=True):
        assert term == ids[label]
    copied = annotated(random_cells(3), model, str(path), copy=True)
    assert copied.uns["c2t_labels"]["ids"].tolist() == list(ids.values())


@pytest.mark.parametrize("labels", [[], ["B cell", "b cell"], [""]])
def test_bad_labels_are_refused(model: c2t.Model, labels: list[str]) -> None:
    adata = random_cells(2)
    with pytest.raises(C2TError):
        c2t.tl.annotate(adata, model, labels)
    assert not list(adata.obs.columns)


def test_notebooks_show_models_and_descriptions(model: c2t.Model, tiny_bundle_folder: Path) -> None:
    html = model._repr_html_()
    assert "tiny" in html
    assert model.bundle.manifest.precision in html
    nasty = c2t.Description(
        cell="<script>alert(1)</script>",
        text="<img src=x onerror=alert(2)>",
        confidence=0.5,
        cell_type_confidence=None,
        genes_used=1,
        error=None,
    )
    several = c2t.Descriptions([nasty] * 25)
    for shown in (nasty._repr_html_(), several._repr_html_()):
        assert "<script" not in shown
        assert "<img" not in shown
        assert "&lt;script&gt;" in shown
    assert "and 5 more cells" in several._repr_html_()
    closed = c2t.open(tiny_bundle_folder)
    closed.close()
    assert "closed" in closed._repr_html_()


def test_the_names_are_public() -> None:
    assert c2t.tl.__all__ == ["annotate", "describe", "explain"]
    assert c2t.pl.__all__ == ["compare", "confidence", "dotplot", "umap"]
    assert {"tl", "pl", "Descriptions"} <= set(c2t.__all__)
    for name in (*c2t.tl.__all__, *c2t.pl.__all__):
        function = getattr(c2t.tl, name, None) or getattr(c2t.pl, name)
        assert "Examples:" in str(function.__doc__)
    assert json.dumps(c2t.tl.__all__)
