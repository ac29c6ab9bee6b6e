"""Bundles with a decoder of each family: parity, and PyTorch's texts token for token."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from family_bundles import SIZES, family_checkpoint
from tiny_bundle import TinyBundle, write_bundle
from tiny_models import tiny_cell

from c2t.export.decoders.families import FAMILIES
from c2t.export.model.loaded_checkpoint import CaptionFiles, LoadedCheckpoint
from c2t.export.parity.check import check_parity
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.generation.phrase_table import PHRASES_NAME

LENGTHS = (3, 5, 9, 14, 20, 26)


@pytest.fixture(scope="module", params=FAMILIES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    """A bundle whose phrase table has two of PyTorch's texts."""
    folder = tmp_path_factory.mktemp(request.param)
    loaded = family_checkpoint(request.param, trained=True)
    written = [reference(loaded, cell) for cell in cells()[:2]]
    phrases = folder / "phrases.txt"
    phrases.write_text("".join(loaded.tokenizer.decode(ids).strip() + "\n" for ids in written))
    (folder / "bundle").mkdir()
    return write_bundle(folder / "bundle", replace(loaded, captions=CaptionFiles(phrases=phrases)))


def cells() -> list[list[int]]:
    return [tiny_cell(length, SIZES, seed=length).tolist() for length in LENGTHS]


def reference(loaded: LoadedCheckpoint, cell: list[int], *, beams: int = 1) -> list[int]:
    generation = replace(loaded.generation, num_beams=beams)
    return loaded.model.generate(torch.tensor(cell), loaded.prompt, generation)


def described(tiny: TinyBundle, **options: int) -> list[list[int]]:
    describer = Describer(tiny.bundle, DescribeOptions(threads=1, **options))
    chunk = EncodedCells.of_tokens(cells())
    return [list(found.tokens) for found in describer.describe([chunk])]


def test_parity(tiny: TinyBundle) -> None:
    results = check_parity(tiny.loaded, tiny.bundle.path, cells()[-2:])
    assert {result.graph for result in results} >= {"encoder", "projector", "decoder"}


@pytest.mark.parametrize("beams", [1, 3])
def test_texts_of_the_pytorch_model(tiny: TinyBundle, beams: int) -> None:
    expected = [reference(tiny.loaded, cell, beams=beams) for cell in cells()]
    assert len({tuple(ids) for ids in expected}) > 1
    assert described(tiny, num_beams=beams) == expected


def test_texts_do_not_depend_on_drafts_or_batch(tiny: TinyBundle) -> None:
    assert PHRASES_NAME in tiny.bundle.manifest.files
    expected = [reference(tiny.loaded, cell) for cell in cells()]
    for drafts in (False, True):
        for batch_size in (1, 4):
            assert described(tiny, drafts=drafts, batch_size=batch_size) == expected
