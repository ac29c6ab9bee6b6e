"""With plans of the real TensorRT for RTX, a bundle has only that hashed which they do not hold."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from block_hashes import BLOCK, flip, give_blocks, record_hashing, short_blocks
from fakes.cuda_driver import FakeDevice, FakeDriver, FakeGraph
from tiny_data import tiny_cell

from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.build.build_plans import BuildOptions, build_plans
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines import choose
from c2t.runtime.engines.built import open_plans as opening
from c2t.runtime.engines.built.folder import read_plan_set
from c2t.runtime.engines.built.half_graphs import open_half_graphs
from c2t.runtime.engines.built.plan_profiles import PlanUse
from c2t.runtime.engines.check import EngineCheck
from c2t.runtime.engines.gpu import open as device_engine
from c2t.runtime.engines.gpu.open import open_cuda_engines
from c2t.runtime.engines.table import ENGINES, Engine
from c2t.runtime.engines.tensorrt_library import Target
from c2t.runtime.system.errors import BundleError, EngineError
from c2t.runtime.system.machine import Gpu, look_at_machine

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed: c2t[gpu]")
DATA = "decoder.onnx.data"
GPU = Gpu(name="RTX 4090", compute_capability="8.9", memory_bytes=24 << 30)
HERE = replace(look_at_machine(), gpus=(GPU,), gpu_problem="")


@pytest.fixture
def folder(bundles: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle with block hashes."""
    short_blocks(monkeypatch)
    return give_blocks(shutil.copytree(bundles["mlp", "fp32"].path, tmp_path / "bundle"))


@pytest.fixture
def device(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that is not there. Its graphs lie outside of the bundle, as plans do."""
    FakeDriver().install(monkeypatch)
    graphs = shutil.copytree(folder, tmp_path / "in_plans")
    monkeypatch.setattr(device_engine, "_device", lambda _: FakeDevice())
    monkeypatch.setattr(
        device_engine, "TensorRTGraph", lambda _plans, name, *_, **__: FakeGraph(graphs / name)
    )
    monkeypatch.setattr(
        device_engine,
        "OnnxRuntimeDeviceGraph",
        lambda path, *_, **__: FakeGraph(graphs / path.name),
    )
    monkeypatch.setattr(opening, "look_at_machine", lambda: HERE)
    # Loading a plan needs the GPU; its bytes were read and hashed.
    monkeypatch.setattr(opening, "_deserialise", lambda *_: SimpleNamespace())
    works = EngineCheck(name="rtx", runs=True, version="1", reasons=())
    monkeypatch.setitem(ENGINES, "rtx", Engine(ENGINES["rtx"].open, lambda _: works))


@pytest.fixture
def built(folder: Path, device: None) -> Path:
    """The bundle, with plans that the real builder made."""
    pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed", exc_type=ImportError
    )
    use = PlanUse(rows=8, max_new_tokens=100)
    build_plans(open_bundle(folder), BuildOptions(target=Target.rtx, gpus=("sm_89",), use=use))
    return folder


def on_use(folder: Path) -> Bundle:
    bundle = open_bundle(folder, verify=False)
    bundle.check_on_use()
    return bundle


def table_blocks(bundle: Bundle) -> range:
    """Which blocks of the decoder's data the token table lies in."""
    table = bundle.manifest.decoder.token_embedding
    length = 4 * table.shape[0] * table.shape[1]
    return range(table.offset // BLOCK, (table.offset + length - 1) // BLOCK + 1)


def texts(bundle: Bundle, engine: str) -> list[str | None]:
    cells = EncodedCells.of_tokens([tiny_cell(length, seed=length) for length in (5, 20, 48)])
    describer = Describer(bundle, DescribeOptions(engine=engine))
    return [each.text for each in describer.describe([cells])]


def test_only_blocks_of_the_token_table_are_hashed(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(open_bundle(built), "cpu")
    bundle = on_use(built)
    wanted = [*table_blocks(bundle)]
    assert 0 < len(wanted) < len(bundle.manifest.files[DATA].blocks.sha256)
    hashed = record_hashing(monkeypatch)
    assert texts(bundle, "rtx") == expected
    assert [p.start // BLOCK for p in hashed if p.name == DATA] == wanted
    assert {part.name for part in hashed} <= {DATA, "gene_embedding.safetensors"}
    # What is asked for later is hashed then.
    hashed.clear()
    assert texts(bundle, "cpu") == expected
    every = len(bundle.manifest.files[DATA].blocks.sha256)
    assert len([part for part in hashed if part.name == DATA]) == every - len(wanted)
    assert "encoder.onnx.data" in {part.name for part in hashed}


def test_a_changed_byte_is_refused_where_it_would_be_read(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(open_bundle(built), "cpu")
    wanted = table_blocks(open_bundle(built))
    monkeypatch.setattr(choose, "look_at_machine", lambda: HERE)
    monkeypatch.setattr(choose, "gpu_reasons", lambda _: [])
    count = len(open_bundle(built).manifest.files[DATA].blocks.sha256)
    for block in range(count):
        flip(built / DATA, block * BLOCK)
        if block in wanted:
            # No other engine is tried, and none hides what is wrong.
            for engine in ("rtx", "auto"):
                with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
                    texts(on_use(built), engine)
        elif block == 0:
            bundle = on_use(built)
            assert texts(bundle, "rtx") == expected
            with pytest.raises(BundleError, match=rf"SHA-256 differs\): {DATA}"):
                texts(bundle, "cpu")
        flip(built / DATA, block * BLOCK)


def test_a_plan_is_compared_by_blocks(built: Path) -> None:
    (plan,) = built.with_name("bundle.engines").rglob("decoder.plan")
    count = len(read_plan_set(plan.parent).plans["decoder.onnx"].file.blocks.sha256)
    assert count > 1
    for place in (0, BLOCK - 1, BLOCK, plan.stat().st_size - 1):
        flip(plan, place)
        with pytest.raises(EngineError, match=r"decoder\.plan was changed since it was built"):
            opening.open_plans(open_bundle(built), Target.rtx)
        flip(plan, place)
    opening.open_plans(open_bundle(built), Target.rtx)
    record = json.loads((plan.parent / "plans.json").read_bytes())
    record["plans"]["decoder.onnx"]["file"]["blocks"]["sha256"].pop()
    (plan.parent / "plans.json").write_text(json.dumps(record))
    with pytest.raises(EngineError, match=f"decoder.plan has {count - 1:,} hashes of blocks"):
        read_plan_set(plan.parent)


def test_half_precision_graphs_leave_the_bundle_s_own_unhashed(
    folder: Path, device: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = on_use(folder)
    build_half_graphs(open_bundle(folder), HalfGraphsOptions())
    assert open_half_graphs(bundle) is not None
    hashed = record_hashing(monkeypatch)
    monkeypatch.setattr(
        device_engine, "with_step_kernel", lambda library, *_, **__: (library(), "")
    )
    open_cuda_engines(bundle, EngineOptions())
    (built,) = bundle.path.with_name("bundle.engines").rglob(DATA)
    of_built = -(-built.stat().st_size // BLOCK)
    assert len([p for p in hashed if p.name == DATA]) == of_built + len(table_blocks(bundle))
