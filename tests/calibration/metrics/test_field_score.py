import math

import numpy as np
import pytest

from c2t.calibration.evaluate.evaluation_warnings import field_warnings
from c2t.calibration.evaluate.true_labels import TrueLabels
from c2t.calibration.metrics.bootstrap import Bootstrap, BootstrapOptions
from c2t.calibration.metrics.field_score import judge_field
from c2t.calibration.metrics.ontology_similarity import OntologySimilarity
from c2t.runtime.labels.ontology import Ontology, Term
from c2t.runtime.system.errors import EvaluationError

CELLS = Ontology(
    "cells",
    [
        Term(id="X:1", label="cell"),
        Term(id="X:2", label="T cell", parents=("X:1",)),
        Term(id="X:3", label="helper T cell", parents=("X:2",)),
        Term(id="X:4", label="B cell", parents=("X:1",)),
    ],
)
TRUE = TrueLabels(
    field="cell_type",
    column="label",
    names=("T cell", "T cell", "B cell", None, "strange cell", "B cell"),
)
SAID = ("T cells", "helper T cell", None, "B cell", "T cell", "unheard-of")


def bootstrap(cells: int = 6) -> Bootstrap:
    return Bootstrap(cells, BootstrapOptions(resamples=200))


def test_figures_written_out():
    found = judge_field(TRUE, SAID, bootstrap(), OntologySimilarity(CELLS))
    score = found.score
    assert (score.cells, score.unlabelled, score.unread) == (5, 1, 1)
    assert score.accuracy.value == 1 / 5
    assert [None if math.isnan(v) else v for v in found.right] == [1, 0, 0, None, 0, 0]
    assert score.confusion == {
        "B cell": {"": 1, "unheard-of": 1},
        "strange cell": {"T cell": 1},
        "T cell": {"T cell": 1, "helper T cell": 1},
    }
    # t: precision 1/2, recall 1/2; the two others 0.
    assert score.macro_f1.value == pytest.approx(0.5 / 3)
    assert score.macro_f1.low <= score.macro_f1.value <= score.macro_f1.high

    near = score.similarity
    t_right, t_helper = np.log2(1 / 1.9 * 1e4 + 1), np.log2(0.9 / 1.9 * 1e4 + 1)
    assert found.similarity[:3] == pytest.approx([t_right, t_helper, 1])
    assert np.isnan(found.similarity[3:5]).all()
    assert found.similarity[5] == 1
    assert near.mean.value == pytest.approx((t_right + t_helper + 1 + 1) / 4)
    assert near.best == pytest.approx((2 * t_right + 2 * np.log2(10_001)) / 4)
    assert near.cells == 4
    assert near.true_without_term == {"strange cell": 1}
    assert near.predicted_without_term == {"unheard-of": 1}

    warnings = field_warnings({"cell_type": found}, [], {"cell_type": "CL"})
    assert "1 of 6 cells have no cell type label, left out" in warnings
    assert "1 of 5 texts name no cell type: counted as wrong" in warnings
    assert any("`strange cell`" in warning for warning in warnings)
    assert any("`unheard-of`" in warning for warning in warnings)


def test_names_can_be_given_their_terms():
    true = TrueLabels(
        field="cell_type", column="label", names=("Treg",), terms={"Treg": "X:3", "Th": "X:2"}
    )
    found = judge_field(true, ["Th"], bootstrap(1), OntologySimilarity(CELLS))
    assert found.score.similarity.predicted_without_term == {}
    assert found.similarity[0] == 1  # the parent of the true term


def test_an_ontology_of_other_things_is_refused():
    true = TrueLabels(field="cell_type", column="label", names=("CD14+ Mono", "NK"))
    with pytest.raises(EvaluationError) as caught:
        judge_field(true, ["a", "b"], bootstrap(2), OntologySimilarity(CELLS))
    assert "none of the labels in 'label' is a term of cells" in caught.value.problem
    assert "`CD14+ Mono`, `NK`" in caught.value.problem
    assert "--label-map" in caught.value.hint


def test_labels_are_not_quoted_as_names_of_the_texts():
    names = ("B", "Mono", "Mono", "Mono")
    true = TrueLabels(field="cell_type", column="label", names=names)
    found = judge_field(true, ["B cell", "B cell", "monocyte", "B cell"], bootstrap(4))
    warning = field_warnings({"cell_type": found}, [], {"cell_type": "CL"})[0]
    assert "no text names (`Mono`); names of the texts that are no label: `monocyte`:" in warning
    found = judge_field(true, ["B cell"] * 4, bootstrap(4))
    warning = field_warnings({"cell_type": found}, [], {"cell_type": "CL"})[0]
    assert "no text names (`Mono`): a --label-map may be needed" in warning


def test_labels_that_never_meet_are_told():
    true = TrueLabels(field="cell_type", column="label", names=("CD14+ Mono", "CD14+ Mono"))
    found = judge_field(true, ["monocyte", "B cell"], bootstrap(2))
    (warning, missing) = field_warnings({"cell_type": found}, [], {"cell_type": "CL"})
    assert "2 of 2 cells have a cell type in column 'label' that no text names" in warning
    assert (
        "(`CD14+ Mono`); names of the texts that are no label: `B cell`, `monocyte`: a" in warning
    )
    assert "cellxgene-ontology-guide" in missing
