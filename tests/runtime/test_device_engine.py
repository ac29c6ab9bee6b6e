"""A bundle described through the engines of a GPU; their logic run on the host, see `host_cuda`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from host_cuda import HostDevice, HostDriver, HostGraph

from c2t.runtime import engine_choice
from c2t.runtime.bundle import open_bundle
from c2t.runtime.device_engine import open_device_engines
from c2t.runtime.engine_choice import ChosenEngines
from c2t.runtime.errors import EngineError
from c2t.runtime.verify import verify_golden_cells


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> HostDriver:
    driver = HostDriver()
    driver.install(monkeypatch)

    def choose(bundle: Any, name: str, options: Any, clock: Any) -> ChosenEngines:
        engines = open_device_engines(
            bundle,
            HostDevice(),
            lambda graph: HostGraph(bundle.file(graph)),
            name="host",
            version="1",
            clock=clock,
        )
        return ChosenEngines(engines, True, "engine host: played")

    monkeypatch.setattr("c2t.runtime.describe.choose_engines", choose)
    assert engine_choice.choose_engines is not choose
    return driver


def test_golden_cells_have_their_texts(driver: HostDriver, tiny_bundle_folder: Path) -> None:
    found = verify_golden_cells(open_bundle(tiny_bundle_folder))
    assert found.cells > 0
    assert found.differences == ()
    assert found.engine == "host 1 (no GPU, sm_00; fp32 weights, float32 between layers)"


def test_a_model_that_does_not_fit(driver: HostDriver, tiny_bundle_folder: Path) -> None:
    driver.free = 1000
    with pytest.raises(EngineError, match="the GPU has no memory for the text token table"):
        verify_golden_cells(open_bundle(tiny_bundle_folder))
