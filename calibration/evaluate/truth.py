"""What texts are judged by: true labels, ontologies and reference captions.

One decision: all of it is read and checked before a bundle is hashed or a cell is described. To
describe all cells may take hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from c2t.calibration.evaluate.evaluate_options import EvaluateOptions
from c2t.calibration.evaluate.true_labels import read_true_labels
from c2t.calibration.metrics.field_score import true_terms
from c2t.calibration.metrics.labels import TrueLabels
from c2t.calibration.metrics.ontology_similarity import OntologySimilarity
from c2t.calibration.metrics.text_metrics import (
    check_bert_model,
    check_text_metrics,
    read_references,
)
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.describe.caption import NORMAL
from c2t.runtime.labels.label_map import read_label_map
from c2t.runtime.labels.ontology import Ontology
from c2t.runtime.labels.ontology_file import installed_ontology, read_ontology
from c2t.runtime.system.errors import EvaluationError

# The ontologies of the fields that have one, by the prefix of their ids.
PREFIXES = {"cell_type": "CL", "tissue": "UBERON", "disease": "MONDO"}


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """What the texts of B cells are judged by.

    Args:
        labels: True labels, by field.
        similarities: Field -> similarities of its ontology's terms.
        unfit: Fields whose ontology has no term for any label.
        references: [B] reference captions; None for a cell without one.
        ontologies: By field, also those without a term for any label.
    """

    labels: list[TrueLabels]
    similarities: dict[str, OntologySimilarity]
    unfit: list[str]
    references: list[str | None]
    ontologies: Mapping[str, Ontology] = field(default_factory=dict)


def read_truth(options: EvaluateOptions) -> Truth:
    """Read labels, ontologies and reference captions; no bundle is needed.

    Raises:
        EvaluationError: Texts cannot be judged by them, or a library for it is not installed.
        CellFileError: The file cannot be read as counts, or lacks the selected cells.
    """
    check_bert_model(options.bert_model)
    if options.references is not None and options.reference_column is not None:
        problem = "reference captions are given as a file and as a column"
        raise EvaluationError(problem, hint="give one of --references and --captions-column")
    if options.references is not None or options.reference_column is not None:
        check_text_metrics()
    captions = None if options.references is None else read_references(options.references)
    maps = read_label_map(options.label_map)
    ontologies = _open_ontologies(options)
    with CellCounts(options.cells, options.reading) as cells:
        labels = read_true_labels(cells, options.columns, maps, ontologies)
        similarities, unfit = _similarities(labels, ontologies, options)
        return Truth(
            labels=labels,
            similarities=similarities,
            unfit=unfit,
            references=_references(cells, captions, options.reference_column),
            ontologies=ontologies,
        )


def _open_ontologies(options: EvaluateOptions) -> dict[str, Ontology]:
    ontologies = {}
    for name, prefix in PREFIXES.items():
        path = options.ontologies.get(name) or installed_ontology(prefix)
        if path is not None:
            ontologies[name] = read_ontology(path)
    return ontologies


def _similarities(
    labels: list[TrueLabels], ontologies: Mapping[str, Ontology], options: EvaluateOptions
) -> tuple[dict[str, OntologySimilarity], list[str]]:
    """Similarities by field, and the fields whose ontology has no term for any label."""
    similarities: dict[str, OntologySimilarity] = {}
    unfit = []
    for true in labels:
        if true.field not in ontologies:
            continue
        similarity = OntologySimilarity(ontologies[true.field])
        try:
            true_terms(true, similarity)
        except EvaluationError:
            # An ontology that the user named must fit; an installed one need not. No ontology of
            # diseases has a term for "normal".
            healthy = {name for name in true.names if name} == {NORMAL}
            # Who asks which map would help gets an answer, not an error that asks for a map.
            wanted = options.ontologies.get(true.field) is not None and not options.propose
            if wanted and not healthy:
                raise
            unfit.append(true.field)
            continue
        similarities[true.field] = similarity
    return similarities, unfit


def _references(
    cells: CellCounts, captions: Mapping[str, str] | None, column: str | None
) -> list[str | None]:
    """[B] reference captions, of a file (by cell) or of a column; all None without either."""
    if column is not None:
        if column not in cells.obs_columns:
            problem = f"{cells.name} has no column {column!r} of captions"
            hint = f"the columns there are: {', '.join(sorted(cells.obs_columns))}"
            raise EvaluationError(problem, hint=hint)
        references = [text or None for text in cells.obs_column(column)]
    elif captions is not None:
        references = [captions.get(cell) for cell in cells.cell_ids]
    else:
        return [None] * cells.n_cells
    if not any(references):
        problem = f"no cell of {cells.name} has a reference caption"
        hint = f"captions go by the cells' names, such as `{cells.cell_ids[0]}`"
        raise EvaluationError(problem, hint=hint)
    return references
