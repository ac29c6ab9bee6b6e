"""How many cells are written together: few on a CPU, on a GPU what its memory has room for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.describe import batch_size
from c2t.runtime.describe.batch_size import FEW_CELLS, MANY_CELLS, default_batch_size
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.engines.check import EngineCheck
from c2t.runtime.engines.table import ENGINES
from c2t.runtime.system.machine import Gpu, Machine, look_at_machine

GPU = Gpu(name="a GPU", compute_capability="9.0", memory_bytes=140 << 30)


@pytest.fixture
def machine() -> Machine:
    return replace(look_at_machine(), gpus=(GPU,), cuda_driver="13.0", gpu_problem="")


@pytest.fixture
def cuda_works(monkeypatch: pytest.MonkeyPatch) -> None:
    check = EngineCheck(name="cuda", runs=True, version="1", reasons=())
    monkeypatch.setitem(ENGINES, "cuda", replace(ENGINES["cuda"], check=lambda machine: check))


def sized(machine: Machine, memory: int) -> Machine:
    return replace(machine, gpus=(replace(GPU, memory_bytes=memory),))


@pytest.mark.usefixtures("cuda_works")
def test_as_many_as_the_gpu_has_memory_for(tiny_bundle_folder: Path, machine: Machine) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    options = DescribeOptions(engine="cuda", drafts=False)
    assert default_batch_size(bundle, options, machine) == MANY_CELLS
    sizes = bundle.manifest.decoder
    capacity = bundle.manifest.text_capacity(bundle.manifest.generation.max_new_tokens)
    row = sizes.cache_bytes(capacity) + 4 * sizes.vocabulary_size
    weights = sum(bundle.manifest.files[f"{graph}.data"].bytes for graph in bundle.manifest.graphs)
    for cells, expected in ((7, 8), (8, 8), (31, 24), (33, 32), (200, 128)):
        memory = int((weights + (cells + 0.5) * row) / batch_size.USED_MEMORY)
        assert default_batch_size(bundle, options, sized(machine, memory)) == expected
    memory = int((weights + 32.5 * row) / batch_size.USED_MEMORY)
    drafting = replace(options, drafts=True)
    assert default_batch_size(bundle, drafting, sized(machine, memory)) < 32
    int8 = Bundle(
        bundle.path, structs.replace(bundle.manifest, precision="int8"), bundle.digest, {}
    )
    assert default_batch_size(int8, options, sized(machine, memory)) < 32


@pytest.mark.parametrize("engine", ["cpu", "rtx", "tensorrt", "tensorrt-ep"])
@pytest.mark.usefixtures("cuda_works")
def test_few_on_other_engines(tiny_bundle_folder: Path, machine: Machine, engine: str) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    assert default_batch_size(bundle, DescribeOptions(engine=engine), machine) == FEW_CELLS


@pytest.mark.usefixtures("cuda_works")
def test_few_with_beams(tiny_bundle_folder: Path, machine: Machine) -> None:
    options = DescribeOptions(engine="cuda", num_beams=3)
    assert default_batch_size(open_bundle(tiny_bundle_folder), options, machine) == FEW_CELLS


def test_auto_is_the_gpu_where_it_works_and_no_plans_are_there(
    tiny_bundle_folder: Path,
    machine: Machine,
    cuda_works: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, options = open_bundle(tiny_bundle_folder), DescribeOptions()
    assert default_batch_size(bundle, options, machine) == MANY_CELLS
    assert default_batch_size(bundle, options, replace(machine, gpus=())) == FEW_CELLS
    old = replace(machine, cuda_driver="11.0")
    assert default_batch_size(bundle, options, old) == FEW_CELLS
    monkeypatch.setattr(batch_size, "plan_sets", lambda cache: iter([object()]))
    assert default_batch_size(bundle, options, machine) == FEW_CELLS
    assert default_batch_size(bundle, replace(options, engine="cuda"), machine) == MANY_CELLS


def test_few_where_onnx_runtime_has_no_cuda(tiny_bundle_folder: Path, machine: Machine) -> None:
    assert default_batch_size(open_bundle(tiny_bundle_folder), DescribeOptions(), machine) == 8
