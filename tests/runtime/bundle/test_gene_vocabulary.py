"""Names of genes in all the forms that files have, and the checks of a vocabulary."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from make_cells import vocabulary

from c2t.runtime.bundle.gene_vocabulary import GENE_ARRAYS, GeneVocabulary
from c2t.runtime.system.errors import BundleError


@pytest.mark.parametrize(
    ("name", "gene"),
    [
        ("ENSG00000000003", 2),
        ("ensg00000000003", 2),
        (" ENSG00000000003 ", 2),
        ("ENSG00000000003.14", 2),
        ("ensg00000000003.14", 2),
        ("GENE3", 2),
        ("gene3", 2),
        ("GENE3.1", -1),  # AL627309.1 and AL627309.2 are different genes
        ("ENSG00000000003.14_PAR_Y", -1),
        ("ENSG00000000003_PAR_Y", -1),
        ("ENSG99999999999", -1),
        ("ENSMUSG00000000003", -1),
        ("", -1),
    ],
)
def test_name_is_looked_up(name, gene):
    assert vocabulary().lookup([name]).tolist() == [gene]


def test_par_y_gene_is_the_one_that_older_releases_named_so():
    genes = dataclasses.replace(
        vocabulary(2), ensembl_id=np.array([b"ENSG00000182378", b"ENSGR0000182378"])
    )
    names = ["ENSG00000182378.15_PAR_Y", "ENSG00000182378_PAR_Y", "ENSG00000182378.15"]
    assert genes.lookup(names).tolist() == [1, 1, 0]


def test_alias_of_an_id_with_a_token_wins_over_the_id():
    genes = dataclasses.replace(vocabulary(2), alias=np.array([b"ENSG00000000001", b"OLD"]))
    genes = dataclasses.replace(genes, alias_gene=np.array([1, 0], np.int32))
    assert genes.lookup(["ENSG00000000001", "ENSG00000000001.3", "OLD"]).tolist() == [1, 1, 0]


def test_names_with_other_signs():
    genes = dataclasses.replace(
        vocabulary(3),
        alias=np.array([b"HLA-A", b"MT-CO1", b"AB/C", b"AB-C", b"RP11-2.1"]),
        alias_gene=np.array([0, 1, 1, 2, 2], np.int32),
    )
    names = ("HLA.A", "MT_CO1", "RP11.2.1", "HLA-A", "AB.C", "GENE1")
    found = [genes.lookup_signs(name) for name in names]
    assert found == [0, 1, 2, 0, -1, -1]  # "AB.C" may be either gene, "GENE1" has no signs


def test_saved_vocabulary_is_read_back(tmp_path):
    genes = vocabulary()
    fields = [field.name for field in dataclasses.fields(genes)]
    np.savez(tmp_path / "genes.npz", **{name: getattr(genes, name) for name in fields})
    read = GeneVocabulary.load(tmp_path / "genes.npz")
    assert all((getattr(read, name) == getattr(genes, name)).all() for name in fields)
    assert len(read) == len(genes)


def test_vocabulary_without_aliases():
    genes = dataclasses.replace(
        vocabulary(), alias=np.empty(0, "S1"), alias_gene=np.empty(0, np.int32)
    )
    assert genes.lookup(["GENE1", "ENSG00000000001"]).tolist() == [-1, 0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("token", np.zeros(3, np.int32), "`token` has shape"),
        ("token", np.array([5, 5], np.int32), "repeated tokens"),
        ("token", np.array([-1, 5], np.int32), "negative or repeated"),
        ("token", np.array([1.0, 5.0]), "`token` has dtype float64"),
        ("median", np.array([1.0, 0.0]), "not positive and finite"),
        ("median", np.array([1.0, np.nan]), "not positive and finite"),
        ("ensembl_id", np.array([b"A", b"A"]), "names a gene twice"),
        ("ensembl_id", np.array(["A", "B"]), "dtype <U1"),
        ("ensembl_id", np.array([b"A", b"\xff"]), "not UTF-8"),
        ("alias_gene", np.array([0, 2], np.int32), "points outside the 2 genes"),
        ("alias_gene", np.array([0], np.int32), "`alias_gene` has shape (1,), expected (2,)"),
    ],
)
def test_contradicting_arrays_are_refused(field, value, message):
    with pytest.raises(BundleError) as caught:
        dataclasses.replace(vocabulary(2), **{field: value})
    assert message in str(caught.value)


def test_file_that_is_no_vocabulary(tmp_path):
    path = tmp_path / "genes.npz"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BundleError, match=r"genes.npz is not a gene vocabulary"):
        GeneVocabulary.load(path)
    np.savez(path, token=np.zeros(1))
    with pytest.raises(BundleError, match="no array named ensembl_id, median"):
        GeneVocabulary.load(path)
    np.savez_compressed(path, **dict.fromkeys(GENE_ARRAYS, np.zeros(4 << 20)))
    with pytest.raises(BundleError, match="unpacks to"):
        GeneVocabulary.load(path)


def test_pickled_objects_are_not_loaded(tmp_path):
    path = tmp_path / "genes.npz"
    fields = dataclasses.fields(GeneVocabulary)
    np.savez(path, **{field.name: np.array([{}], dtype=object) for field in fields})
    with pytest.raises(BundleError, match="is not a gene vocabulary"):
        GeneVocabulary.load(path)
