"""Texts in the joint space: PyTorch's vectors, cut aloud, and never special tokens."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_data import JOINT, joint_bundle, joint_texts, tiny_bundle
from tolerance import FLOAT32, worst_difference

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.joint.scores import group_scores, joint_scores, label_log_probabilities
from c2t.runtime.joint.text_tower import TEXT_TOKENIZER, TextTowerEngine
from c2t.runtime.system.errors import BundleError, C2TError


@pytest.fixture(scope="module")
def tower() -> TextTowerEngine:
    return TextTowerEngine(joint_bundle())


def test_vectors_are_those_of_pytorch_whatever_the_neighbours(tower: TextTowerEngine) -> None:
    texts, expected = joint_texts()
    encoded = tower.encode(texts)
    assert worst_difference(encoded.vectors, expected) < FLOAT32
    assert encoded.cut == ()
    for text, vector in zip(texts, expected, strict=True):
        assert worst_difference(tower.encode([text]).vectors[0], vector) < FLOAT32


def test_long_texts_are_cut_and_said(tower: TextTowerEngine) -> None:
    most = joint_bundle().manifest.text_tower.input_size
    encoded = tower.encode(["a cell " * 50, "a cell"])
    assert encoded.tokens == (most, 4)
    assert encoded.cut == (0,)
    shown = ("a cell " * 50)[:60]
    said = f"a text is longer than the {most} tokens that are read of it: '{shown}...'"
    assert encoded.warnings == [said]
    whole = tower.encode(["a cell " * ((most - 2) // 2)])
    assert (whole.vectors[0] == encoded.vectors[0]).all()
    assert not whole.warnings


def test_special_tokens_in_a_text_are_its_letters(tower: TextTowerEngine) -> None:
    plain, tricky = tower.encode(["a cell", "a [SEP] cell"]).tokens
    assert tricky == plain + 3  # "[", an unknown word and "]"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "0 texts"),
        (["a", " \n"], "text 2 is empty"),
        (["x" * 70_000], "70,000 letters"),
        (["\udcff"], "no UTF-8"),
    ],
)
def test_refuses_texts_that_cannot_be_read(
    tower: TextTowerEngine, texts: list[str], words: str
) -> None:
    with pytest.raises(C2TError, match=words):
        tower.encode(texts)


def test_refuses_bundles_without_texts_and_tokenizers_of_others(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="has no joint space"):
        TextTowerEngine(tiny_bundle().bundle)
    folder = shutil.copytree(JOINT, tmp_path / "bundle")
    manifest = parse_manifest((folder / "manifest.json").read_bytes())
    text = (folder / TEXT_TOKENIZER).read_text().replace('"[UNK]":1,', '"[UNK]":1,"more":31,')
    (folder / TEXT_TOKENIZER).write_text(text)
    from c2t.runtime.bundle.hashes import file_entries

    write_manifest(folder, manifest.replace(files=file_entries(folder, manifest.files)))
    with pytest.raises(BundleError, match="has text token 31, the text tower 31 rows"):
        TextTowerEngine(open_bundle(folder))


def test_scores_by_hand() -> None:
    cells = np.array([[1, 0], [0, 1], [np.nan, np.nan]], np.float32)
    texts = np.array([[0.6, 0.8], [1, 0]], np.float32)
    scores = joint_scores(cells, texts, np.log(10))
    np.testing.assert_allclose(scores[:2], [[6, 10], [8, 0]], rtol=1e-6)
    assert np.isnan(scores[2]).all()
    np.testing.assert_allclose(group_scores(scores, [0, 1, 2]), [7, 5], rtol=1e-6)
    assert np.isnan(group_scores(scores, [2])).all()
    shares = np.exp(label_log_probabilities(scores))
    np.testing.assert_allclose(shares[1], [1 / (1 + np.exp(-8)), 1 / (1 + np.exp(8))], rtol=1e-5)
    np.testing.assert_allclose(shares[:2].sum(axis=1), 1)
