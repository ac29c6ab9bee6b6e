"""Which plans are taken, and what is said when none fits: each reason has its own sentence."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from msgspec import structs

from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.bundle.manifest import GRAPHS, FileEntry
from c2t.runtime.engines.built.folder import plan_sets, read_plan_set
from c2t.runtime.engines.built.open_plans import choose_plans, open_plans
from c2t.runtime.engines.built.plan_profiles import PlanUse, decoder_profiles
from c2t.runtime.engines.built.plan_set import (
    PLANS_NAME,
    PlanFile,
    PlanIdentity,
    PlanSet,
    plan_name,
)
from c2t.runtime.engines.tensorrt_library import Target, TensorRT, load_tensorrt, start
from c2t.runtime.system.checked_read import json_bytes
from c2t.runtime.system.errors import EngineError
from c2t.runtime.system.machine import Gpu, look_at_machine

pytest.importorskip(
    "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed", exc_type=ImportError
)
GPU = Gpu(name="RTX 4090", compute_capability="8.9", memory_bytes=24 << 30)
HERE = replace(look_at_machine(), gpus=(GPU,), gpu_problem="")


@pytest.fixture(scope="module")
def bundle(bundles):
    return bundles["mlp", "fp32"]


@pytest.fixture
def library() -> TensorRT:
    return load_tensorrt(Target.rtx)


def identity(bundle, library, **changed) -> PlanIdentity:
    use = PlanUse(rows=4, max_new_tokens=16, draft=4)
    usual = {
        "bundle_sha256": bundle.digest,
        "target": Target.rtx,
        "library_version": library.version,
        "gpus": ("sm_86", "sm_89"),
        "variant": "float16",
        "cache_capacity": 64,
        "rows": 4,
        "lean": False,
        "profiles": {"decoder.onnx": tuple(decoder_profiles(bundle.manifest, use))},
    }
    return PlanIdentity(**{**usual, **changed})


def store(cache: Path, found: PlanIdentity, created: str = "2026-01-01T00:00:00+00:00") -> Path:
    """A plan set on disk whose files are no plans."""
    folder = cache / found.key
    folder.mkdir(parents=True)
    plans = {}
    for graph in GRAPHS:
        path = folder / plan_name(graph)
        path.write_bytes(graph.encode() * 40)
        entry = FileEntry(bytes=path.stat().st_size, sha256=sha256_of(path))
        plans[graph] = PlanFile(
            file=entry, weight_bytes=1, int8_linears=0, kept_int8=None, seconds=1.0
        )
    whole = PlanSet(format_version=1, c2t_version="0", created=created, identity=found, plans=plans)
    (folder / PLANS_NAME).write_bytes(json_bytes(whole))
    return folder


@pytest.mark.parametrize(
    "changed",
    [
        {"bundle_sha256": "0" * 64},
        {"target": Target.tensorrt},
        {"library_version": "9"},
        {"gpus": ("sm_89",)},
        {"variant": "bfloat16"},
        {"cache_capacity": 128},
        {"rows": 8},
        {"lean": True},
        {"profiles": {}},
    ],
)
def test_every_part_of_the_identity_changes_the_key(bundle, library, changed):
    one = identity(bundle, library)
    assert one.key == identity(bundle, library).key
    assert one.key != structs.replace(one, **changed).key


def test_the_newest_that_fits_is_taken(bundle, library, tmp_path):
    store(tmp_path, identity(bundle, library, rows=8), "2026-01-01T00:00:00+00:00")
    newer = store(tmp_path, identity(bundle, library), "2026-02-01T00:00:00+00:00")
    store(tmp_path, identity(bundle, library, gpus=("sm_120",)), "2026-03-01T00:00:00+00:00")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / PLANS_NAME).write_text("{")
    known = list(plan_sets(tmp_path))
    assert len(known) == 3
    found, _ = choose_plans(known, bundle, library, gpu="sm_89", rows=1, capacity=60)
    assert found == newer
    found, plan_set = choose_plans(known, bundle, library, gpu="sm_89", rows=5, capacity=60)
    assert plan_set.identity.rows == 8


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"target": Target.tensorrt}, "there are no plans of .* for TensorRT for RTX"),
        ({"bundle_sha256": "0" * 64}, "built from another version of this bundle"),
        ({"gpus": ("sm_120",)}, "built for sm_120; the GPU here is sm_89"),
        ({"library_version": "1.2.0"}, r"built with TensorRT for RTX 1\.2\.0; tensorrt_rtx here"),
        ({"rows": 2}, "take 2 cells at a time, not 4"),
        ({"cache_capacity": 10}, "hold 10 tokens a cell; 60 are needed"),
    ],
)
def test_what_does_not_fit_is_told_with_the_command(bundle, library, tmp_path, changed, problem):
    store(tmp_path, identity(bundle, library, **changed))
    with pytest.raises(EngineError, match=problem) as caught:
        open_plans(bundle, Target.rtx, rows=4, capacity=60, cache=tmp_path, machine=HERE)
    command = f"c2t build {bundle.path} --target rtx --gpu sm_89"
    assert caught.value.hint == f"build it here with `{command}`"


def test_lean_plans_run_on_later_versions_only(bundle, tmp_path):
    lean = TensorRT(Target.tensorrt, _Module("11.4.0"), "tensorrt_lean")
    found = identity(bundle, lean, target=Target.tensorrt, lean=True, library_version="11.2.0")
    store(tmp_path, found)
    asked = {"gpu": "sm_89", "rows": 1, "capacity": 1}
    assert choose_plans(list(plan_sets(tmp_path)), bundle, lean, **asked)
    older = replace(lean, module=_Module("11.1.0"))
    with pytest.raises(EngineError, match=r"built with TensorRT 11\.2\.0; tensorrt_lean here is"):
        choose_plans(list(plan_sets(tmp_path)), bundle, older, **asked)
    # What was not built to be compatible never runs on the lean runtime.
    plain = tmp_path / "plain"
    store(plain, structs.replace(found, lean=False, library_version="11.4.0"))
    with pytest.raises(EngineError, match=r"tensorrt_lean here is 11\.4\.0"):
        choose_plans(list(plan_sets(plain)), bundle, lean, **asked)


class _Module:
    def __init__(self, version: str) -> None:
        self.__version__ = version


def test_without_a_gpu(bundle, tmp_path):
    here = replace(HERE, gpus=(), gpu_problem="no NVIDIA driver")
    with pytest.raises(EngineError, match="plans run on an NVIDIA GPU: no NVIDIA driver"):
        open_plans(bundle, Target.rtx, cache=tmp_path, machine=here)


def test_a_changed_plan_is_not_loaded(bundle, library, tmp_path):
    folder = store(tmp_path, identity(bundle, library))
    path = folder / "decoder.plan"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(EngineError, match=r"decoder\.plan was changed since") as caught:
        open_plans(bundle, Target.rtx, cache=tmp_path, machine=HERE)
    assert caught.value.hint.endswith("--target rtx --gpu sm_86 --gpu sm_89 --force`")
    path.write_bytes(b"short")
    with pytest.raises(EngineError, match=r"has 5 bytes, expected"):
        read_plan_set(folder)


def test_what_is_no_plan_is_told_in_tensorrt_s_words(bundle, library, tmp_path):
    store(tmp_path, identity(bundle, library))
    with pytest.raises(EngineError, match=r"tensorrt_rtx .* cannot load encoder\.plan: ") as caught:
        open_plans(bundle, Target.rtx, cache=tmp_path, machine=HERE)
    assert caught.value.hint.endswith(f"c2t build {bundle.path} --target rtx --force")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"format_version": 2}', "has format 2; this c2t reads up to 1"),
        ('{"format_version": 1}', "cannot be read: Object missing required field"),
        ("[]", "cannot be read"),
        (" " * (2 << 20), "cannot be read"),
    ],
)
def test_damaged_records(tmp_path, text, problem):
    (tmp_path / PLANS_NAME).write_text(text)
    with pytest.raises(EngineError, match=problem):
        read_plan_set(tmp_path)


def test_a_stray_folder_is_no_tensorrt(tmp_path, monkeypatch):
    (tmp_path / "tensorrt").mkdir()  # importable, as a namespace package
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(EngineError, match="tensorrt: module 'tensorrt' has no") as caught:
        load_tensorrt(Target.tensorrt)
    assert caught.value.hint == 'pip install "c2t[tensorrt]"'


def test_the_lean_runtime_says_what_builds(monkeypatch):
    lean = ModuleType("tensorrt_lean")
    lean.Runtime, lean.__version__ = object, "11.4.1"
    monkeypatch.setitem(sys.modules, "tensorrt_lean", lean)
    assert load_tensorrt(Target.tensorrt).name == "tensorrt_lean"
    with pytest.raises(EngineError, match=r"tensorrt_lean 11\.4\.1 runs plans, but cannot build"):
        load_tensorrt(Target.tensorrt, build=True)


def test_a_tensorrt_without_the_cache_layer_is_refused(monkeypatch):
    old = ModuleType("tensorrt")
    old.Runtime = old.Builder = object
    old.__version__ = "10.13.3"
    monkeypatch.setitem(sys.modules, "tensorrt", old)
    with pytest.raises(EngineError, match=r"TensorRT 10\.13\.3 has no layer for") as caught:
        load_tensorrt(Target.tensorrt, build=True)
    assert "10.15" in caught.value.hint


@pytest.mark.parametrize("kind", ["Runtime", "Builder"])
def test_a_tensorrt_that_does_not_start(kind):
    """pybind11 raises TypeError where TensorRT gives a null pointer."""

    def nothing(log):
        log.errors.append("CUDA initialization failure with error: 35\n")
        message = "pybind11::init(): factory function returned nullptr"
        raise TypeError(message)

    module = ModuleType("tensorrt")
    module.Runtime = module.Builder = nothing
    module.__version__ = "11.4.1"
    library = TensorRT(Target.tensorrt, module, "tensorrt")
    with pytest.raises(
        EngineError, match=rf"the {kind.lower()} of tensorrt 11\.4\.1 does not start:"
    ):
        start(library, kind, SimpleNamespace(errors=[]))
