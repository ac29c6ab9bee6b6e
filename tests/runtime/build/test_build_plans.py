"""Every graph builds with the real TensorRT for RTX, for GPUs that are not here; whole or not."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from c2t.runtime.build import build_plans as stage
from c2t.runtime.build import plan_builder
from c2t.runtime.build.build_plans import BuildOptions, build_plans
from c2t.runtime.build.build_progress import Phases
from c2t.runtime.build.plan_builder import PlanOptions, build_plan
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import sha256_of
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.engines.built.folder import read_plan_set
from c2t.runtime.engines.built.plan_profiles import (
    PlanUse,
    cache_capacity,
    decoder_profiles,
    encoder_profiles,
    projector_profiles,
)
from c2t.runtime.engines.built.plan_set import PLANS_NAME, plan_name
from c2t.runtime.engines.tensorrt_library import Target, load_tensorrt, message_log
from c2t.runtime.graphs.backend_variant import BackendVariant, int8_linears, write_variant
from c2t.runtime.system.errors import BundleError, EngineError, OutputError

pytest.importorskip(
    "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed", exc_type=ImportError
)

GPUS = ("sm_120", "sm_86", "sm_89")
USE = PlanUse(rows=2, max_new_tokens=8, draft=4)
SMALL = BuildOptions(target=Target.rtx, gpus=("sm_89",), use=USE)


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("projector", ["mlp", "perceiver", "qformer"])
@pytest.mark.parametrize("gpu", GPUS)
def test_every_graph_builds(bundles, tmp_path, projector, precision, gpu):
    bundle = bundles[projector, precision]
    done = build_plans(bundle, replace(SMALL, gpus=(gpu,), cache=tmp_path / "cache"))
    folder = Path(done.folder)
    assert not done.found
    assert files_below(folder) == sorted([*map(plan_name, GRAPHS), PLANS_NAME])
    for graph, plan in done.plan_set.plans.items():
        path = folder / plan_name(graph)
        assert plan.file.bytes == path.stat().st_size > 1000
        assert plan.file.sha256 == sha256_of(path)
        assert (plan.int8_linears > 0) == (precision == "int8")
        assert plan.kept_int8 is None  # a plan this small is mostly code
    assert done.plan_set.identity.gpus == (gpu,)
    assert done.plan_set.identity.variant == (
        "float16, int8 weights" if precision == "int8" else "float16"
    )


def test_one_plan_for_several_gpus_and_in_bfloat16(bundles, tmp_path):
    asked = replace(SMALL, gpus=GPUS, dtype="bfloat16", cache=tmp_path)
    done = build_plans(bundles["mlp", "fp32"], asked)
    assert done.plan_set.identity.gpus == GPUS
    assert "sm120+sm86+sm89-bfloat16" in done.folder


@pytest.mark.parametrize("projector", ["mlp", "perceiver", "qformer"])
def test_float32_graphs_build_with_attention_in_half(bundles, tmp_path, projector):
    asked = replace(SMALL, dtype="float32", cache=tmp_path)
    done = build_plans(bundles[projector, "fp32"], asked)
    assert done.plan_set.identity.variant == "float32"
    assert {plan.int8_linears for plan in done.plan_set.plans.values()} == {0}


def test_plans_are_found_again(bundles, tmp_path, monkeypatch):
    monkeypatch.setenv("C2T_ENGINES", str(tmp_path / "named"))
    bundle = bundles["mlp", "fp32"]
    said = []
    first = build_plans(bundle, SMALL, report=said.append)
    assert [line.split()[1] for line in said] == [plan_name(graph) for graph in GRAPHS]
    assert first.folder.startswith(str(tmp_path / "named"))
    monkeypatch.setattr(stage, "build_plan", None)  # whatever calls it now fails
    again = build_plans(bundle, SMALL)
    assert (again.folder, again.found) == (first.folder, True)
    assert again.plan_set == first.plan_set
    with pytest.raises(TypeError):
        build_plans(bundle, replace(SMALL, force=True))
    # What was there is still there.
    assert build_plans(bundle, SMALL).plan_set == first.plan_set


@pytest.mark.parametrize("stop", [RuntimeError("no more"), KeyboardInterrupt()])
def test_nothing_stays_of_a_build_that_ends_early(bundles, tmp_path, monkeypatch, stop):
    original = stage.build_plan

    def fail_at_the_projector(library, graph, *arguments, **more):
        if graph.name == "projector.onnx":
            raise stop
        original(library, graph, *arguments, **more)

    monkeypatch.setattr(stage, "build_plan", fail_at_the_projector)
    with pytest.raises(type(stop)):
        build_plans(bundles["mlp", "fp32"], replace(SMALL, cache=tmp_path / "cache"))
    assert files_below(tmp_path / "cache") == []


@pytest.mark.parametrize("callback", ["start", "step", "finish"])
def test_an_error_of_a_callback_ends_the_build(bundles, tmp_path, monkeypatch, callback):
    def fail(*arguments):
        raise BrokenPipeError(32, "no more")  # as a progress bar's terminal may

    monkeypatch.setattr(Phases, callback, fail)
    with pytest.raises(BrokenPipeError):
        build_plans(bundles["mlp", "fp32"], replace(SMALL, cache=tmp_path))
    assert files_below(tmp_path) == []


def test_an_error_of_writing_ends_the_build(bundles, tmp_path):
    """TensorRT swallows what its writer raises; the file system's limit stands for a full disk."""
    bundle = bundles["mlp", "fp32"]
    variant = BackendVariant(dtype="float16", activations=True, cache_capacity=64)
    write_variant(bundle.file("encoder.onnx"), tmp_path / "encoder.onnx", variant)
    library = load_tensorrt(Target.rtx, build=True)
    profiles = encoder_profiles(bundle.manifest, USE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            build_plan(
                library,
                tmp_path / "encoder.onnx",
                tmp_path / "encoder.plan",
                profiles,
                PlanOptions(gpus=("sm_89",)),
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("moment", ["step", "log", "write"])
def test_a_signal_ends_the_build_wherever_it_arrives(bundles, tmp_path, monkeypatch, name, moment):
    """A real signal, whose handler would run within a callback of TensorRT."""
    number = getattr(signal, name)

    def send(*arguments):
        if not sent:
            sent.append(number)
            signal.raise_signal(number)

    def stop(number, frame):
        raise SystemExit(128 + number)

    sent: list[int] = []
    if moment == "step":
        original = Phases.step
        monkeypatch.setattr(Phases, "step", lambda *given: (send(), original(*given))[1])
    elif moment == "write":
        monkeypatch.setattr(plan_builder, "len", lambda data: (send(), len(data))[1], raising=False)
    else:
        make = plan_builder.message_log

        def noisy(library):
            log = make(library)

            class Errors(list):
                def append(self, text):
                    send()
                    super().append(text)

            log.errors = Errors()
            monkeypatch.setattr(Phases, "start", lambda *_: log.log(log.ERROR, "as if"))
            return log

        monkeypatch.setattr(plan_builder, "message_log", noisy)
    before = signal.signal(number, stop)
    try:
        with pytest.raises(SystemExit) as caught:
            build_plans(bundles["mlp", "fp32"], replace(SMALL, cache=tmp_path))
        assert signal.getsignal(number) is stop
    finally:
        signal.signal(number, before)
    assert caught.value.code == 128 + number
    assert sent == [number]
    assert files_below(tmp_path) == []


@pytest.mark.slow
def test_signals_at_any_moment_leave_a_whole_set_or_none(bundles, tmp_path):
    """`c2t build` in a process of its own, and real signals from outside."""
    bundle = bundles["mlp", "fp32"].path
    words = [sys.executable, "-m", "c2t.cli", "build", str(bundle), "--target", "rtx"]
    words += ["--gpu", "sm_89", "--rows", "1", "--max-new-tokens", "4"]
    since = time.perf_counter()
    subprocess.run([*words, "--cache", str(tmp_path / "whole")], check=True, capture_output=True)
    whole = time.perf_counter() - since
    draw = np.random.default_rng(0)
    ended = 0
    for case in range(20):
        cache, number = tmp_path / str(case), (signal.SIGINT, signal.SIGTERM)[case % 2]
        child = subprocess.Popen(
            [*words, "--cache", str(cache)],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        time.sleep(whole * draw.uniform(0.4, 1.0))
        child.send_signal(number)
        _, said = child.communicate()
        assert child.returncode in (0, 128 + number, -number), said  # -: while Python starts
        if child.returncode and not (cache.exists() and files_below(cache)):
            ended += 1
            continue
        (folder,) = cache.iterdir()  # a signal may come when all is written
        read_plan_set(folder)
    assert ended >= 5


def test_the_bundle_is_left_as_it_is(bundles):
    bundle: Bundle = bundles["mlp", "fp32"]
    before = {path: path.stat().st_mtime_ns for path in bundle.path.iterdir()}
    folder = Path(build_plans(bundle, SMALL).folder)
    assert folder.parent == bundle.path.with_name(f"{bundle.path.name}.engines")
    assert {path: path.stat().st_mtime_ns for path in bundle.path.iterdir()} == before


def test_the_cache_of_keys_and_values_is_tensorrt_s_own(bundles, tmp_path):
    bundle = bundles["mlp", "int8"]
    variant = BackendVariant(dtype="float16", activations=False, cache_capacity=64)
    path = tmp_path / "decoder.onnx"
    write_variant(bundle.file("decoder.onnx"), path, variant)
    library = load_tensorrt(Target.rtx, build=True)
    trt, log = library.module, message_log(library)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(path))
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    kinds = [layer.type for layer in layers]
    sizes = bundle.manifest.decoder
    assert kinds.count(trt.LayerType.KV_CACHE_UPDATE) == 2 * sizes.layers
    assert kinds.count(trt.LayerType.ATTENTION_INPUT) == sizes.layers
    # What the bundle says is INT8 is dequantised from INT8, to half precision.
    widened = [layer for layer in layers if layer.type == trt.LayerType.DEQUANTIZE]
    assert len(widened) == len(int8_linears(path))
    for layer in widened:
        assert layer.get_input(0).dtype == trt.int8
        assert layer.get_output(0).dtype == trt.float16
    products = [layer for layer in layers if layer.type == trt.LayerType.MATRIX_MULTIPLY]
    assert {layer.get_output(0).dtype for layer in products} == {trt.float16}


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_variant_for_tensorrt_proper_builds(bundles, tmp_path, graph):
    """Activations stay quantised there; TensorRT for RTX stands in for it, parser and builder."""
    bundle = bundles["mlp", "int8"]
    makers = (encoder_profiles, projector_profiles, decoder_profiles)
    profiles = {g: make(bundle.manifest, USE) for g, make in zip(GRAPHS, makers, strict=True)}
    variant = BackendVariant(
        dtype="float16", activations=True, cache_capacity=cache_capacity(bundle.manifest, USE)
    )
    write_variant(bundle.file(graph), tmp_path / graph, variant)
    linears = int8_linears(tmp_path / graph)
    model = onnx.load(tmp_path / graph, load_external_data=False)
    quantisers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(quantisers) == len(linears) > 0
    library = load_tensorrt(Target.rtx, build=True)
    plan = tmp_path / plan_name(graph)
    build_plan(library, tmp_path / graph, plan, profiles[graph], PlanOptions(gpus=("sm_89",)))
    assert plan.stat().st_size > 1000


@pytest.mark.parametrize(
    ("changed", "kind", "problem", "hint"),
    [
        ({"gpus": ("sm_90",)}, EngineError, "does not build for sm_90", "sm_89"),
        ({"gpus": ()}, EngineError, "no GPU is named, and none is here", "--gpu sm_75"),
        ({"lean": True}, EngineError, "has no lean runtime", "--target tensorrt"),
        ({"dtype": "float64"}, BundleError, "no precision 'float64'", "float16, bfloat16, float32"),
        (
            {"use": PlanUse(max_new_tokens=100_000)},
            EngineError,
            "100000 new tokens exceed",
            "--max-new-tokens",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(
    bundles, tmp_path, monkeypatch, changed, kind, problem, hint
):
    here = replace(stage.look_at_machine(), gpus=(), gpu_problem="no NVIDIA driver")
    monkeypatch.setattr(stage, "look_at_machine", lambda: here)
    asked = replace(SMALL, cache=tmp_path / "cache", **changed)
    with pytest.raises(kind, match=problem) as caught:
        build_plans(bundles["mlp", "fp32"], asked)
    assert hint in caught.value.hint
    assert not (tmp_path / "cache").exists()


def test_weight_only_bundles_are_refused(bundles, tmp_path, quantised):
    bundle = quantised(bundles["mlp", "fp32"], tmp_path / "int4", "int4-weights")
    with pytest.raises(BundleError, match="precision int4-weights uses ONNX Runtime's own"):
        build_plans(bundle, SMALL)


def test_heads_that_tensorrt_cannot_fuse_are_told(tmp_path):
    from tiny_bundle import make_bundle

    (tmp_path / "b").mkdir()
    bundle = make_bundle(tmp_path / "b").bundle  # heads 6 wide
    with pytest.raises(EngineError, match=r"TensorRT cannot build (en|de)coder\.onnx"):
        build_plans(bundle, SMALL)
    assert files_below(tmp_path / "b.engines") == []


def test_a_place_that_cannot_be_written(bundles, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot make") as caught:
        build_plans(bundles["mlp", "fp32"], replace(SMALL, cache=tmp_path / "file" / "cache"))
    assert "--cache" in caught.value.hint


def test_the_command_line(bundles, call_c2t, tmp_path):
    bundle = bundles["mlp", "int8"].path
    words = ("build", bundle, "--target", "rtx", "--gpu", "sm_89", "--cache", tmp_path)
    done = call_c2t(*words, "--rows", 1, "--max-new-tokens", 4, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["found"] is False
    assert printed["plan_set"]["identity"]["rows"] == 1
    assert "building decoder.plan for sm_89" in done.stderr
    done = call_c2t("build", bundle, "--target", "tensorrt")
    assert done.returncode == 1
    assert 'hint: pip install "c2t[tensorrt]"' in done.stderr
