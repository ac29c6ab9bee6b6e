"""Cells whose numbers are not finite: an error of each, in floats and in INT8, and no other's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_data import DATA, tiny_bundle, with_a_broken_gene

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.annotator import AnnotateOptions, Annotator
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.generation.prompt import VECTORS_NOT_FINITE
from c2t.runtime.generation.sequence import NOT_FINITE

BROKEN = 63  # a gene token


@pytest.fixture(params=["int8", "fp32", "int8-weights"])
def describer(request: pytest.FixtureRequest) -> Describer:
    bundle = open_bundle(DATA / "format_1" / request.param)
    return Describer(bundle, DescribeOptions(threads=1, engine="cpu"))


def cells(describer: Describer, broken: int) -> EncodedCells:
    """Cells of one length, one of them with the broken gene."""
    tokens = np.random.default_rng(1).integers(2, BROKEN, (5, 20)).astype(np.int32)
    if broken >= 0:
        tokens[broken, 7] = BROKEN
    encoder = describer.engines.encoder
    encoder._tables = with_a_broken_gene(encoder._tables, BROKEN)
    return EncodedCells.of_tokens(list(tokens))


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("beams", [1, 3])
def test_no_text_is_written_of_vectors_that_are_not_finite(
    describer: Describer, number: float, beams: int
) -> None:
    options = replace(describer.options, num_beams=beams)
    describer = Describer(describer._bundle, options)
    manifest = describer._bundle.manifest
    shape = (6, manifest.decoder.hidden_size)
    vectors = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    text = describer.write(vectors)
    assert text
    broken = vectors.copy()
    broken[2, 5] = number
    assert describer.write(broken) is None
    assert describer.write(vectors) == text  # it left nothing behind


def test_such_a_cell_has_an_error_and_costs_no_other(describer: Describer) -> None:
    expected = list(describer.describe([cells(describer, -1)]))
    found = list(describer.describe([cells(describer, 2)]))
    assert found[2].text is None
    assert found[2].error == VECTORS_NOT_FINITE
    assert found[2].engine_failed
    assert [cell.error for cell in expected] == [None] * 5
    for place in (0, 1, 3, 4):
        assert found[place] == expected[place]


def test_such_a_cell_has_no_label() -> None:
    bundle, options = tiny_bundle().bundle, AnnotateOptions(threads=1, engine="cpu")
    describer = Describer(bundle, options.describing())
    annotator = Annotator(describer, bundle, ["T cell", "B cell"], options=options)
    expected = list(annotator.annotate([cells(describer, -1)]))
    found = list(annotator.annotate([cells(describer, 2)]))
    assert found[2].error == NOT_FINITE
    assert found[2].log_probabilities is None
    for place in (0, 1, 3, 4):
        np.testing.assert_allclose(
            found[place].log_probabilities, expected[place].log_probabilities, atol=1e-4
        )
