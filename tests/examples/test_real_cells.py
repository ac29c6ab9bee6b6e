"""The demonstration model on real cells: the tokens of PyTorch's `generate`, greedy and by beams.

Two float32 programs round differently, so a choice between two equally good tokens may fall either
way: a difference is allowed only where the two best logits are closer than `NEAR_TIE`, and counted.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shared_data import shared
from tiny_bundle import TinyBundle, write_bundle

from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.hashes import file_entries
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.bundle.manifest_file import write_manifest
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.generation.phrase_table import PHRASES_NAME, build_phrase_table

CHECKPOINT = Path(__file__).parents[2] / "examples" / "demo" / "checkpoint"
FILES = ("pbmc3k_labelled_raw.h5ad", "glioblastoma_5000x300_raw.h5ad")
NEAR_TIE = 1e-4
FEW = int(os.environ.get("C2T_REAL_CELLS", "6"))  # a file


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> TinyBundle:
    if not CHECKPOINT.is_dir():
        pytest.skip("no demonstration checkpoint in examples/demo/checkpoint")
    loaded = load_checkpoint(CheckpointOptions(folder=CHECKPOINT))
    return write_bundle(tmp_path_factory.mktemp("demo"), loaded)


def read(demo: TinyBundle, name: str, count: int) -> EncodedCells:
    """Cells spread over a file."""
    path = shared(f"cells/{name}")
    with open_cells(path, demo.bundle) as reader:
        chosen = np.linspace(0, reader.n_cells - 1, count).astype(int).tolist()
    with open_cells(path, demo.bundle, CellOptions(cells=chosen)) as reader:
        (chunk,) = reader.chunks(chunk_cells=count)
    return chunk


def compare(demo: TinyBundle, chunk: EncodedCells, beams: int) -> int:
    """Describe the cells both ways; how many differ, by near ties only."""
    generation = replace(demo.bundle.manifest.generation, num_beams=beams)
    describer = Describer(demo.bundle, DescribeOptions(num_beams=beams, threads=1))
    ties = 0
    for tokens, result in zip(chunk.tokens, describer.describe([chunk]), strict=True):
        assert result.error is None, result.error
        expected = demo.reference(tokens, generation)
        if list(result.tokens) != expected:
            gap = score_gap(demo, tokens, list(result.tokens), expected, generation)
            assert abs(gap) < NEAR_TIE, f"{result.cell}: {gap}\n{result.tokens}\n{expected}"
            ties += 1
    return ties


def score_gap(
    demo: TinyBundle, tokens: np.ndarray, ours: list[int], theirs: list[int], settings: Generation
) -> float:
    """How much better PyTorch finds its own tokens than ours.

    Greedy: logits of the two tokens where the texts part. Beams: the scores of the whole texts.
    """
    logits = [row_logits(demo, tokens, text) for text in (ours, theirs)]
    if settings.num_beams == 1:
        at = next(i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
        return float(logits[1][at, theirs[at]] - logits[1][at, ours[at]])
    scores = [
        float(torch.log_softmax(rows, dim=1)[torch.arange(len(text)), text].sum())
        / len(text) ** settings.length_penalty
        for rows, text in zip(logits, (ours, theirs), strict=True)
    ]
    return scores[1] - scores[0]


def row_logits(demo: TinyBundle, tokens: np.ndarray, text: list[int]) -> torch.Tensor:
    """PyTorch's logits [len(text), V] for each token of a text."""
    genes = torch.as_tensor(tokens, dtype=torch.long)[None]
    with torch.no_grad():
        rows = demo.loaded.model(genes, torch.tensor([text]), demo.loaded.prompt)
    return rows[0, : len(text)]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("name", FILES)
def test_tokens_of_generate_on_some_cells(demo: TinyBundle, name: str, beams: int) -> None:
    assert compare(demo, read(demo, name, FEW), beams) <= 1


@pytest.mark.parametrize("batch_size", [1, 5])
def test_drafts_give_the_same_text_in_a_quarter_of_the_steps(
    demo: TinyBundle, tmp_path: Path, batch_size: int
) -> None:
    chunk = read(demo, FILES[0], 60)
    plain = Describer(demo.bundle, DescribeOptions(threads=1, drafts=False))
    texts = [result.tokens for result in plain.describe([chunk])]
    folder = shutil.copytree(demo.bundle.path, tmp_path / "bundle")
    build_phrase_table(texts[::2]).save(folder / PHRASES_NAME)  # half of the cells are new to it
    names = {*demo.bundle.manifest.files, PHRASES_NAME}
    write_manifest(folder, demo.bundle.manifest.replace(files=file_entries(folder, names)))

    options = DescribeOptions(threads=1, batch_size=batch_size)
    drafting = Describer(open_bundle(folder), options)
    assert [result.tokens for result in drafting.describe([chunk])] == texts
    assert drafting.profile().tokens_per_step > 4


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 4])
def test_tokens_of_generate_on_a_hundred_cells(demo: TinyBundle, beams: int) -> None:
    ties = sum(compare(demo, read(demo, name, 52), beams) for name in FILES)
    print(f"{2 * 52} cells, {beams} beams: {ties} near ties")
    assert ties <= 2
