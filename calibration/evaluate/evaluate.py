"""Judges a bundle on labelled cells: `c2t evaluate` as a function, and the gate of calibration."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

import c2t
from c2t.calibration.confidence.score import CertaintyScore, score_certainty
from c2t.calibration.evaluate.cell_records import choose_examples, make_records
from c2t.calibration.evaluate.comparison import compare, vocabularies_differ
from c2t.calibration.evaluate.described_cells import DescribedCells, describe_cells, force_cells
from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.evaluate.evaluation_warnings import field_warnings, reference_warnings
from c2t.calibration.evaluate.predicted_labels import LabelReader
from c2t.calibration.evaluate.truth import PREFIXES, Truth, read_truth
from c2t.calibration.labels.naming import Terms
from c2t.calibration.labels.note import LabelMapNote, note_map
from c2t.calibration.labels.scores import LabelProposal, any_renamed, propose
from c2t.calibration.metrics.bootstrap import Bootstrap
from c2t.calibration.metrics.field_score import JudgedField, judge_field
from c2t.calibration.metrics.text_metrics import score_texts
from c2t.calibration.results.evaluation import (
    CellRecord,
    Comparison,
    Difference,
    Evaluation,
    SystemScores,
)
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.asked_bundle import check_describes
from c2t.runtime.describe.describer import Describer
from c2t.runtime.fields.open import open_fields


@dataclass(frozen=True, eq=False, kw_only=True)
class _Judged:
    """A bundle's texts of the cells, and the fields that were judged."""

    described: DescribedCells
    fields: dict[str, JudgedField]


def evaluate_bundle(
    bundle: Bundle,
    options: EvaluateOptions,
    *,
    truth: Truth | None = None,
    against: Bundle | DescribedCells | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Evaluation, list[CellRecord]]:
    """Judge a bundle on labelled cells.

    Args:
        options: The cells, and what to judge by.
        truth: Result of `read_truth` for the same options; None: read it first.
        against: Another bundle to judge on the same cells and compare with; or its descriptions
            of these cells.
        report: Called with a sentence about the counts, and one about the genes.

    Returns:
        The figures, and a record of each cell.

    Raises:
        TaskError: A bundle writes no descriptions.
        EvaluationError: Labels, ontologies or references that texts cannot be judged by.
        CellFileError: The file cannot be read as counts over known genes.
        EngineError: No engine runs here.
    """
    for each in (bundle, against):
        if isinstance(each, Bundle):
            check_describes(each)
    if truth is None:
        truth = read_truth(options)
    described, other, warnings = _describe(bundle, against, options, report)
    bootstrap = Bootstrap(len(described.descriptions), options.bootstrap)
    judged = _judge(described, truth, bootstrap)
    second = None if other is None else _judge(other, truth, bootstrap)
    comparison = None if other is None else _compare(described, other, bootstrap, options)
    records = make_records(
        described.descriptions,
        truth.labels,
        judged.fields,
        truth.references,
        against=None if other is None else other.descriptions,
        against_fields=None if second is None else second.fields,
    )
    warnings += field_warnings(judged.fields, truth.unfit, PREFIXES)
    warnings += reference_warnings(truth.references)
    note = _note(judged, truth, options)
    if note is not None and note.assigned:
        warnings.append(note.sentence)
    proposal = _proposal(judged, truth, options)
    if proposal is not None and options.label_map is None and any_renamed(proposal):
        warnings.append(
            f"{proposal.sentence}. The figures here stay as they are: write the proposal with "
            "--propose-label-map, look at it, and give it with --label-map"
        )
    evaluation = Evaluation(
        c2t_version=c2t.__version__,
        cells_file=options.cells.name,
        cells=len(described.descriptions),
        generation={k: str(v) for k, v in asdict(described.describer.generation).items()},
        bootstrap=options.bootstrap,
        judged=_scores(judged, truth, bootstrap, options),
        against=None if second is None else _scores(second, truth, bootstrap, options),
        differences={} if second is None else _differences(judged, second, bootstrap),
        comparison=comparison,
        warnings=tuple(warnings),
        examples=choose_examples(records, options.examples),
        label_map=note,
        proposal=proposal,
    )
    return evaluation, records


def _describe(
    bundle: Bundle,
    against: Bundle | DescribedCells | None,
    options: EvaluateOptions,
    report: Callable[[str], None],
) -> tuple[DescribedCells, DescribedCells | None, list[str]]:
    """Describe the cells with one or both bundles; also the reader's warnings.

    Both files of cells and both bundles' engines are opened before the first cell is described, so
    that an error of the second bundle is not found hours later.
    """
    with open_cells(options.cells, bundle, options.reading) as reader:
        warnings = list(reader.warnings)
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        second = None
        if isinstance(against, Bundle):
            open_cells(options.cells, against, options.reading).close()
        first = Describer(bundle, options.describing)
        if isinstance(against, Bundle):
            second = Describer(against, options.describing)
        judged = describe_cells(bundle, first, reader)
    if second is None or not isinstance(against, Bundle):
        return judged, against if isinstance(against, DescribedCells) else None, warnings
    with open_cells(options.cells, against, options.reading) as reader:
        other = describe_cells(against, second, reader, label="describing (against)")
    return judged, other, warnings


def _judge(described: DescribedCells, truth: Truth, bootstrap: Bootstrap) -> _Judged:
    names = {
        name
        for true in truth.labels
        if true.field == "cell_type"
        for name in true.names
        if name is not None
    }
    if "cell_type" in truth.similarities:
        for term in truth.similarities["cell_type"].ontology.terms:
            names.update((term.label, *term.synonyms))
    labels = LabelReader(names, open_fields(described.bundle).rules)
    fields = {
        true.field: judge_field(
            true,
            labels.read(described.texts, true.field),
            bootstrap,
            truth.similarities.get(true.field),
        )
        for true in truth.labels
    }
    return _Judged(described=described, fields=fields)


def _note(judged: _Judged, truth: Truth, options: EvaluateOptions) -> LabelMapNote | None:
    if options.label_map is None or "cell_type" not in judged.fields:
        return None
    true = next(true for true in truth.labels if true.field == "cell_type")
    return note_map(true, judged.fields["cell_type"].said, options.label_map.name)


def _proposal(judged: _Judged, truth: Truth, options: EvaluateOptions) -> LabelProposal | None:
    """A label map for the cell types, where one is needed or asked for."""
    if "cell_type" not in judged.fields or options.label_map:
        return None
    true = next(true for true in truth.labels if true.field == "cell_type")
    if not true.own:
        return None
    own = [
        None if name is None else label for name, label in zip(true.names, true.own, strict=True)
    ]
    proposal = propose(
        own,
        judged.fields["cell_type"].said,
        column=true.column,
        terms=Terms(
            ontology=truth.ontologies.get("cell_type"),
            id_of=functools.partial(judged.described.describer.fields.id_of, "cell_type"),
        ),
    )
    return proposal if proposal and (options.propose or any_renamed(proposal)) else None


def _certainty(judged: _Judged) -> CertaintyScore | None:
    field = judged.fields.get("cell_type")
    if field is None:
        return None
    chosen = [
        cell
        for cell, description in enumerate(judged.described.descriptions)
        if description.text is not None and np.isfinite(field.right[cell])
    ]
    descriptions = [judged.described.descriptions[cell] for cell in chosen]
    if not descriptions:
        return None
    nan = float("nan")
    stated = [d.cell_type_probability for d in descriptions]
    return score_certainty(
        np.array(
            [
                nan if d.cell_type_confidence is None else d.cell_type_confidence
                for d in descriptions
            ]
        ),
        field.right[chosen],
        stated=None
        if all(p is None for p in stated)
        else np.array([nan if p is None else p for p in stated]),
        unsure=None
        if descriptions[0].unsure is None
        else np.array([float(bool(d.unsure)) for d in descriptions]),
    )


def _compare(
    judged: DescribedCells, other: DescribedCells, bootstrap: Bootstrap, options: EvaluateOptions
) -> Comparison:
    differ = vocabularies_differ(judged.bundle, other.bundle)
    forced = None
    if differ is None:
        forced = force_cells(judged, other, options.cells, options.reading)
    return compare(judged.descriptions, other.descriptions, bootstrap, forced, differ)


def _scores(
    judged: _Judged, truth: Truth, bootstrap: Bootstrap, options: EvaluateOptions
) -> SystemScores:
    described = judged.described
    bundle = described.bundle
    lengths = [len(d.tokens) for d in described.descriptions if d.text is not None]
    texts = {}
    if any(truth.references):
        texts = score_texts(
            described.texts, truth.references, bootstrap, bert_model=options.bert_model
        )
    return SystemScores(
        bundle=bundle.manifest.name,
        bundle_sha256=bundle.digest,
        precision=bundle.manifest.precision,
        engine=described.describer.engines.label,
        failed=described.failed,
        mean_tokens=float(np.mean(lengths)),
        seconds=described.seconds,
        fields={name: field.score for name, field in judged.fields.items()},
        texts=texts,
        certainty=_certainty(judged),
    )


def _differences(judged: _Judged, other: _Judged, bootstrap: Bootstrap) -> dict[str, Difference]:
    return {
        name: _difference(field, other.fields[name], bootstrap)
        for name, field in judged.fields.items()
    }


def _difference(judged: JudgedField, other: JudgedField, bootstrap: Bootstrap) -> Difference:
    macro = judged.score.macro_f1.value - other.score.macro_f1.value
    return Difference(
        accuracy=bootstrap.mean(judged.right - other.right),
        macro_f1=bootstrap.interval(macro, judged.macro_f1 - other.macro_f1),
        similarity=None
        if judged.score.similarity is None
        else bootstrap.mean(judged.similarity - other.similarity),
    )
