"""Evidence with real engines: against leaving genes out by hand, whatever threads and batches."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cli_process import make_cells
from explain_bundle import with_rules
from more_files import bundle_with
from tiny_data import BUNDLES, tiny_cell

import c2t
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.explainer import Explainer
from c2t.runtime.explain.evidence import CellEvidence
from c2t.runtime.explain.options import ExplainOptions
from c2t.runtime.fields.paper import PAPER_RULES
from c2t.runtime.fields.rules import RULES_NAME, rules_bytes
from c2t.runtime.system.errors import C2TError

ENGINE_NOISE = 1e-5
ALL = ExplainOptions(runs=1000)
ONE = c2t.DescribeOptions(threads=1, engine="cpu")


@pytest.fixture(scope="module", params=["mlp", "perceiver"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explain") / request.param
    return with_rules(shutil.copytree(BUNDLES[request.param], path))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", 8)


def explained(
    folder: Path, cells: Path, options: ExplainOptions = ALL, **describing: int
) -> list[CellEvidence]:
    with c2t.open(folder, replace(ONE, **describing)) as model:
        return list(model.explain(cells, options))


def by_hand(model: c2t.Model, tokens: np.ndarray, text: tuple[int, ...], first: int) -> float:
    """Log probability of the text's tokens from `first` on: one run over everything."""
    engines, prompt = model.describer().engines, model.bundle.manifest.prompt
    vectors = engines.encoder.encode(tokens[None].astype(np.int32))[0]
    ids = [*prompt.prefix_ids, *([-1] * len(vectors)), *prompt.suffix_ids, *text]
    step = engines.decoder.bind(engines.decoder.new_cache(1, len(ids)), (0, 1), len(ids), len(ids))
    start = len(prompt.prefix_ids)
    step.token_ids[0] = ids
    step.inputs_embeds[0, start : start + len(vectors)] = vectors
    step.position_ids[0] = step.logit_rows[0] = np.arange(len(ids))
    step.write_index[0] = 0
    logits = step.run()[0].astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    places = np.arange(len(ids) - len(text) + first, len(ids))
    return float(logits[places - 1, np.array(ids)[places]].sum())


def test_equal_to_leaving_out_by_hand(folder: Path, cells: Path) -> None:
    with c2t.open(folder, ONE) as model:
        found = [cell for cell in model.explain(cells, ALL) if cell.error is None]
        described = {d.cell: d for d in model.describe(cells)}
        assert len(found) >= 3
        from c2t.runtime.cells.reader import open_cells

        with open_cells(cells, model.bundle) as reader:
            names, tokens = zip(
                *[
                    (n, t)
                    for chunk in reader.chunks()
                    for n, t in zip(chunk.ids, chunk.tokens, strict=True)
                ],
                strict=True,
            )
        for cell in found[:3]:
            said = described[cell.cell]
            field = said.fields["cell_type"]
            assert field is not None
            assert cell.words == cell.written == field.words
            text, (start, end) = said.tokens, field.spans[0]
            lengths = [
                len(decode_text(model.bundle.tokenizer, text[:n], whole=False).rstrip("\ufffd"))
                for n in range(1, len(text) + 1)
            ]
            first = next(n for n, length in enumerate(lengths) if length > start)
            last = next(n for n, length in enumerate(lengths) if length > end)
            of_cell = tokens[names.index(cell.cell)]
            base = by_hand(model, of_cell, text[: last + 1], first)
            assert cell.probability == pytest.approx(np.exp(base), abs=ENGINE_NOISE)
            assert cell.complete
            assert len(cell.genes) == cell.genes_used == len(of_cell) - 2  # <cls> and <eos>
            ids = {
                int(token): name.decode()
                for token, name in zip(
                    model.bundle.genes.token, model.bundle.genes.ensembl_id, strict=True
                )
            }
            for gene in cell.genes[::7]:
                assert ids[int(of_cell[gene.rank])] == gene.gene_id  # <cls> has rank 0
                without = by_hand(model, np.delete(of_cell, gene.rank), text[: last + 1], first)
                assert gene.effect == pytest.approx(base - without, abs=ENGINE_NOISE)
                expected = np.exp(base) - np.exp(without)
                assert gene.probability_effect == pytest.approx(expected, abs=ENGINE_NOISE)


def test_threads_batches_and_neighbours_change_nothing(folder: Path, cells: Path) -> None:
    options = ExplainOptions(runs=48, seed=3)
    expected = explained(folder, cells, options)
    for describing in ({"threads": 3, "batch_size": 2}, {"batch_size": 64}):
        found = explained(folder, cells, options, **describing)
        assert [cell.cell for cell in found] == [cell.cell for cell in expected]
        for one, other in zip(found, expected, strict=True):
            assert (one.error, one.words, one.runs) == (other.error, other.words, other.runs)
            ours = {gene.gene_id: gene.effect for gene in one.genes}
            theirs = {gene.gene_id: gene.effect for gene in other.genes}
            assert ours == pytest.approx(theirs, abs=ENGINE_NOISE)
    with c2t.open(folder, ONE) as model:
        name = expected[-1].cell
        alone = list(model.explain(cells, options, reading=c2t.CellOptions(cells=[name])))
    assert [(g.gene_id, g.rank) for g in alone[0].genes] == [
        (g.gene_id, g.rank) for g in expected[-1].genes
    ]


def test_a_bad_cell_costs_no_other(folder: Path, cells: Path) -> None:
    found = explained(folder, cells)
    errors = {cell.cell: cell.error for cell in found}
    assert list(errors) == [f"cell{i}" for i in range(8)]
    assert errors["cell3"] == "cell is empty"
    assert errors["cell5"] == "cell has 1 NaN value"
    for cell in found:
        assert (cell.error is None) == bool(cell.genes) == (cell.probability is not None)


def test_another_name_than_the_written_one(folder: Path, cells: Path) -> None:
    found = explained(folder, cells, ExplainOptions(label="blood", runs=1000))
    good = [cell for cell in found if cell.error is None]
    assert good
    for cell in good:
        assert cell.words == "blood"
        assert cell.written not in (None, "blood")
        assert 0 < cell.probability < 0.1


def test_what_cannot_be_explained_is_refused_before_the_cells(folder: Path) -> None:
    with c2t.open(folder, ONE) as model:
        describer = model.describer()
        for options, problem in (
            (ExplainOptions(field="tissue"), "no field 'tissue'"),
            (ExplainOptions(field=""), "no field ''"),
            (ExplainOptions(label=""), "empty"),
            (ExplainOptions(label="a\nb"), "spaces or signs"),
        ):
            with pytest.raises(C2TError, match=problem) as caught:
                Explainer(model.bundle, describer, options)
            assert caught.value.hint


def test_cells_in_memory(folder: Path) -> None:
    tokens = [tiny_cell(30, seed=seed) for seed in range(8)] + [np.array([2, 9, 3], np.int32)]
    with c2t.open(folder, ONE) as model:
        explainer = Explainer(model.bundle, model.describer(), ALL)
        found = list(explainer.explain([EncodedCells.of_tokens(tokens)]))
    assert len(found) == 9
    assert any(cell.error is None for cell in found)
    assert found[-1].error is not None  # one gene, or a text that names nothing


def test_an_end_is_asked_for_after_every_batch(folder: Path) -> None:
    """Not once a stage, which has up to half of a cell's runs."""

    class EnoughError(Exception):
        pass

    told: list[int] = []

    def advance(runs: int) -> None:
        told.append(runs)
        if sum(told) > 10:
            raise EnoughError

    tokens = [tiny_cell(40, seed=seed) for seed in range(8)]
    with c2t.open(folder, replace(ONE, batch_size=4)) as model:
        explainer = Explainer(model.bundle, model.describer(), ALL, advance=advance)
        with pytest.raises(EnoughError):
            list(explainer.explain([EncodedCells.of_tokens(tokens)]))
        assert told[:4] == [1, 4, 4, 4]
        assert set(told[4:]) <= {1}  # the next cell may have begun, and ends as soon
        # The engines are free, and all runs of a cell are told of.
        told.clear()
        explainer = Explainer(model.bundle, model.describer(), ALL, advance=told.append)
        found = list(explainer.explain([EncodedCells.of_tokens(tokens)]))
    assert sum(told) == sum(cell.runs for cell in found)
    assert max(told) == 4


def test_the_prompt_is_not_disturbed(folder: Path, cells: Path) -> None:
    """Texts after explaining are those before."""
    with c2t.open(folder, ONE) as model:
        before = [d.text for d in model.describe(cells)]
        list(model.explain(cells, ExplainOptions(runs=48)))
        assert [d.text for d in model.describe(cells)] == before


def test_a_label_that_captions_never_say_is_doubted(cells: Path, tmp_path: Path) -> None:
    rules = msgspec.structs.replace(PAPER_RULES, known={"cell_type": ("B cell",)})
    bundle = bundle_with(tmp_path / "bundle", {RULES_NAME: rules_bytes(rules)})
    with c2t.Model(bundle, ONE) as model:
        for label, doubted in (("no such", True), ("B cell", False)):
            options = ExplainOptions(runs=64, label=label)
            assert bool(Explainer(bundle, model.describer(), options).doubts) == doubted
        with pytest.warns(UserWarning, match=r"the label is not among the names.*'no such'"):
            next(model.explain(cells, ExplainOptions(runs=64, label="no such")))
