"""Bundles of format 1, as the first release wrote them, open and write the same texts for ever.

`tests/data/format_1` is never written again. Who changes the format adds a folder beside it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_data import DATA

import c2t
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.manifest import FORMAT_VERSION
from c2t.runtime.describe.verify import verify_golden_cells
from c2t.runtime.output.record import make_record
from c2t.runtime.output.text_files import json_line

FOLDER = DATA / "format_1"
# SHA-256 of their manifests, which hold the hashes of all their other files.
DIGESTS = {
    "fp32": "4d6de23562fc9200c7bc21b505484addee18ede9c52bf2df9d443f8451d6c78a",
    "int8": "4678163c21c5633b03979f7bf3f4c381c5a19bda5afb8f7ab286053f4bed4084",
    "int8-weights": "63a2e2753911baa67a12dc7aca4e43f952dcb722a08fde08f73e77bb5ee48a4d",
}


@pytest.fixture(params=DIGESTS)
def precision(request: pytest.FixtureRequest) -> str:
    return request.param


def described(bundle: Path) -> list[dict[str, Any]]:
    """What `c2t describe` writes of the cells."""
    options = c2t.DescribeOptions(threads=1, engine="cpu")
    with c2t.open(bundle, options) as model, pytest.warns(UserWarning, match="a table of cells"):
        texts = list(model.describe(FOLDER / "cells.csv"))
    lines = [json_line(make_record(row, text)) for row, text in enumerate(texts)]
    return [json.loads(line) for line in lines]


def test_they_are_what_the_first_release_wrote(precision: str) -> None:
    bundle = open_bundle(FOLDER / precision)  # compares every hash
    assert bundle.digest == DIGESTS[precision]
    assert bundle.manifest.format_version == 1
    assert bundle.manifest.precision == precision
    assert {"fields.json", "terms.npz", "phrases.npz"} <= set(bundle.manifest.files)
    assert (bundle.unsure_rule is not None) == (precision == "fp32")


def test_their_golden_cells_have_their_texts(precision: str) -> None:
    verified = verify_golden_cells(open_bundle(FOLDER / precision), "cpu")
    assert verified.cells == 2
    # Sums of 16 bits saturate in ONNX Runtime's INT8 products on processors without VNNI.
    assert precision == "int8" or verified.differences == ()


def test_they_describe_cells_as_they_did(precision: str) -> None:
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))[precision]
    found = described(FOLDER / precision)
    assert [record["cell"] for record in found] == [record["cell"] for record in expected]
    assert all(record["text"] for record in found)
    if precision == "int8":
        return
    for record, before in zip(found, expected, strict=True):
        for name, value in before.items():
            close = pytest.approx(value, abs=2e-5) if isinstance(value, float) else value
            assert record[name] == close, f"{name} of {before['cell']}"


def test_what_the_fields_say_is_compared() -> None:
    """The test above would see a field, an id or a mark that is read otherwise."""
    expected = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))["fp32"]
    assert {record["cell_type_ontology_term_id"] for record in expected} == {
        "CL:0000084",
        "CL:0000236",
    }
    assert {record["unsure"] for record in expected} == {True, False}


def test_a_new_format_gets_bundles_of_its_own() -> None:
    for version in range(1, FORMAT_VERSION + 1):
        assert (DATA / f"format_{version}").is_dir(), f"freeze bundles of format {version}"
