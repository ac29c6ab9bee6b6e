"""`c2t.pl`: whole labels inside the figure, the right colours, axes returned, files saved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from described_cells import GENES, LABELS, TYPES, counts, plane, type_of
from matplotlib import pyplot
from matplotlib.colors import to_hex

import c2t
from c2t.runtime.scverse import figure as figure_module
from c2t.runtime.summary.palette import COLOURS, GREY
from c2t.runtime.system.errors import C2TError

anndata = pytest.importorskip("anndata")

CELLS = 60
LONG = "CD4-positive, CD25-positive, alpha-beta regulatory T cell of the mucosa of the large bowel"


@pytest.fixture(autouse=True)
def no_figure_is_left() -> Iterator[None]:
    yield
    pyplot.close("all")


@pytest.fixture
def adata() -> Any:
    types = [type_of(row) for row in range(CELLS)]
    made = anndata.AnnData(
        sp.csr_matrix(counts(types)),
        obs=pd.DataFrame(
            {
                "own": pd.Categorical([LABELS[name] for name in types]),
                "depth": np.arange(CELLS, dtype=float),
                "c2t_description": [f"a {name}" for name in types],
                "c2t_error": pd.Categorical([""] * CELLS),
                "c2t_cell_type": pd.Categorical(types),
                "c2t_cell_type_confidence": np.linspace(0.5, 1, CELLS),
            },
            index=[f"cell{n}" for n in range(CELLS)],
        ),
        var=pd.DataFrame(index=[f"GENE{n}" for n in range(GENES)]),
    )
    made.obsm["X_umap"] = plane(CELLS)
    return made


def renamed(adata: Any, old: str, new: str) -> Any:
    adata.obs["c2t_cell_type"] = adata.obs["c2t_cell_type"].cat.rename_categories({old: new})
    return adata


def texts(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_legend().get_texts()]


def all_inside(axes: Any) -> None:
    """Everything that is drawn lies inside the figure, and no two tick labels touch."""
    figure = axes.figure
    figure.canvas.draw()
    room, drawn = figure.bbox, axes.get_tightbbox()
    assert drawn.x0 >= -1
    assert drawn.y0 >= -1
    assert drawn.x1 <= room.width + 1
    assert drawn.y1 <= room.height + 1
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [label.get_window_extent() for label in labels if label.get_text()]
        assert not [one for one, other in pairwise(boxes) if one.overlaps(other)]


def test_umap_has_whole_names_shares_and_colours(adata: Any) -> None:
    renamed(adata, "monocyte", LONG)
    axes = c2t.pl.umap(adata)
    assert texts(axes) == ["1  B cell  (50.0 %)", "2  T cell  (33.3 %)", f"3  {LONG}  (16.7 %)"]
    all_inside(axes)
    drawn = {
        to_hex(part.get_facecolor()[0]): len(part.get_offsets())
        for part in axes.collections
        if len(part.get_offsets())
    }
    assert drawn == {COLOURS[0]: 30, COLOURS[1]: 20, COLOURS[2]: 10}
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
    places = adata.obsm["X_umap"]
    for text, name in zip(axes.texts, ("B cell", "T cell", LONG), strict=True):
        here = places[(adata.obs["c2t_cell_type"] == name).to_numpy()]
        assert np.abs(here - np.array(text.get_position())).sum(axis=1).min() < 1.5


def test_unsure_failed_and_other_cells_are_grey(adata: Any) -> None:
    adata.obs["c2t_unsure"] = np.arange(CELLS) < 4
    adata.obs["c2t_error"] = pd.Categorical(
        ["no genes" if n in (10, 11) else "" for n in range(60)]
    )
    adata.obs["c2t_description"] = ["" if n >= 58 else "text" for n in range(CELLS)]
    axes = c2t.pl.umap(adata)
    assert texts(axes)[3:] == [
        "unsure  (6.9 %)",
        "not described  (3.4 %)",
        "not described, being not asked for  (2 cells)",
    ]
    grey = sum(
        len(part.get_offsets())
        for part in axes.collections
        if to_hex(part.get_facecolor()[0]) == GREY
    )
    assert grey == 6


@pytest.mark.parametrize("column", [None, "c2t_tissue"])
def test_cells_that_were_not_asked_for_are_no_part_of_the_shares(
    adata: Any, column: str | None
) -> None:
    adata.obs["c2t_description"] = ["text" if n < 4 else "" for n in range(CELLS)]
    adata.obs["c2t_cell_type"] = adata.obs["c2t_tissue"] = pd.Categorical(
        ["a", "a", "a", "b"] + [None] * 56
    )
    axes = c2t.pl.umap(adata, column)
    assert texts(axes) == [
        "1  a  (75.0 %)",
        "2  b  (25.0 %)",
        "not described, being not asked for  (56 cells)",
    ]
    pale = [part for part in axes.collections if len(part.get_offsets()) == 56]
    assert [to_hex(part.get_facecolor()[0]) for part in pale] == ["#e4e4e4"]
    assert pale[0] is axes.collections[0]  # below all others


def test_umap_of_many_types(adata: Any) -> None:
    adata.obs["many"] = pd.Categorical([f"kind {n % 30:02d}" for n in range(CELLS)])
    axes = c2t.pl.umap(adata, "many")
    assert len(texts(axes)) == 21
    assert texts(axes)[-1].startswith("others")
    all_inside(axes)


def test_umap_of_numbers_has_a_colour_bar(adata: Any) -> None:
    adata.obs.iloc[3, adata.obs.columns.get_loc("depth")] = np.nan
    axes = c2t.pl.umap(adata, "depth")
    assert axes.get_legend() is None
    assert sorted(len(part.get_offsets()) for part in axes.collections) == [1, 59]
    all_inside(axes)


def test_without_a_umap_the_embedding_is_drawn(adata: Any) -> None:
    del adata.obsm["X_umap"]
    adata.obsm["X_c2t"] = np.random.default_rng(0).normal(size=(CELLS, 5)).astype(np.float32)
    adata.obsm["X_c2t"][4] = np.nan  # a cell that the encoder did not take
    axes = c2t.pl.umap(adata)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("C2T PC1", "C2T PC2")
    pyplot.close("all")
    assert "obsm has no 'X_umap'" in refused(lambda: c2t.pl.umap(adata, basis="X_umap"))
    adata.obsm["X_other"] = adata.obsm.pop("X_c2t")
    with pytest.raises(C2TError, match="obsm has no 'X_umap', and no embedding 'X_c2t'") as caught:
        c2t.pl.umap(adata)
    assert "X_other" in str(caught.value.hint)


def test_another_basis(adata: Any) -> None:
    vectors = np.random.default_rng(0).normal(size=(CELLS, 5)).astype(np.float32)
    adata.obsm["X_c2t"], adata.obsm["X_pca"] = vectors, vectors
    assert c2t.pl.umap(adata, basis="X_c2t").get_xlabel() == "C2T PC1"
    axes = c2t.pl.umap(adata, basis="pca")
    offsets = np.concatenate([part.get_offsets() for part in axes.collections])
    assert sorted(map(tuple, offsets.round(4).tolist())) == sorted(
        map(tuple, vectors[:, :2].astype(float).round(4).tolist())
    )


@pytest.mark.filterwarnings("ignore::FutureWarning:scanpy", "ignore::FutureWarning:anndata")
@pytest.mark.parametrize("name", [r"$\nonsense{$ cell", "_hidden", "a\nb\x1b[31m", "$x$ & $y$"])
def test_names_of_strangers_are_drawn_as_they_are(adata: Any, name: str, tmp_path: Path) -> None:
    renamed(adata, "T cell", name)
    adata.obs["own"] = adata.obs["own"].cat.rename_categories({"T lymph": name})
    shown = name.replace("\n", " ").replace("\x1b", r"\x1b")
    for numbers in (True, False):
        axes = c2t.pl.umap(adata, numbers=numbers, title=name, save=tmp_path / "u.png")
        assert f"{'2  ' if numbers else ''}{shown}  (33.3 %)" in [
            text.replace(r"\$", "$") for text in texts(axes)
        ]
        all_inside(axes)
    for axes in (
        c2t.pl.compare(adata, "own", title=name, save=tmp_path / "c.png"),
        c2t.pl.confidence(adata, title=name, save=tmp_path / "f.png"),
        c2t.pl.dotplot(adata, title=name, save=tmp_path / "d.png"),
    ):
        names = [label.get_text().replace(r"\$", "$") for label in axes.get_yticklabels()]
        assert [one for one in names if one.startswith(shown)]


def test_compare_shows_counts_shares_and_whole_labels(adata: Any) -> None:
    renamed(adata, "monocyte", LONG)
    adata.obs["own"] = adata.obs["own"].cat.rename_categories({"Mono": LONG[::-1]})
    axes = c2t.pl.compare(adata, "own")
    rows = [label.get_text() for label in axes.get_yticklabels()]
    columns = [label.get_text() for label in axes.get_xticklabels()]
    assert rows == ["B  (30)", "T lymph  (20)", f"{LONG[::-1]}  (10)"]
    assert columns == ["B cell", "T cell", LONG]
    assert [text.get_text() for text in axes.texts] == ["30", "20", "10"]
    np.testing.assert_array_equal(axes.images[0].get_array().filled(0), np.eye(3))
    all_inside(axes)


def test_unsure_cells_count_by_their_text(adata: Any) -> None:
    sure = c2t.pl.compare(adata, "own")
    adata.obs["c2t_unsure"] = np.arange(CELLS) < 20
    axes = c2t.pl.compare(adata, "own")
    assert [x.get_text() for x in axes.get_xticklabels()] == list(TYPES)
    assert [text.get_text() for text in axes.texts] == [text.get_text() for text in sure.texts]
    assert "adjusted Rand index 1.00; without unsure cells 1.00" in axes.get_title(loc="left")
    rows = [x.get_text() for x in c2t.pl.confidence(adata).get_yticklabels()]
    assert rows == ["B cell  (30)", "T cell  (20)", "monocyte  (10)"]


def test_compare_takes_a_map(adata: Any, tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text('{"Mono": "monocyte", "B": "B cell"}')
    for given in (path, str(path), {"Mono": "monocyte", "B": "B cell"}):
        rows = [
            x.get_text() for x in c2t.pl.compare(adata, "own", label_map=given).get_yticklabels()
        ]
        assert rows == ["B cell  (30)", "T lymph  (20)", "monocyte  (10)"]


def test_compare_sums_up_rare_labels(adata: Any) -> None:
    adata.obs["many"] = pd.Categorical([f"kind {n % 30:02d}" for n in range(CELLS)])
    axes = c2t.pl.compare(adata, "many", most=5)
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows[-1] == "other labels  (50)"
    all_inside(axes)


def test_confidence_by_type(adata: Any) -> None:
    axes = c2t.pl.confidence(adata)
    assert [x.get_text() for x in axes.get_yticklabels()] == [
        "B cell  (30)",
        "T cell  (20)",
        "monocyte  (10)",
    ]
    assert sorted(len(part.get_offsets()) for part in axes.collections) == [10, 20, 30]
    medians = [line.get_xdata()[0] for line in axes.lines]
    values = adata.obs.groupby("c2t_cell_type", observed=True)["c2t_cell_type_confidence"].median()
    assert medians == pytest.approx([values[name] for name in TYPES])
    all_inside(axes)


@pytest.mark.filterwarnings("ignore::FutureWarning:scanpy", "ignore::FutureWarning:anndata")
def test_dots_have_the_markers_of_each_type(adata: Any) -> None:
    before = adata.X.copy()
    axes = c2t.pl.dotplot(adata, n_genes=2)
    genes = [label.get_text() for label in axes.get_xticklabels()]
    types = [label.get_text() for label in axes.get_yticklabels()]
    assert types == list(TYPES)
    assert [{int(g.removeprefix("GENE")) // 3 for g in genes[n : n + 2]} for n in (0, 2, 4)] == [
        {0},
        {1},
        {2},
    ]
    np.testing.assert_array_equal(adata.X.toarray(), before.toarray())
    assert list(adata.uns) == []


@pytest.mark.filterwarnings("ignore::FutureWarning:scanpy", "ignore::FutureWarning:anndata")
def test_dots_of_named_genes_are_the_same_whatever_x_holds(adata: Any) -> None:
    genes = {"B cell": ["GENE0"], "T cell": ["GENE3", "GENE4"]}
    of_counts = c2t.pl.dotplot(adata, genes).collections[0]
    scaled = adata.copy()
    scaled.layers["counts"] = scaled.X.copy()
    scaled.X = scaled.X.toarray() - 3.3
    of_layer = c2t.pl.dotplot(scaled, ["GENE0", "GENE3", "GENE4"]).collections[0]
    np.testing.assert_allclose(of_counts.get_facecolor(), of_layer.get_facecolor())
    np.testing.assert_allclose(of_counts.get_sizes(), of_layer.get_sizes())
    own = c2t.pl.dotplot(adata, "GENE0", groupby="own")
    assert {x.get_text() for x in own.get_yticklabels()} == set(LABELS.values())


PLOTS = {
    "umap": lambda adata, **given: c2t.pl.umap(adata, **given),
    "compare": lambda adata, **given: c2t.pl.compare(adata, "own", **given),
    "confidence": lambda adata, **given: c2t.pl.confidence(adata, **given),
    "dotplot": lambda adata, **given: c2t.pl.dotplot(adata, **given),
}


@pytest.mark.filterwarnings("ignore::FutureWarning:scanpy", "ignore::FutureWarning:anndata")
@pytest.mark.parametrize("name", PLOTS)
def test_conventions(
    adata: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[bool] = []
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(True))
    monkeypatch.setattr(figure_module, "_has_windows", lambda: True)
    draw, path = PLOTS[name], tmp_path / "picture.png"
    before = dict(mpl.rcParams)
    columns, matrices = list(adata.obs.columns), list(adata.obsm)
    figure, mine = pyplot.subplots()
    axes = draw(adata, ax=mine)
    assert axes.figure is figure
    assert not shown  # the caller's figure is the caller's to show
    assert isinstance(draw(adata, save=path), mpl.axes.Axes)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not shown
    draw(adata, show=False)
    assert not shown
    draw(adata)
    draw(adata, ax=mine, show=True)
    assert shown == [True, True]
    pdf = tmp_path / "picture.pdf"
    draw(adata, save=str(pdf), title="a title")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert dict(mpl.rcParams) == before
    assert (list(adata.obs.columns), list(adata.obsm)) == (columns, matrices)
    for save, words in (
        (tmp_path / "picture.nope", "no suffix"),
        (tmp_path / "none" / "picture.png", "no folder"),
        (True, "save is True"),
    ):
        with pytest.raises(C2TError, match=words) as caught:
            draw(adata, save=save)
        assert caught.value.hint


@pytest.mark.parametrize("name", ["umap", "compare", "confidence"])
def test_long_names_on_axes_of_the_caller(adata: Any, name: str) -> None:
    renamed(adata, "monocyte", LONG)
    adata.obs["own"] = adata.obs["own"].cat.rename_categories({"Mono": LONG})
    figure, mine = pyplot.subplots(figsize=(11, 7), layout="constrained")
    axes = PLOTS[name](adata, ax=mine)
    legend = axes.get_legend()
    labels = [*axes.get_yticklabels(), *axes.get_xticklabels()]
    drawn = [label.get_text() for label in [*labels, *(legend.get_texts() if legend else ())]]
    assert [text for text in drawn if LONG in text.replace("\n", " ")]
    assert max(len(line) for text in drawn for line in text.split("\n")) <= 32
    figure.canvas.draw()  # a bar that is as tall as its axes is placed by the second drawing
    all_inside(axes)
    assert axes.figure is figure


def test_without_windows_nothing_is_shown(adata: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyplot, "show", lambda: pytest.fail("shown without a window"))
    c2t.pl.umap(adata)


def refused(draw: Any) -> str:
    with pytest.raises(C2TError) as caught:
        draw()
    assert caught.value.hint
    assert not pyplot.get_fignums(), "a figure was left behind"
    return str(caught.value.problem)


def test_bad_input_is_refused_before_anything_is_drawn(adata: Any) -> None:
    bare = adata[:, :3].copy()
    del bare.obs["c2t_cell_type"]
    del bare.obsm["X_umap"]
    assert "'c2t_cell_type'" in refused(lambda: c2t.pl.confidence(bare))
    assert "obsm has no 'X_umap'" in refused(lambda: c2t.pl.umap(bare, "own"))
    assert "no column 'nope'" in refused(lambda: c2t.pl.umap(adata, "nope"))
    assert "no column 'nope'" in refused(lambda: c2t.pl.compare(adata, "nope"))
    assert "no column 'mine_cell_type'" in refused(lambda: c2t.pl.umap(adata, key="mine"))
    assert "has no numbers" in refused(lambda: c2t.pl.confidence(adata, column="own"))
    assert "nope" in refused(lambda: c2t.pl.dotplot(adata, ["nope"]))
    assert "most is 0" in refused(lambda: c2t.pl.compare(adata, "own", most=0))
    assert "dict, not an AnnData" in refused(lambda: c2t.pl.umap({}))
    adata.obs["c2t_description"] = ""
    assert "no cell of adata is described" in refused(lambda: c2t.pl.umap(adata))
    adata.obsm["X_umap"] = adata.obsm["X_umap"][:, :1]
    assert "no matrix of numbers" in refused(lambda: c2t.pl.umap(adata, "own"))


def test_a_missing_package_is_named(adata: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name=name.partition(".")[0])

    draw = c2t.pl.dotplot
    monkeypatch.setattr(figure_module.importlib, "import_module", absent)
    with pytest.raises(C2TError, match="this plot needs anndata, which is not") as caught:
        draw(adata)
    assert "c2t[scverse]" in str(caught.value.hint)
