"""A bundle judged on labelled cells: `c2t evaluate` as a function, and the gate of quantisation.

One decision: whatever can be wrong with labels, ontologies, references or the place for the report
is found before the first cell is described, which may be hours before the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

import c2t
from c2t.calibration.evaluate.cell_records import choose_examples, make_records
from c2t.calibration.evaluate.comparison import Comparison, compare, vocabularies_differ
from c2t.calibration.evaluate.described_cells import DescribedCells, describe_cells, force_cells
from c2t.calibration.evaluate.evaluation import CellRecord, Difference, Evaluation, SystemScores
from c2t.calibration.evaluate.evaluation_warnings import field_warnings, reference_warnings
from c2t.calibration.metrics.bootstrap import Bootstrap, BootstrapOptions
from c2t.calibration.metrics.field_score import JudgedField, judge_field, true_terms
from c2t.calibration.metrics.ontology import Ontology
from c2t.calibration.metrics.ontology_file import installed_ontology, read_ontology
from c2t.calibration.metrics.ontology_similarity import OntologySimilarity
from c2t.calibration.metrics.predicted_labels import LabelReader
from c2t.calibration.metrics.text_metrics import check_bert_model, read_references, score_texts
from c2t.calibration.metrics.true_labels import TrueLabels, read_label_map, read_true_labels
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.cells.options import CellOptions
from c2t.runtime.cells.reader import CellReader, open_cells
from c2t.runtime.describe.caption import NORMAL
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.system.errors import EvaluationError

# The ontologies of the fields that have one, by the prefix of their ids.
PREFIXES = {"cell_type": "CL", "tissue": "UBERON", "disease": "MONDO"}


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What to judge by.

    Args:
        cells: The `.h5ad` file of labelled cells.
        columns: Field -> column of its labels; other fields are read from CELLxGENE's columns
            where the file has them ("cell_type" must be there).
        label_map: See `c2t.calibration.metrics.true_labels`.
        ontologies: Field -> ontology file; other fields take the installed guide's, if any.
        references: File of reference captions (.jsonl or .csv).
        reference_column: Column of reference captions, instead of a file.
        bert_model: Folder of a model for BERTScore.
        reading: How to read the cells, and which.
        describing: How to describe them.
        bootstrap: How intervals are found.
        examples: How many cells to show.
    """

    cells: Path
    columns: dict[str, str | None] = field(default_factory=dict)
    label_map: Path | None = None
    ontologies: dict[str, Path | None] = field(default_factory=dict)
    references: Path | None = None
    reference_column: str | None = None
    bert_model: Path | None = None
    reading: CellOptions = field(default_factory=CellOptions)
    describing: DescribeOptions = field(default_factory=DescribeOptions)
    bootstrap: BootstrapOptions = field(default_factory=BootstrapOptions)
    examples: int = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class _Truth:
    """What the texts are judged by."""

    labels: list[TrueLabels]
    similarities: dict[str, OntologySimilarity]
    unfit: list[str]  # fields whose ontology knows none of the labels
    references: list[str | None]


def evaluate_bundle(
    bundle: Bundle,
    options: EvaluateOptions,
    *,
    against: Bundle | DescribedCells | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[Evaluation, list[CellRecord]]:
    """Judge a bundle on labelled cells.

    Args:
        bundle: The bundle.
        options: What to judge by.
        against: Another bundle, to be judged on the same cells and compared with; it may have
            described these cells already.
        report: Told what is going on, a sentence at a time.

    Returns:
        The figures, and a record of each cell.

    Raises:
        EvaluationError: Labels, ontologies or references that texts cannot be judged by.
        CellFileError: The file cannot be read as counts over known genes.
        EngineError: No engine runs here.
    """
    check_bert_model(options.bert_model)
    ontologies = _open_ontologies(options)
    with open_cells(options.cells, bundle, options.reading) as reader:
        truth = _read_truth(reader, ontologies, options)
        warnings = list(reader.warnings)
        report(reader.counts_report.sentence)
        report(reader.gene_report.sentence)
        if isinstance(against, Bundle):
            # An error in the second bundle's genes is told before the first one is run.
            open_cells(options.cells, against, options.reading).close()
        judged = describe_cells(bundle, reader, options.describing)
    bootstrap = Bootstrap(len(judged.descriptions), options.bootstrap)
    fields = _judge(judged, truth, bootstrap)
    other, other_fields, comparison = None, None, None
    if against is not None:
        other = _described(against, options)
        other_fields = _judge(other, truth, bootstrap)
        comparison = _compare(judged, other, bootstrap, options)
    records = make_records(
        judged.descriptions,
        truth.labels,
        fields,
        truth.references,
        against=None if other is None else other.descriptions,
        against_fields=other_fields,
    )
    warnings += field_warnings(fields, truth.unfit, PREFIXES)
    warnings += reference_warnings(truth.references)
    evaluation = Evaluation(
        c2t_version=c2t.__version__,
        cells_file=options.cells.name,
        cells=len(judged.descriptions),
        generation={k: str(v) for k, v in asdict(judged.describer.generation).items()},
        bootstrap=options.bootstrap,
        judged=_scores(judged, fields, truth, bootstrap, options),
        against=None
        if other is None or other_fields is None
        else _scores(other, other_fields, truth, bootstrap, options),
        differences={
            name: _difference(fields[name], theirs, bootstrap)
            for name, theirs in (other_fields or {}).items()
        },
        comparison=comparison,
        warnings=tuple(warnings),
        examples=choose_examples(records, options.examples),
    )
    return evaluation, records


def _described(against: Bundle | DescribedCells, options: EvaluateOptions) -> DescribedCells:
    if isinstance(against, DescribedCells):
        return against
    with open_cells(options.cells, against, options.reading) as reader:
        label = "describing (against)"
        return describe_cells(against, reader, options.describing, label=label)


def _open_ontologies(options: EvaluateOptions) -> dict[str, Ontology]:
    found = {}
    for name, prefix in PREFIXES.items():
        path = options.ontologies.get(name) or installed_ontology(prefix)
        if path is not None:
            found[name] = read_ontology(path)
    return found


def _read_truth(
    reader: CellReader, ontologies: dict[str, Ontology], options: EvaluateOptions
) -> _Truth:
    maps = read_label_map(options.label_map)
    labels = read_true_labels(reader, options.columns, maps, ontologies)
    similarities: dict[str, OntologySimilarity] = {}
    unfit = []
    for true in labels:
        if true.field not in ontologies:
            continue
        similarity = OntologySimilarity(ontologies[true.field])
        try:
            true_terms(true, similarity)
        except EvaluationError:
            # An ontology that the user named must fit, one that is merely installed need not; and
            # no ontology of diseases has a term for their absence.
            healthy = {name for name in true.names if name} == {NORMAL}
            if options.ontologies.get(true.field) is not None and not healthy:
                raise
            unfit.append(true.field)
            continue
        similarities[true.field] = similarity
    return _Truth(
        labels=labels,
        similarities=similarities,
        unfit=unfit,
        references=_references(reader, options),
    )


def _references(reader: CellReader, options: EvaluateOptions) -> list[str | None]:
    if options.references is not None and options.reference_column is not None:
        problem = "reference captions are given as a file and as a column"
        raise EvaluationError(problem, hint="give one of --references and --captions-column")
    found: list[str | None] = [None] * reader.n_cells
    if options.reference_column is not None:
        if options.reference_column not in reader.obs_columns:
            problem = f"{reader.name} has no column {options.reference_column!r} of captions"
            hint = f"the columns there are: {', '.join(sorted(reader.obs_columns))}"
            raise EvaluationError(problem, hint=hint)
        found = [text or None for text in reader.obs_column(options.reference_column)]
    elif options.references is not None:
        by_cell = read_references(options.references)
        found = [by_cell.get(cell) for cell in reader.cell_ids]
    else:
        return found
    if not any(found):
        problem = f"no cell of {reader.name} has a reference caption"
        hint = f"captions go by the cells' names, such as `{reader.cell_ids[0]}`"
        raise EvaluationError(problem, hint=hint)
    return found


def _judge(
    described: DescribedCells, truth: _Truth, bootstrap: Bootstrap
) -> dict[str, JudgedField]:
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
    labels = LabelReader(names)
    return {
        true.field: judge_field(
            true,
            labels.read(described.texts, true.field),
            bootstrap,
            truth.similarities.get(true.field),
        )
        for true in truth.labels
    }


def _compare(
    judged: DescribedCells, other: DescribedCells, bootstrap: Bootstrap, options: EvaluateOptions
) -> Comparison:
    differ = vocabularies_differ(judged.bundle, other.bundle)
    forced = None
    if differ is None:
        forced = force_cells(judged, other, options.cells, options.reading)
    return compare(judged.descriptions, other.descriptions, bootstrap, forced, differ)


def _scores(
    described: DescribedCells,
    fields: dict[str, JudgedField],
    truth: _Truth,
    bootstrap: Bootstrap,
    options: EvaluateOptions,
) -> SystemScores:
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
        fields={name: judged.score for name, judged in fields.items()},
        texts=texts,
    )


def _difference(judged: JudgedField, other: JudgedField, bootstrap: Bootstrap) -> Difference:
    macro = judged.score.macro_f1.value - other.score.macro_f1.value
    return Difference(
        accuracy=bootstrap.mean(judged.right - other.right),
        macro_f1=bootstrap.interval(macro, judged.macro_f1 - other.macro_f1),
        similarity=None
        if judged.score.similarity is None
        else bootstrap.mean(judged.similarity - other.similarity),
    )
