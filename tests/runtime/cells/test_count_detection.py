"""Which matrix is taken as counts: every kind of values, and every place they can be in."""

from __future__ import annotations

import contextlib

import h5py
import numpy as np
import pytest
from cell_libraries import sp
from make_cells import adata, counts, cp10k, tpm, write, z_scores
from shared_data import shared

from c2t.runtime.cells.formats.store import open_store
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.system.errors import CellFileError


def opened(cells, **options):
    return CellCounts(cells, CellOptions(**options))


def logged():
    return sp.csr_matrix(np.log1p(cp10k(counts())))


def test_counts_are_sought_in_the_layer_then_raw_then_x():
    cells = adata(sp.csr_matrix(counts() * 2))
    cells.raw = cells
    cells.layers["counts"] = counts()
    assert opened(cells).counts_report.location == "layers/counts"
    del cells.layers["counts"]
    assert opened(cells).counts_report.location == "raw"
    del cells.raw
    assert opened(cells).counts_report.location == "X"


def test_counts_go_before_a_logarithm_whatever_the_place():
    cells = adata(logged(), counts=np.log1p(counts()))
    cells.raw = adata()
    report = opened(cells).counts_report
    assert (report.location, report.kind, report.log_base) == ("raw", "counts", None)
    assert report.sentence == "took `raw`: raw counts; layers/counts holds log1p of counts"


def test_logarithm_is_taken_where_there_are_no_counts():
    cells = adata(z_scores(counts()))
    cells.raw = adata(logged())
    report = opened(cells).counts_report
    assert (report.location, report.log_base) == ("raw", np.e)
    assert report.sentence == (
        "took `raw`: log1p of counts, undone; X holds scaled values (z-scores: there are negative "
        "ones)"
    )


def test_scaled_data_are_refused():
    with pytest.raises(CellFileError) as caught:
        opened(adata(z_scores(counts())))
    assert str(caught.value) == (
        "no counts found in AnnData object: `X` holds scaled values (z-scores: there are negative "
        "ones)\n\nhint: write the raw counts into `layers['counts']` and try again; see `c2t help "
        "formats`"
    )


def test_other_layers_are_named_in_the_hint_but_not_taken():
    cells = adata(z_scores(counts()), umis=counts(), spliced=counts())
    with pytest.raises(CellFileError, match=r"--layer layers/umis` \(there are layers/umis, lay"):
        opened(cells)
    assert opened(cells, layer="umis").counts_report.location == "layers/umis"
    assert opened(cells, layer="layers/umis").counts_report.kind == "counts"


def test_layer_that_is_not_there():
    with pytest.raises(CellFileError) as caught:
        opened(adata(), layer="umis")
    assert str(caught.value) == "AnnData object has no matrix `umis`\n\nhint: it has: X"


def test_normalized_values_are_taken_when_the_user_says_so():
    cells = adata(sp.csr_matrix(tpm(counts())))
    with pytest.raises(CellFileError, match="--counts-are normalized"):
        opened(cells)
    report = opened(cells, values="normalized").counts_report
    assert (report.location, report.kind, report.log_base, report.warnings) == (
        "X",
        "normalized",
        None,
        (),
    )


def test_what_the_user_says_is_done_but_doubted():
    report = opened(adata(logged()), values="counts").counts_report
    assert (report.kind, report.log_base) == ("counts", None)
    assert report.warnings == ("X is taken as raw counts, but looks like log1p of counts",)
    report = opened(adata(), values="log1p").counts_report
    assert (report.kind, report.log_base) == ("log1p", np.e)
    assert report.warnings == ("X is taken as log1p of counts, but looks like raw counts",)


def test_base_that_the_file_states_gives_way_to_the_values():
    cells = adata(sp.csr_matrix(np.log2(1 + cp10k(counts()))))
    for stated in (None, 10, 2):
        cells.uns["log1p"] = {"base": stated}
        assert opened(cells).counts_report.log_base == 2.0


def test_logarithm_of_tpm_is_taken_when_the_user_says_so():
    cells = adata(sp.csr_matrix(np.log2(1 + tpm(counts()) / 1000)))
    cells.uns["log1p"] = {"base": None}  # left from an earlier step
    with pytest.raises(CellFileError, match=r"(?s)log2 of normalized .*--counts-are log1p"):
        opened(cells)
    report = opened(cells, values="log1p").counts_report
    assert (report.kind, report.log_base) == ("log1p", 2.0)


@pytest.mark.parametrize(
    ("base", "read"),
    [(2.0, 2.0), (np.array([2.0]), 2.0), (h5py.Empty("f4"), np.e), ("two", np.e), (None, np.e)],
)
def test_base_of_the_logarithm_in_a_file(tmp_path, base, read):
    def state(file):
        if base is not None:
            file["uns/log1p/base"] = base

    with log_file(tmp_path / "cells.h5ad", state) as store:
        assert store.log_base() == pytest.approx(read)


def test_base_of_the_logarithm_that_is_a_trap(tmp_path):
    def long(file):  # takes no room in the file
        file["uns/log1p"].create_dataset("base", (1 << 40,), "f8", chunks=(1 << 10,))

    def link(file):
        file["uns/log1p/base"] = h5py.ExternalLink("other.h5ad", "uns/log1p/base")

    def link_group(file):
        del file["uns/log1p"]
        file["uns/log1p"] = h5py.ExternalLink("other.h5ad", "uns/log1p")

    def string(file):
        file["uns/log1p"].create_dataset("base", (), "S1000000000")

    for change, problem in (
        (long, "base has 1 dimensions, expected 0"),
        (link, "/uns/log1p/base is a link to another file: other.h5ad"),
        (link_group, "/uns/log1p is a link to another file: other.h5ad"),
    ):
        with (
            log_file(tmp_path / "cells.h5ad", change) as store,
            pytest.raises(CellFileError, match=problem),
        ):
            store.log_base()
    with log_file(tmp_path / "cells.h5ad", string) as store:
        assert store.log_base() == np.e  # not read


@contextlib.contextmanager
def log_file(path, change):
    path.unlink(missing_ok=True)
    with h5py.File(write(path, adata()), "r+") as file:
        file.create_group("uns/log1p")
        change(file)
    store = open_store(path)
    try:
        yield store
    finally:
        store.close()


def test_no_matrix_at_all():
    cells = adata()
    cells.X = None
    with pytest.raises(CellFileError, match="it has no matrix X, raw or counts"):
        opened(cells)


def test_rounded_tpm_are_recognised_in_real_cells():
    path = shared("cells/oligodendroglioma_not_counts.h5ad")
    with pytest.raises(CellFileError, match=r"`X` holds normalized values that are not counts"):
        opened(path)
    with opened(path, values="normalized") as cells:
        assert cells.n_cells == 184


@pytest.mark.parametrize(
    "name",
    [
        "pbmc3k_labelled_raw",
        "kang18_lupus_6donors_raw",
        "fetal_forebrain_2236x2000_raw",
        "pbmc68k_reduced_700x765_raw",
        "sc_celseq2_raw",
        "pbmc_1k_v2_raw_unlabelled",
        "glioblastoma_5000x300_raw",
    ],
)
def test_real_counts_are_recognised(name):
    with opened(shared(f"cells/{name}.h5ad")) as cells:
        assert (cells.counts_report.location, cells.counts_report.kind) == ("X", "counts")


def test_raw_is_taken_where_the_others_hold_a_choice_of_its_genes():
    # As scanpy leaves an object: counts of the variable genes in a layer, all genes in raw.
    cells = adata(sp.csr_matrix(logged()))
    cells.layers["counts"] = sp.csr_matrix(counts())
    cells.raw = cells
    some = cells[:, :20].copy()
    report = opened(some).counts_report
    assert (report.location, report.kind) == ("raw", "log1p")
    assert "layers/counts holds raw counts, of far fewer genes" in report.sentence
    assert opened(some, layer="counts").counts_report.location == "layers/counts"
    assert opened(cells[:, :60].copy()).counts_report.location == "layers/counts"
    some.raw = adata(z_scores(counts()))  # no order of genes to be had from it
    assert opened(some).counts_report.location == "layers/counts"
