import json
from dataclasses import dataclass, field

import pytest

from c2t.calibration.evaluate.predicted_labels import LabelReader
from c2t.calibration.evaluate.true_labels import read_true_labels
from c2t.runtime.labels.label_map import read_label_map
from c2t.runtime.labels.ontology import Ontology, Term
from c2t.runtime.system.errors import EvaluationError

ALPHA_BETA = "CD4-positive, alpha-beta T cell"


@dataclass
class Cells:
    columns: dict[str, list[str]] = field(default_factory=dict)
    name: str = "cells.h5ad"
    n_cells: int = 3

    @property
    def obs_columns(self) -> list[str]:
        return list(self.columns)

    def obs_column(self, name: str) -> list[str]:
        return self.columns[name]


def test_reads_the_columns_there_are():
    cells = Cells(
        {
            "cell_type": ["B", "unknown", "T"],
            "tissue": ["lung", "lung", "lung"],
            "disease": ["unknown", "", "na"],
        }
    )
    maps = read_label_map(None)
    kind, tissue = read_true_labels(cells, {}, maps)
    assert (kind.field, kind.names) == ("cell_type", ("B", None, "T"))
    assert (tissue.field, tissue.column) == ("tissue", "tissue")


def test_maps_join_names(tmp_path):
    path = tmp_path / "map.json"
    path.write_text('{"B": "B cell"}')
    cells = Cells({"kind": ["B", "T", "B"]})
    (kind,) = read_true_labels(cells, {"cell_type": "kind"}, read_label_map(path))
    assert kind.names == ("B cell", "T", "B cell")

    document = {
        "cell_type": {"labels": {"B": "B cell"}, "terms": {"B cell": "X:1"}},
        "tissue": {"every_cell": "blood"},
    }
    path.write_text(json.dumps(document))
    kind, tissue = read_true_labels(cells, {"cell_type": "kind"}, read_label_map(path))
    assert kind.terms == {"B cell": "X:1"}
    assert tissue.names == ("blood",) * 3


def test_ids_are_named_by_the_ontology():
    cells = Cells({"cell_type": ["X:1", "T cell", "X:9"]})
    known = {"cell_type": Ontology("x", [Term(id="X:1", label="B cell")])}
    (kind,) = read_true_labels(cells, {}, {}, known)
    assert kind.names == ("B cell", "T cell", "X:9")


@pytest.mark.parametrize(
    ("columns", "wanted", "problem", "hint"),
    [
        ({"leiden": ["1"] * 3}, {}, "no column 'cell_type' of labels", "there are: leiden"),
        (
            {"cell_type": ["B"] * 3},
            {"tissue": "organ"},
            "no column 'organ' of labels (tissue)",
            "--tissue-column",
        ),
        ({"cell_type": [""] * 3}, {}, "no cell of cells.h5ad has a label", "--label-column"),
    ],
)
def test_missing_columns_name_those_there_are(columns, wanted, problem, hint):
    with pytest.raises(EvaluationError) as caught:
        read_true_labels(Cells(columns), wanted, {})
    assert problem in caught.value.problem
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "text", ["[1]", '{"cell_type": {"label": {}}}', '{"colour": {"labels": {}}}', "no JSON"]
)
def test_what_is_no_label_map_is_refused(tmp_path, text):
    path = tmp_path / "map.json"
    path.write_text(text)
    with pytest.raises(EvaluationError, match=r"map\.json"):
        read_label_map(path)


def test_names_with_commas_are_read_whole():
    reader = LabelReader([ALPHA_BETA, "CD4-positive, CD25-positive T cell", "B cell"])
    texts = [
        f"This sample consists of a {ALPHA_BETA}, ...",
        "This sample consists of a CD4-positive, small thing.",
        f"This sample consists of a {ALPHA_BETA}s and more, too.",
        "It is a B cell. It originates from the lung of a normal female.",
        None,
    ]
    found = reader.read(texts, "cell_type")
    assert found == [ALPHA_BETA, "CD4-positive", "CD4-positive", None, None]
    assert reader.read(texts, "tissue") == [None, None, None, "lung", None]
