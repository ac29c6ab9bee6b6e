"""Phrases go from a text file into a bundle, and make its descriptions take fewer steps."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_bundle import make_bundle
from tiny_models import tiny_cell, tiny_tokenizer
from tokenizers import Tokenizer

from c2t.export.phrases import phrase_table, read_phrases, write_phrases
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.generation.drafts import Drafter
from c2t.runtime.generation.ngram_ban import NgramBan
from c2t.runtime.generation.phrase_table import PHRASES_NAME, build_phrase_table, load_phrase_table
from c2t.runtime.system.errors import CheckpointError

CAPTION = "This sample consists of a B cell, a lymphocyte that makes antibodies."
DEFINITION = "a phagocyte of the blood"


@pytest.fixture
def tokenizer() -> Tokenizer:
    return tiny_tokenizer().backend_tokenizer


def written_after(tokenizer: Tokenizer, table, text: str) -> str:
    drafter = Drafter(table)
    cursor = drafter.begin()
    for token in tokenizer.encode(text, add_special_tokens=False).ids:
        drafter.advance(cursor, token)
    draft = drafter.propose(cursor, NgramBan(0), 99)
    return tokenizer.decode(list(draft.tokens), skip_special_tokens=False)


def test_captions_and_definitions(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = tmp_path / "phrases.txt"
    source.write_text("\n".join([CAPTION] * 40 + ["", DEFINITION] * 40))
    end = tokenizer.token_to_id("<|eot_id|>")
    write_phrases(source, tmp_path, tokenizer, end)
    table = load_phrase_table(tmp_path / PHRASES_NAME, tokenizer.get_vocab_size())
    assert written_after(tokenizer, table, "This sample") == f"{CAPTION[11:]}<|eot_id|>"
    # A definition follows wherever its first words stand.
    assert written_after(tokenizer, table, "He has seen a phagocyte") == " of the blood"
    # Only a whole caption is proposed at the beginning, and only it has an end.
    beginning = written_after(tokenizer, table, "")
    assert CAPTION.startswith(beginning)
    assert len(beginning) > 40


def test_without_an_end_token(tokenizer: Tokenizer) -> None:
    table = phrase_table([CAPTION] * 40, tokenizer, None)
    assert written_after(tokenizer, table, CAPTION[:40]) == CAPTION[40:]


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_phrases(tmp_path / "none.txt")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n \n")
    with pytest.raises(CheckpointError, match="are empty"):
        read_phrases(empty)


def test_a_bundle_with_phrases_says_the_same_in_fewer_steps(tmp_path: Path) -> None:
    tiny = make_bundle(tmp_path)
    cells = [tiny_cell(20, seed=seed).numpy() for seed in range(4)]
    texts = [tiny.reference(cell, tiny.bundle.manifest.generation) for cell in cells]

    build_phrase_table(texts * 10).save(tmp_path / PHRASES_NAME)
    manifest = tiny.bundle.manifest
    names = [*manifest.files, PHRASES_NAME]
    write_manifest(tmp_path, manifest.replace(files=file_entries(tmp_path, names)))
    for drafts in (True, False):
        options = DescribeOptions(threads=1, drafts=drafts, batch_size=2)
        described = list(
            Describer(open_bundle(tmp_path), options).describe([EncodedCells.of_tokens(cells)])
        )
        assert [list(r.tokens) for r in described] == texts
        steps = sum(r.steps for r in described)
        assert steps * 2 < sum(map(len, texts)) if drafts else steps == sum(map(len, texts))
