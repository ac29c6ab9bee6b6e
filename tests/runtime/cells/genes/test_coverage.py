"""What the file has of the bundle's genes: highly variable genes only, panels, whole files."""

from __future__ import annotations

import numpy as np
import pytest
from cell_libraries import sp
from make_cells import V2, named

from c2t.runtime.bundle.gene_vocabulary import GeneVocabulary
from c2t.runtime.cells.genes.coverage import USUAL_GENES
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader
from c2t.runtime.system.errors import CellFileError

GENES = 2000
SYMBOLS = [*USUAL_GENES, *[f"GENE{i}" for i in range(GENES - len(USUAL_GENES))]]


@pytest.fixture(scope="module")
def genes():
    """A bundle of 2,000 genes, all usual ones among them."""
    return GeneVocabulary(
        ensembl_id=np.array([f"ENSG{i:011d}" for i in range(GENES)], dtype="S"),
        token=np.arange(4, GENES + 4, dtype=np.int32),
        median=np.ones(GENES),
        alias=np.array(SYMBOLS, dtype="S"),
        alias_gene=np.arange(GENES, dtype=np.int32),
    )


def read(symbols, genes, **options):
    rng = np.random.default_rng(0)
    depth = rng.lognormal(0, 0.6, (30, 1))
    x = rng.poisson(rng.gamma(0.6, 2.0, (1, len(symbols))) * depth).astype(np.float32)
    cells = named(symbols, sp.csr_matrix(x))
    return CellReader(cells, genes, V2, CellOptions(**options)).gene_report


def test_whole_transcriptome(genes):
    report = read(SYMBOLS[:1500], genes)
    assert report.warnings == ()
    assert (report.coverage_of.breadth, report.coverage_of.usual_share) == (0.75, 1)
    assert (
        "columns for 1,500 of the bundle's 2,000 genes (75%; warned about below 25%, refused "
        in (report.sentence)
    )
    assert "122 of 122 that nearly every cell expresses (warned about below 90%)" in report.sentence


def test_few_of_the_bundles_genes(genes):
    (warning,) = read([*SYMBOLS[:100], *SYMBOLS[-300:]], genes).warnings
    assert warning == (
        "the file has columns for 400 of the 2,000 genes that the bundle knows (20%), and for 100 "
        "of 122 that nearly every cell expresses: highly variable genes only, or a panel? Texts "
        "will be worse: use the matrix with all genes"
    )


def test_without_the_genes_that_nearly_every_cell_expresses(genes):
    (warning,) = read(SYMBOLS[len(USUAL_GENES) :], genes).warnings
    assert "for 1,878 of the 2,000 genes" in warning
    assert "for 0 of 122 that nearly every cell expresses" in warning


def test_hardly_any_of_the_bundles_genes_is_refused_unless_told(genes):
    panel = SYMBOLS[-19:]
    with pytest.raises(CellFileError) as caught:
        read(panel, genes)
    assert str(caught.value) == (
        "the file has columns for 19 of the 2,000 genes that the bundle knows (0.9%), at least 1% "
        "are needed\n\nhint: use the matrix with all genes, or `--min-coverage 0` to go on all the "
        "same; see `c2t help formats`"
    )
    assert read(panel, genes, min_coverage=0).genes == 19
    assert read(panel, genes, min_coverage=0.005).genes == 19
