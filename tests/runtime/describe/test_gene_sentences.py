"""A bundle without an encoder describes, compares labels, verifies; and refuses the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cell_libraries import anndata, sp
from tiny_data import SENTENCES, sentence_bundle

import c2t
from c2t.runtime.annotate.annotate_file import AnnotateFileOptions, annotate_file
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.annotator import AnnotateOptions
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.open import open_engines
from c2t.runtime.generation.bundle_prompts import bundle_prompts
from c2t.runtime.groups.options import GroupOptions
from c2t.runtime.output.describe_file import DescribeFileOptions, describe_file
from c2t.runtime.output.evidence.explain_file import ExplainFileOptions, explain_file
from c2t.runtime.system.errors import C2TError, EngineError, TaskError

ONE = DescribeOptions(threads=1, batch_size=3)
LABELS = ["B cell", "natural killer cell", "platelet"]
GENES = [f"{family}{n}" for n in range(1, 20) for family in ("RPL", "CD", "ZNF")]


@pytest.fixture(scope="module")
def model() -> Iterator[c2t.Model]:
    with c2t.open(SENTENCES, ONE) as opened:
        yield opened


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Human cells, one of them empty, in two groups."""
    counts = np.random.default_rng(0).poisson(1.0, (9, len(GENES))).astype(np.float32)
    counts[4] = 0
    data = anndata.AnnData(sp.csr_matrix(counts))
    data.var_names = GENES
    data.obs_names = [f"cell {n}" for n in range(9)]
    data.obs["organism"] = "Homo sapiens"
    data.obs["sample"] = ["a"] * 5 + ["b"] * 4
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    data.write_h5ad(path)
    return path


def golden_cells() -> EncodedCells:
    return EncodedCells.of_tokens([cell.gene_tokens for cell in sentence_bundle().golden.cells])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("threads", [1, 2])
def test_golden_texts(batch: int, threads: int) -> None:
    """PyTorch's, which the export wrote down."""
    describer = Describer(sentence_bundle(), DescribeOptions(threads=threads, batch_size=batch))
    found = [one.tokens for one in describer.describe([golden_cells()])]
    assert found == [cell.token_ids for cell in sentence_bundle().golden.cells]


def test_verify() -> None:
    result = verify_golden_cells(sentence_bundle())
    assert (result.cells, result.differences) == (3, ())


def test_beams_go_on_from_the_prompt() -> None:
    describer = Describer(sentence_bundle(), DescribeOptions(threads=1, num_beams=3))
    texts = [one.text for one in describer.describe([golden_cells()])]
    assert all(texts)


def test_some_of_the_prompt_is_run_once() -> None:
    bundle = sentence_bundle()
    beginning = bundle_prompts(bundle).beginning
    prompt = bundle.golden.cells[0].gene_tokens
    assert 20 < len(beginning) < len(prompt)
    assert prompt[: len(beginning)] == beginning


def test_cells_of_a_file(model: c2t.Model, cells: Path) -> None:
    found = list(model.describe(cells))
    assert [one.cell for one in found] == [f"cell {n}" for n in range(9)]
    assert [one.error for one in found if one.error] == ["cell is empty"]
    assert all(one.text and one.genes_used == 20 for one in found if not one.error)
    keyed = dict(model.describe_keyed(cells))
    assert [keyed[n].text for n in range(9)] == [one.text for one in found]


def test_labels(model: c2t.Model, cells: Path) -> None:
    """Each cell alone gives the same, and the probabilities are of these labels."""
    with pytest.warns(UserWarning, match="would rather say something else"):
        found = list(model.annotate(cells, LABELS))
    with pytest.warns(UserWarning, match="would rather say something else"):
        alone = list(model.annotate(cells, LABELS, AnnotateOptions(threads=1, batch_size=1)))
    assert found[4].error == "cell is empty"
    for one, other in zip(found, alone, strict=True):
        if one.error is None:
            assert one.log_probabilities is not None
            np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, atol=1e-4)


def test_too_many_text_tokens_are_an_error_of_the_cell(model: c2t.Model) -> None:
    bundle = sentence_bundle()
    longest, words = bundle.manifest.prompt_length, bundle.manifest.decoder.vocabulary_size
    cells = EncodedCells.of_tokens([[1] * (longest + 1), [words], [1, 2, 3]])
    first, second, third = model.describer().describe([cells])
    assert first.error == f"cell has {longest + 1} text tokens; the decoder takes {longest}"
    assert second.error == f"text token {words} is not among the decoder's {words}"
    assert third.text


def said_of(folder: Path, cells: Path, **options: object) -> tuple[list[str], list[dict]]:
    """Describe a file; what was reported, and the lines."""
    said: list[str] = []
    output = folder / "out.jsonl"
    asked = DescribeFileOptions(cells=cells, output=output, describing=ONE, force=True, **options)
    with (folder / "stream").open("wb") as stream:
        describe_file(sentence_bundle(), asked, stream=stream, report=said.append)
    return said, [json.loads(line) for line in output.read_text().splitlines()]


def test_a_file_of_descriptions(model: c2t.Model, cells: Path, tmp_path: Path) -> None:
    said, lines = said_of(tmp_path, cells)
    assert [line["text"] for line in lines] == [one.text for one in model.describe(cells)]
    assert any("as they are written: 57 symbols" in sentence for sentence in said)


def test_groups_have_no_text_of_their_own(cells: Path, tmp_path: Path) -> None:
    said, _ = said_of(tmp_path, cells, groups=GroupOptions(by="sample", text=True))
    assert "warning: groups have no text of their own: the bundle has no encoder" in said
    lines = (tmp_path / "out.groups.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines[1:]] == ["a", "b"]


NOT_MADE = r"the bundle 'tiny-sentences' \(cell2sentence\) cannot "


def test_what_needs_an_encoder_is_refused(model: c2t.Model, cells: Path) -> None:
    with pytest.raises(TaskError, match=f"{NOT_MADE}explain") as error:
        list(model.explain(cells))
    assert error.value.hint == "it can describe and annotate: see `c2t info`"
    with pytest.raises(TaskError, match=f"{NOT_MADE}explain"):
        explain_file(
            sentence_bundle(), ExplainFileOptions(cells=cells), pass_on=print, report=print
        )
    with pytest.raises(TaskError, match=f"{NOT_MADE}embed"):
        list(model.describe(cells, DescribeOptions(threads=1, embedding=True)))


def test_clusters_of_an_embedding_are_refused(cells: Path, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=f"{NOT_MADE}embed"):
        said_of(tmp_path, cells, groups=GroupOptions(by="leiden"))


def test_no_encoder_stands_where_one_would(cells: Path) -> None:
    engines = open_engines(sentence_bundle(), EngineOptions(threads=1))
    with pytest.raises(EngineError, match="has no encoder"):
        engines.clone().encoder.encode(np.zeros((1, 3), np.int32))


def test_annotate_refuses_a_bundle_that_cannot(
    cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = c2t.open(SENTENCES, ONE).bundle
    monkeypatch.setattr(bundle, "manifest", bundle.manifest.replace(tasks=("describe",)))
    with pytest.raises(C2TError, match=f"{NOT_MADE}annotate") as error:
        annotate_file(
            bundle,
            AnnotateFileOptions(cells=cells, labels="B cell", output=tmp_path / "a.csv"),
            stream=None,  # type: ignore[arg-type]
            report=print,
        )
    assert error.value.hint == "it can describe: see `c2t info`"
