import numpy as np
import pytest
from shared_data import shared

from c2t.export.checkpoint.gene_dictionaries.pickled_dictionary import read_pickled_dictionary
from c2t.export.checkpoint.gene_dictionaries.vocabulary import (
    build_gene_vocabulary,
    read_genes_npz,
    write_genes_npz,
)
from c2t.runtime.system.errors import CheckpointError

V1 = {"<pad>": 0, "<mask>": 1, "ENSG1": 2, "ENSG2": 4, "ENSG3": 3}
V2 = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3, "ENSG1": 4, "ENSG2": 5, "ENSG3": 6}
MEDIANS = {"ENSG1": 1.5, "ENSG2": 2.5, "ENSG3": 0.5, "ENSG9": 9.0}


def aliases(genes):
    ids = genes.ensembl_id[genes.alias_gene]
    return {alias.decode(): gene.decode() for alias, gene in zip(genes.alias, ids, strict=True)}


def test_genes_are_sorted_by_token():
    genes = build_gene_vocabulary(V1, MEDIANS)
    assert genes.ensembl_id.tolist() == [b"ENSG1", b"ENSG3", b"ENSG2"]
    assert genes.token.tolist() == [2, 3, 4]
    assert genes.median.tolist() == [1.5, 0.5, 2.5]
    assert (genes.token.dtype, genes.median.dtype) == (np.int32, np.float64)
    assert (genes.pad_token, genes.mask_token, genes.cls_token, genes.eos_token) == (
        0,
        1,
        None,
        None,
    )
    assert len(genes.alias) == len(genes.alias_gene) == 0


def test_mapping_is_upper_cased_and_restricted_to_known_targets():
    mapping = {"ENSG1": "ENSG1", "ENSG7": "ENSG1", "Abc": "ENSG2", "X": "ENSG9", "Y": "ENSG8"}
    genes = build_gene_vocabulary(V2, MEDIANS, ensembl_mapping=mapping)
    assert aliases(genes) == {"ENSG7": "ENSG1", "ABC": "ENSG2"}
    assert (genes.cls_token, genes.eos_token) == (2, 3)


def test_names_add_what_the_mapping_does_not_know():
    mapping = {"ENSG1": "ENSG1", "ABC": "ENSG2"}
    names = {"Abc": "ENSG3", "C1orf2": "ENSG3", "Z": "ENSG9", "ENSG3": "ENSG3"}
    genes = build_gene_vocabulary(V2, MEDIANS, ensembl_mapping=mapping, gene_names=names)
    assert aliases(genes) == {"ABC": "ENSG2", "C1orf2": "ENSG3"}


@pytest.mark.parametrize(
    ("tokens", "medians", "match"),
    [
        ({"<pad>": 0, "ENSG1": 1}, MEDIANS, "special tokens are"),
        (V1 | {"<cls>": 9}, MEDIANS, "special tokens are"),
        (V1 | {"<bos>": 9}, MEDIANS, "special tokens are"),
        (V1 | {"ENSG4": 3}, MEDIANS, "a token twice"),
        (V1 | {"ENSG4": 9}, MEDIANS, "has 6 tokens, and gives 9"),
        (V1 | {"ENSG4": 1 << 40}, MEDIANS, "has 6 tokens, and gives 1,099,511,627,776"),
        (V1 | {"é": 5}, MEDIANS | {"é": 1.0}, "a gene named 'é'"),
        (V1 | {"a\0": 5}, MEDIANS | {"a\0": 1.0}, "a gene named"),
        (V1, {"ENSG9": 1.0}, "no gene"),
        (V1, MEDIANS | {"ENSG3": 0.0}, "median of ENSG3 is 0.0"),
        (V1, MEDIANS | {"ENSG3": float("nan")}, "median of ENSG3 is nan"),
    ],
)
def test_unusable_dictionaries(tokens, medians, match):
    with pytest.raises(CheckpointError, match=match):
        build_gene_vocabulary(tokens, medians)


def test_npz_round_trip_without_pickle(tmp_path):
    genes = build_gene_vocabulary(V2, MEDIANS, ensembl_mapping={"A": "ENSG1"})
    write_genes_npz(genes, tmp_path / "genes.npz")
    with np.load(tmp_path / "genes.npz", allow_pickle=False) as stored:
        kinds = {name: stored[name].dtype.kind for name in stored.files}
    expected = {"ensembl_id": "S", "token": "i", "median": "f", "alias": "S", "alias_gene": "i"}
    assert kinds == expected
    again = read_genes_npz(tmp_path / "genes.npz", genes.special_tokens())
    assert aliases(again) == {"A": "ENSG1"}
    assert again.eos_token == 3
    with pytest.raises(CheckpointError, match="is not a gene vocabulary"):
        read_genes_npz(tmp_path / "none.npz", genes.special_tokens())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "genes.npz").read_bytes()[:-40])
    with pytest.raises(CheckpointError, match="is not a gene vocabulary"):
        read_genes_npz(tmp_path / "cut.npz", genes.special_tokens())
    with pytest.raises(CheckpointError, match="without <pad>"):
        read_genes_npz(tmp_path / "genes.npz", {"pad": None, "mask": 1})


@pytest.mark.parametrize(
    ("version", "suffix", "count", "tokens"),
    [
        ("V1_gc30M", "gc30M", 25424, {"CD3E": 17276, "LYZ": 1876}),
        ("V2_gc104M", "gc104M", 20271, {"CD3E": 16897, "LYZ": 1866}),
    ],
)
def test_published_dictionaries(version, suffix, count, tokens):
    folder = shared(f"geneformer/{version}")

    def read(name):
        return read_pickled_dictionary(folder / f"{name}_{suffix}.pkl")

    genes = build_gene_vocabulary(
        read("token_dictionary"),
        read("gene_median_dictionary"),
        ensembl_mapping=read("ensembl_mapping_dict"),
        gene_names=read("gene_name_id_dict"),
    )
    assert len(genes.token) == count
    by_alias = dict(zip(genes.alias.tolist(), genes.alias_gene.tolist(), strict=True))
    for symbol, token in tokens.items():
        assert genes.token[by_alias[symbol.encode()]] == token
