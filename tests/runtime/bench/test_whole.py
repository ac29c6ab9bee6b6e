"""Whole descriptions by a script: what is written, in how many steps, and the page of it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from cli_process import make_cells
from tiny_data import tiny_bundle, tiny_cell
from typer.testing import CliRunner

import c2t.cli
from c2t.runtime.bench.whole.acceptance import (
    ACCEPTANCES,
    ALL,
    DEMO,
    NONE,
    Acceptance,
    RecordedText,
    load_acceptance,
)
from c2t.runtime.bench.whole.runs import ScriptedRun
from c2t.runtime.bench.whole.scripted import Script
from c2t.runtime.bench.whole.whole_bench import WholeOptions, bench_whole
from c2t.runtime.bench.whole.whole_text import whole_picture, whole_text
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.choose import choose_engines
from c2t.runtime.generation.drafts import LONGEST
from c2t.runtime.system.errors import C2TError
from c2t.runtime.system.timing import StageClock

# Behind the prompt: 2 right of 3; then none of 1; then all of 2; then nothing is drafted.
SHORT = RecordedText(drafted=[3, 0, 0, 1, 2, 0, 0, 0], right=[2, 0, 0, 0, 2, 0, 0, 0])
LONG = RecordedText(drafted=[0] * 12, right=[0] * 12)


def run_of(acceptance: Acceptance, batch_size: int = 1) -> ScriptedRun:
    bundle, clock = tiny_bundle().bundle, StageClock()
    request = EngineOptions(threads=1, rows=batch_size, capacity=64)
    engines = choose_engines(bundle, "cpu", request, clock).engines
    return ScriptedRun(bundle, engines, acceptance, batch_size=batch_size, clock=clock)


def test_a_text_is_written_as_recorded() -> None:
    run = run_of(Acceptance(name="own", texts=[SHORT]))
    written = run.cells([tiny_cell(20)])
    assert written.tokens == (len(SHORT.drafted),)
    # 3 tokens behind the prompt, 1, 3, 1.
    assert run.clock.counts["steps"] == 4
    assert (run.clock.counts["drafted"], run.clock.counts["accepted"]) == (6, 4)
    assert run.clock.seconds["encoder"] > 0


@pytest.mark.parametrize("batch_size", [1, 3])
def test_cells_get_the_texts_in_turn_whatever_the_batch(batch_size: int) -> None:
    run = run_of(Acceptance(name="own", texts=[SHORT, LONG]), batch_size)
    written = run.cells([tiny_cell(20)] * 5)
    assert written.tokens == (8, 12, 8, 12, 8)


def test_without_drafts_every_token_takes_a_step() -> None:
    acceptance = Acceptance(name="own", texts=[LONG])
    assert not acceptance.drafts
    run = run_of(acceptance)
    run.cells([tiny_cell(20)] * 2)
    assert run.clock.counts["steps"] == run.clock.counts["tokens"] == 24


def test_the_assumptions() -> None:
    none, demo, every = (load_acceptance(name) for name in (NONE, DEMO, ALL))
    lengths = [len(text.drafted) for text in demo.texts]
    assert lengths == [len(t.drafted) for t in none.texts] == [len(t.drafted) for t in every.texts]
    assert not none.drafts
    assert all(text.right[0] == min(LONGEST, len(text.right)) for text in every.texts)
    assert 0 < sum(sum(t.right) for t in demo.texts) < sum(sum(t.right) for t in every.texts)
    with pytest.raises(C2TError, match="'some'"):
        load_acceptance("some")


def test_a_vocabulary_that_is_too_small_is_refused() -> None:
    with pytest.raises(C2TError, match="vocabulary of 10"):
        Script(Acceptance(name="own", texts=[LONG]), vocabulary_size=10, eos=(0,))


@pytest.mark.parametrize(
    ("drafted", "right"),
    [([], []), ([1], [0, 0]), ([1], [2]), ([40, 0], [33, 0]), ([2, 2], [0, 2])],
)
def test_recordings_that_cannot_be_are_refused(drafted: list[int], right: list[int]) -> None:
    with pytest.raises(ValueError, match="draft"):
        RecordedText(drafted=drafted, right=right)


class Peer:
    """Notes what it is to write."""

    name = "peer"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def write(self, cells: list[np.ndarray], tokens: int) -> None:
        self.asked.append((len(cells), tokens))


@pytest.fixture
def short_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny bundle's vocabulary has no room for texts of the demo's length."""
    texts = [SHORT, LONG]
    monkeypatch.setattr(
        "c2t.runtime.bench.whole.whole_bench.load_acceptance",
        lambda name: Acceptance(name=name, texts=texts),
    )


@pytest.mark.usefixtures("short_texts")
def test_the_document_the_page_and_the_picture(tmp_path: Path) -> None:
    cells, peer = make_cells(tmp_path / "cells.h5ad", 20), Peer()
    options = WholeOptions(
        cells=cells, limit=2, repeats=2, describing=DescribeOptions(threads=1, batch_size=2)
    )
    document = bench_whole(tiny_bundle().bundle, options, peers=[peer])
    one, file = document["one cell"], document["file"]
    assert set(one["stages"]) == set(ACCEPTANCES)
    assert one["seconds"]["peer"]["runs"] == 4
    assert set(one["times_faster_than"]["c2t, accepted: demo"]) == {"peer"}
    assert {tokens for _, tokens in peer.asked} <= {8, 10, 12}
    assert file["cells"] > 2
    assert set(file["cells_per_second"]) == {"c2t", "peer"}
    json.dumps(document)
    page = whole_text(document)
    assert "tokens a step" in page
    assert "cells/s" in page
    ElementTree.fromstring(whole_picture(document))


def test_the_command_wants_cells_and_known_assumptions(tmp_path: Path) -> None:
    bundle = str(tiny_bundle().bundle.path)
    runner = CliRunner()
    without = runner.invoke(c2t.cli.app, ["bench", bundle, "--whole"])
    assert without.exit_code != 0
    cells = make_cells(tmp_path / "cells.h5ad", 20)
    unknown = runner.invoke(
        c2t.cli.app, ["bench", bundle, "--whole", "--cells", str(cells), "--acceptance", "most"]
    )
    assert unknown.exit_code != 0
    assert "no acceptance is called 'most'" in unknown.stderr
