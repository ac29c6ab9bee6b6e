"""A tiny bundle judged on cells whose names and labels are meant to break out of the page."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import anndata
import pytest
from cli_process import make_cells
from read_page import Page
from tiny_bundle import make_bundle

from c2t.calibration.evaluate.evaluate import evaluate_bundle
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.metrics.bootstrap import BootstrapOptions, Interval
from c2t.calibration.report.evaluation_report import write_report
from c2t.calibration.report.evaluation_table import evaluation_text
from c2t.calibration.results.gate import Tolerance, gate_failures
from c2t.cli import app
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.errors import EngineError, EvaluationError, OutputError

EVIL = '<script>alert("x")</script>'
OBO = """format-version: 1.2

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000236
name: B cell
is_a: CL:0000000 ! cell
"""
CELLS = 12


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("judged", "against")]
    return [make_bundle(folder, seed=seed).bundle for seed, folder in enumerate(folders)]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    path = make_cells(tmp_path_factory.mktemp("cells") / "cells.h5ad", CELLS)
    adata = anndata.read_h5ad(path)
    adata.obs_names = [f"{EVIL}{i}" for i in range(CELLS)]
    adata.obs["cell_type"] = ["B cell", EVIL] * (CELLS // 2)
    adata.obs["tissue"] = ["blood"] * CELLS
    adata.obs["caption"] = ["This sample consists of a B cell, a lymphocyte."] * CELLS
    adata.write_h5ad(path)
    return path


@pytest.fixture
def options(labelled, tmp_path) -> EvaluateOptions:
    obo = tmp_path / "cl.obo"
    obo.write_text(OBO)
    return EvaluateOptions(
        cells=labelled,
        ontologies={"cell_type": obo},
        describing=DescribeOptions(max_new_tokens=20, threads=1),
        bootstrap=BootstrapOptions(resamples=50),
    )


def says_by_cell(monkeypatch, words) -> None:
    """Texts of a random model name nothing: put words into its mouth, its tokens stay."""
    plain = Describer.describe

    def describe(self, cells):
        for number, description in enumerate(plain(self, cells)):
            said = None if description.text is None else words(number, description.text)
            yield replace(description, text=said)

    monkeypatch.setattr(Describer, "describe", describe)


def test_figures_of_known_texts(bundles, options, monkeypatch):
    text = "This sample consists of a {}, well. It originates from the blood of a normal female."
    says_by_cell(monkeypatch, lambda n, _: text.format("B cell" if n % 4 < 2 else EVIL))
    evaluation, records = evaluate_bundle(bundles[0], options)
    kind = evaluation.judged.fields["cell_type"]
    # Cells 3 (empty) and 5 (NaN) cannot be described and are wrong; of the others, 0 and 1 of each
    # four are called B cells, and the true ones alternate.
    assert evaluation.judged.failed == kind.unread == 2
    assert kind.accuracy.value == pytest.approx(5 / 12)
    assert kind.similarity.cells == 6
    assert kind.similarity.true_without_term == {EVIL: 6}
    assert kind.similarity.mean.value == pytest.approx((3 * 13.287857 + 3) / 6)
    assert evaluation.judged.fields["tissue"].accuracy.value == pytest.approx(10 / 12)
    assert evaluation.judged.fields["tissue"].similarity is None
    assert len(records) == CELLS
    assert any("UBERON" in warning for warning in evaluation.warnings)


def test_report_is_whole_and_escaped(bundles, options, monkeypatch, tmp_path):
    says_by_cell(monkeypatch, lambda n, text: f"This sample consists of a {EVIL}, {n} {text}")
    options = replace(options, reference_column="caption")
    pytest.importorskip("sacrebleu")
    evaluation, records = evaluate_bundle(bundles[0], options, against=bundles[1])
    folder = tmp_path / "report"
    write_report(folder, evaluation, records)
    assert sorted(p.name for p in folder.iterdir()) == [
        "cells.jsonl",
        "evaluation.html",
        "evaluation.json",
    ]
    page = Page((folder / "evaluation.html").read_text())
    assert "script" not in page.elements
    assert f"{EVIL}0" in page.words
    assert page.policy.startswith("default-src 'none'")
    assert page.addresses == []
    assert page.elements.count("svg") >= 4
    figures = json.loads((folder / "evaluation.json").read_text())
    assert figures["cells"] == CELLS
    assert figures["comparison"]["cells"] == 10
    assert figures["comparison"]["kl_per_token"]["value"] > 0
    assert set(figures["judged"]["texts"]) >= {"BLEU-4", "ROUGE-L"}
    lines = [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]
    assert [line["cell"] for line in lines] == [f"{EVIL}{i}" for i in range(CELLS)]
    assert lines[3]["text"] is None
    assert lines[3]["error"]
    with pytest.raises(OutputError, match="exists already"):
        write_report(folder, evaluation, records)
    write_report(folder, evaluation, records, force=True)
    assert "token agreement" in evaluation_text(evaluation)


def test_a_bundle_against_itself_differs_in_nothing(bundles, options):
    evaluation, records = evaluate_bundle(bundles[0], options, against=bundles[0])
    found = evaluation.comparison
    assert found.identical_texts == Interval(value=1, low=1, high=1)
    assert found.token_agreement == found.forced_agreement == found.identical_texts
    assert found.kl_per_token.value < 1e-9
    assert found.first_divergence == ()
    assert evaluation.differences["cell_type"].accuracy == Interval(value=0, low=0, high=0)
    assert gate_failures(evaluation, Tolerance()) == []
    assert all(record.first_divergence is None for record in records)


def test_gate_lists_all_that_is_lost():
    def system(accuracy, similarity):
        near = SimpleNamespace(mean=Interval(value=similarity, low=0, high=0))
        share = Interval(value=accuracy, low=0, high=0)
        return SimpleNamespace(
            fields={"cell_type": SimpleNamespace(accuracy=share, similarity=near)}
        )

    comparison = SimpleNamespace(token_agreement=Interval(value=0.9, low=0, high=1))
    evaluation = SimpleNamespace(
        judged=system(0.80, 9.9), against=system(0.81, 10.0), comparison=comparison
    )
    assert gate_failures(evaluation, Tolerance()) == [
        "cell type accuracy is 1.00 points lower; 0.50 are allowed",
        "cell type ontology similarity is 1.00 % lower; 0.50 % are allowed",
        "token agreement is 90.00 %; at least 97.00 % is asked for",
    ]
    assert gate_failures(evaluation, Tolerance(accuracy=0.02, similarity=0.02, agreement=0.8)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"columns": {"cell_type": "kind"}}, "no column 'kind' of labels"),
        ({"reference_column": "truth"}, "no column 'truth' of captions"),
        ({"ontologies": {"tissue": "obo"}}, "none of the labels in 'tissue' is a term of cl.obo"),
        ({"reference_column": "caption", "references": Path("x")}, "as a file and as a column"),
        ({"bert_model": Path("nowhere")}, "no folder of a model"),
    ],
)
def test_mistakes_are_told_before_any_cell_is_described(
    bundles, options, monkeypatch, change, problem
):
    monkeypatch.setattr(Describer, "__init__", lambda *_: pytest.fail("described"))
    if "ontologies" in change:
        change = {"ontologies": {"tissue": options.ontologies["cell_type"]}}
    with pytest.raises(EvaluationError, match=re.escape(problem)) as caught:
        evaluate_bundle(bundles[0], replace(options, **change))
    assert caught.value.hint


def test_both_bundles_open_before_a_cell_is_described(bundles, options, monkeypatch):
    plain = Describer.__init__

    def refuse_the_second(self, bundle, *more, **options):
        if bundle is bundles[1]:
            problem = "no engine for the second bundle"
            raise EngineError(problem)
        plain(self, bundle, *more, **options)

    monkeypatch.setattr(Describer, "__init__", refuse_the_second)
    monkeypatch.setattr(Describer, "describe", lambda *_: pytest.fail("described"))
    with pytest.raises(EngineError, match="second bundle"):
        evaluate_bundle(bundles[0], options, against=bundles[1])


def test_labels_are_read_before_bundles_are_hashed(bundles, labelled, monkeypatch, call_c2t):
    monkeypatch.setattr(Bundle, "check_hashes", lambda *_, **__: pytest.fail("hashed files"))
    known = ("evaluate", bundles[0].path, labelled, "--against", bundles[1].path)
    for more, problem in (
        (("--label-column", "kind"), "no column 'kind' of labels"),
        (("--captions-column", "truth"), "no column 'truth' of captions"),
        (("--label-map", "none.json"), "none.json"),
        (("--references", "none.csv"), "none.csv holds no reference captions"),
        (("--ontology", "none.obo"), "there is no ontology file none.obo"),
        (("-o", "missing/report"), "there is no folder"),
    ):
        done = call_c2t(*known, *more)
        assert done.returncode == 1
        *_, error, hint = done.stderr.splitlines()
        assert problem in error
        assert hint.startswith("hint: ")


def test_command(bundles, labelled, tmp_path, capfd):
    def call(*more):
        known = ("evaluate", bundles[0].path, labelled, "--threads", 1, "--max-new-tokens", 8)
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            app(args=[str(word) for word in (*known, *more)], prog_name="c2t")
        return caught.value.code, *capfd.readouterr()

    code, out, said = call("--against", bundles[0].path, "--gate", "-o", tmp_path / "report")
    assert code == 0, said
    assert "cell type accuracy" in out
    assert "identical texts       100.0 %" in out
    assert "the gate is passed" in said
    assert (tmp_path / "report" / "evaluation.html").is_file()
    code, out, said = call("--label-column", "kind")
    assert (code, out) == (1, "")
    assert said.splitlines()[-2:] == [
        "error: cells.h5ad has no column 'kind' of labels (cell type)",
        "hint: choose --label-column from the columns there are: caption, cell_type, tissue",
    ]
    assert call("--gate")[0] == 2
