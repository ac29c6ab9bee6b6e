"""Weights are copied for small graphs, or as the options say; the text is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_data import TinyBundle, tiny_bundle, tiny_cell

from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu import session as onnxruntime_session
from c2t.runtime.engines.cpu.session import is_prepacked, open_session

DISABLED = "session.disable_prepacking"


@pytest.fixture(scope="module")
def tiny() -> TinyBundle:
    return tiny_bundle()


@pytest.mark.parametrize(
    ("prepack", "limit", "disabled"),
    [(None, 1 << 30, "0"), (None, 1, "1"), (True, 1, "0"), (False, 1 << 30, "1")],
)
def test_session_is_opened_as_the_options_say(
    tiny: TinyBundle,
    monkeypatch: pytest.MonkeyPatch,
    prepack: bool | None,
    limit: int,
    disabled: str,
) -> None:
    monkeypatch.setattr(onnxruntime_session, "PREPACK_BYTES", limit)
    path = tiny.bundle.file("projector.onnx")
    session = open_session(path, EngineOptions(threads=1, prepack=prepack))
    assert session.get_session_options().get_session_config_entry(DISABLED) == disabled


def test_graph_without_a_data_file_is_small(tmp_path: Path) -> None:
    assert is_prepacked(tmp_path / "graph.onnx", EngineOptions())


@pytest.mark.parametrize("prepack", [True, False])
def test_text_is_that_of_pytorch_either_way(tiny: TinyBundle, prepack: bool) -> None:
    cell = tiny_cell(20, seed=1)
    describer = Describer(tiny.bundle, DescribeOptions(threads=1, prepack=prepack))
    (found,) = describer.describe([EncodedCells.of_tokens([cell])])
    assert list(found.tokens) == tiny.reference(cell, tiny.generation)
