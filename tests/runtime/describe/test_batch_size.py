"""How many cells are written together: few on a CPU, on a GPU what its memory has room for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.cuda_driver import FakeDevice, FakeDriver
from msgspec import structs

from c2t.kernels.errors import KernelError
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.describe import batch_size
from c2t.runtime.describe.batch_size import FEW_CELLS, MANY_CELLS, default_batch_size
from c2t.runtime.describe.describer import DescribeOptions, engine_request
from c2t.runtime.engines.check import EngineCheck
from c2t.runtime.engines.table import ENGINES
from c2t.runtime.system.machine import Gpu, Machine, look_at_machine

ALL_MEMORY = 140 << 30
GPU = Gpu(name="a GPU", compute_capability="9.0", memory_bytes=ALL_MEMORY)


@pytest.fixture
def machine() -> Machine:
    return replace(look_at_machine(), gpus=(GPU,), cuda_driver="13.0", gpu_problem="")


@pytest.fixture
def cuda_works(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    """CUDA on a GPU of which all memory is free."""
    driver = FakeDriver(ALL_MEMORY)
    driver.install(monkeypatch)
    monkeypatch.setattr(batch_size, "CudaDevice", lambda number: FakeDevice())
    check = EngineCheck(name="cuda", runs=True, version="1", reasons=())
    monkeypatch.setitem(ENGINES, "cuda", replace(ENGINES["cuda"], check=lambda machine: check))
    return driver


def test_as_many_as_the_gpu_has_free_memory_for(
    tiny_bundle_folder: Path, machine: Machine, cuda_works: FakeDriver
) -> None:
    bundle = open_bundle(tiny_bundle_folder)
    options = DescribeOptions(engine="cuda", drafts=False)
    assert default_batch_size(bundle, options, machine) == MANY_CELLS
    sizes = bundle.manifest.decoder
    capacity = bundle.manifest.text_capacity(bundle.manifest.generation.max_new_tokens)
    row = sizes.cache_bytes(capacity) + 4 * sizes.vocabulary_size
    weights = sum(bundle.manifest.files[f"{graph}.data"].bytes for graph in bundle.manifest.graphs)
    int8 = Bundle(
        bundle.path, structs.replace(bundle.manifest, precision="int8"), bundle.digest, {}
    )
    for cells, expected in ((7, 8), (8, 8), (31, 24), (33, 32), (200, 128)):
        for each, times in ((bundle, 1), (int8, 2)):  # int8 weights in half precision
            cuda_works.free = int((times * weights + (cells + 0.5) * row) / batch_size.USED_MEMORY)
            assert default_batch_size(each, options, machine) == expected
    cuda_works.free = int((weights + 32.5 * row) / batch_size.USED_MEMORY)
    drafting = replace(options, drafts=True)
    assert default_batch_size(bundle, drafting, machine) < 32
    assert default_batch_size(int8, options, machine) < 32


def test_the_memory_is_that_of_the_device_that_is_opened(
    tiny_bundle_folder: Path,
    machine: Machine,
    cuda_works: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle, options = open_bundle(tiny_bundle_folder), DescribeOptions(engine="cuda")
    device = engine_request(bundle, options).device

    def opened(number: int) -> FakeDevice:
        cuda_works.free = 1000 if number == device else ALL_MEMORY
        return FakeDevice()

    monkeypatch.setattr(batch_size, "CudaDevice", opened)
    several = replace(machine, gpus=(GPU, GPU))
    assert default_batch_size(bundle, options, several) == FEW_CELLS


@pytest.mark.usefixtures("cuda_works")
def test_few_where_the_free_memory_cannot_be_told(
    tiny_bundle_folder: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(number: int) -> FakeDevice:
        problem = "the device is another's alone"
        raise KernelError(problem)

    monkeypatch.setattr(batch_size, "CudaDevice", refused)
    options = DescribeOptions(engine="cuda")
    assert default_batch_size(open_bundle(tiny_bundle_folder), options, machine) == FEW_CELLS


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
    cuda_works: FakeDriver,
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
