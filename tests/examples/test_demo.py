"""The demonstration: its captions, its held-out cells, its control, and the model it brings."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from dataclasses import asdict

import anndata
import numpy as np
import pytest
import scipy.sparse

from c2t.examples.demo import captions, describe_pbmc
from c2t.examples.demo.captions import Donor, caption_parts, caption_text, read_caption_table
from c2t.examples.demo.held_out import is_for_fitting, is_held_out
from c2t.export.field_rules import learned_rules
from c2t.export.term_table import term_table
from c2t.runtime.bundle.unsure_rule import UNSURE_NAME, read_rule
from c2t.runtime.cells.reader import CellCounts
from c2t.runtime.describe.caption import caption_fields
from c2t.runtime.fields.reader import FieldReader
from c2t.runtime.labels.normalise import normalise_label

TEMPLATE = re.compile(
    r"This sample consists of (a|an) ([^,.]+), [^.]+\. It originates from the [^.]+ of a[^.]*\. "
    r"This cell is associated with [^.]+\. Additionally, it involves [^.]+\."
)


@pytest.fixture(scope="module")
def table() -> captions.CaptionTable:
    return read_caption_table()


def caption(table: captions.CaptionTable, cell_type: str, **donor: str | None) -> str:
    given = {"tissue": "blood", "disease": "normal", "sex": None, "age": None} | donor
    first, second = itertools.islice(sorted(table.pathways), 2)
    return caption_text(caption_parts(table, cell_type, Donor(**given), (first, second)))


def test_caption_follows_the_template(table: captions.CaptionTable) -> None:
    for cell_type in table.definitions:
        text = caption(table, cell_type, sex="male")
        assert TEMPLATE.fullmatch(text)
        fields = caption_fields(text)
        assert fields.cell_type == cell_type
        assert (fields.tissue, fields.disease, fields.sex) == ("blood", "normal", "male")


def test_article_and_donor(table: captions.CaptionTable) -> None:
    assert [captions.article(word) for word in ("erythrocyte", "B cell")] == ["an", "a"]
    ill = caption(table, next(iter(table.definitions)), disease="asthma", sex="female", age="youth")
    assert " of a female with asthma during youth." in ill
    assert " of a donor with asthma." in caption(
        table, next(iter(table.definitions)), disease="asthma"
    )


def test_held_out_rule() -> None:
    names = [f"cell{i}" for i in range(1000)]
    kept = [name for name in names if is_held_out(name)]
    assert kept == [n for n in names if hashlib.sha256(n.encode()).digest()[0] % 5 == 0]
    assert 150 < len(kept) < 250


def test_expected_labels_are_types_of_the_table(table: captions.CaptionTable) -> None:
    known = table.sets[describe_pbmc.LABELS]["labels"]
    found = describe_pbmc.expected_labels(list(known))
    assert set(found) <= {normalise_label(name) for name in table.definitions}
    assert len(found) == len(known)


def test_control_keeps_each_cells_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.poisson(1.0, (6, 50)).astype(np.float32)
    cells = CellCounts(anndata.AnnData(scipy.sparse.csr_matrix(values)))
    chosen = [4, 1, 3]
    control = describe_pbmc.permute_genes(cells, chosen, seed=1).X
    assert not np.array_equal(control, values[chosen])
    np.testing.assert_array_equal(np.sort(control, axis=1), np.sort(values[chosen], axis=1))


def test_committed_checkpoint_loads_with_its_captions(table: captions.CaptionTable) -> None:
    folder = pytest.importorskip("c2t.export.checkpoint.folder", exc_type=ImportError)
    loaded = folder.load_checkpoint_folder(describe_pbmc.CHECKPOINT)
    genes = len(loaded.genes.token)
    assert genes < loaded.model.encoder.config.vocab_size
    assert json.loads(loaded.tokenizer_json)["model"]["type"] == "BPE"
    phrases = (describe_pbmc.CHECKPOINT / "phrases.txt").read_text(encoding="utf-8").splitlines()
    assert phrases
    for text in phrases:
        found = TEMPLATE.fullmatch(text)
        assert found, text
        assert found[1] == captions.article(found[2])
        assert found[2] in table.definitions


def test_the_threshold_is_fitted_on_cells_that_no_figure_is_quoted_of() -> None:
    names = [f"cell{i}" for i in range(20_000)]
    held = [name for name in names if is_held_out(name)]
    fitting = [name for name in held if is_for_fitting(name)]
    # The second byte is no part of the first: both halves are like each other.
    assert 0.45 < len(fitting) / len(held) < 0.55


def test_the_checkpoint_states_what_was_measured() -> None:
    rule = read_rule(describe_pbmc.CHECKPOINT / UNSURE_NAME)
    path = describe_pbmc.HERE / "unsure_results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["threshold"] == rule.threshold
    assert results["fitted_on_cells"] == rule.cells == sum(f.cells for f in rule.fitted_on)
    held = results["held_out"]
    assert all(one["answered_right"] > one["right"] > one["unsure_right"] for one in held.values())
    assert held["all"]["answered_right"] == pytest.approx(rule.target, abs=0.01)
    assert held["all"]["ece_of_the_probability"] < 0.02 < held["all"]["ece_of_the_confidence"]


def test_the_checkpoint_has_the_tables_ids(table: captions.CaptionTable) -> None:
    stored = json.loads((describe_pbmc.CHECKPOINT / "terms.json").read_text(encoding="utf-8"))
    assert stored == table.terms
    for entry in table.sets.values():
        assert entry["tissue"] in stored["tissue"]
        assert entry["disease"] in stored["disease"]


def test_fields_are_the_decisions_that_made_the_captions(table: captions.CaptionTable) -> None:
    lines = (describe_pbmc.CHECKPOINT / "phrases.txt").read_text(encoding="utf-8").splitlines()
    rules = learned_rules(lines)
    assert rules is not None
    terms, _ = term_table([describe_pbmc.CHECKPOINT / "terms.json"])
    reader = FieldReader(rules, terms)
    pathways = sorted(table.pathways)
    for entry in table.sets.values():
        for donor, cell_type in itertools.product(
            captions.all_donors(entry), dict.fromkeys(entry["labels"].values())
        ):
            pair = (pathways[len(cell_type)], pathways[0])
            found = reader.read(caption_text(caption_parts(table, cell_type, donor, pair)))
            said = {name: field and field.words for name, field in found.items()}
            assert said == {
                "cell_type": cell_type,
                **asdict(donor),
                "pathways": "; ".join(table.pathways[name] for name in pair),
            }
            for name in ("cell_type", "tissue", "disease"):
                field = found[name]
                assert field is not None
                assert field.ontology_id == table.terms[name][field.words]
