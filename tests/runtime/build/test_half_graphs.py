"""Half-precision graphs for ONNX Runtime on CUDA: made whole, found again, opened byte for byte."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from c2t.runtime.build import build_half_graphs as stage
from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.hashes import check_files, sha256_of
from c2t.runtime.bundle.manifest import GRAPHS
from c2t.runtime.engines.built.folder import plan_sets
from c2t.runtime.engines.built.half_graphs import (
    DESCRIPTION_FILES,
    HalfGraphsIdentity,
    open_half_graphs,
)
from c2t.runtime.engines.built.plan_set import PLANS_NAME
from c2t.runtime.engines.known_decoder.recognise import UnknownDecoderError
from c2t.runtime.system.errors import BundleError, EngineError, OutputError

GRAPH_FILES = (*GRAPHS, *(f"{graph}.data" for graph in GRAPHS))


@pytest.fixture(scope="module")
def bundle(bundles: dict[tuple[str, str], Bundle]) -> Bundle:
    return bundles["mlp", "fp32"]


@pytest.fixture
def built(bundle: Bundle, tmp_path: Path) -> Path:
    """A set in a cache of the test's own."""
    return Path(build_half_graphs(bundle, HalfGraphsOptions(cache=tmp_path / "cache")).folder)


def test_a_decoder_that_the_kernel_cannot_run_has_half_precision_graphs(
    bundles, tmp_path, monkeypatch
):
    def refuse(source, half):
        problem = "the decoder has layers.0.attention.q.norm (RMSNormalization)"
        raise UnknownDecoderError(problem)

    monkeypatch.setattr(stage, "write_step_weights", refuse)
    bundle, said = bundles["mlp", "fp32"], []
    done = build_half_graphs(bundle, HalfGraphsOptions(cache=tmp_path), report=said.append)
    expected = "short steps stay with ONNX Runtime: the decoder has layers.0.attention.q.norm"
    assert said[-1].startswith(expected)
    assert set(done.record.files) == set(GRAPH_FILES)
    assert open_half_graphs(bundle, tmp_path) == Path(done.folder)


def record(folder: Path, **changed: object) -> None:
    """Change fields of a set's record."""
    path = folder / PLANS_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("projector", ["mlp", "perceiver", "qformer"])
def test_it_holds_what_it_records(bundles, tmp_path, projector, dtype):
    bundle = bundles[projector, "fp32"]
    said = []
    options = HalfGraphsOptions(dtype=dtype, cache=tmp_path)
    done = build_half_graphs(bundle, options, report=said.append)
    assert said == [f"writing {graph} in {dtype}" for graph in GRAPHS]
    folder = Path(done.folder)
    assert folder.parent == tmp_path
    assert folder.name.startswith(f"cuda-{dtype}-")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*GRAPH_FILES, *DESCRIPTION_FILES, PLANS_NAME]
    )
    for name, entry in done.record.files.items():
        assert entry.bytes == (folder / name).stat().st_size
        assert entry.sha256 == sha256_of(folder / name)
    element = onnx.TensorProto.DataType.Value(dtype.upper())
    for graph in GRAPHS:
        onnx.checker.check_model(folder / graph, full_check=True)
        first = onnx.load(folder / graph, load_external_data=False).graph.input[0]
        assert first.type.tensor_type.elem_type == element
    decoder = onnx.load(folder / "decoder.onnx", load_external_data=False).graph
    caches = [value for value in decoder.input if value.name.startswith("past_")]
    assert {value.type.tensor_type.shape.dim[2].dim_param for value in caches} == {"C"}


def test_it_is_found_again(bundle, tmp_path, monkeypatch):
    monkeypatch.setenv("C2T_ENGINES", str(tmp_path / "named"))
    first = build_half_graphs(bundle, HalfGraphsOptions())
    assert Path(first.folder).parent == tmp_path / "named"
    monkeypatch.setattr(stage, "write_half_precision", None)  # whatever calls it now fails
    again = build_half_graphs(bundle, HalfGraphsOptions())
    assert (again.folder, again.found) == (first.folder, True)
    assert again.record == first.record
    with pytest.raises(TypeError):
        build_half_graphs(bundle, HalfGraphsOptions(force=True))
    # What was there is still there, and nothing else.
    assert open_half_graphs(bundle) == Path(first.folder)
    assert [path.name for path in (tmp_path / "named").iterdir()] == [Path(first.folder).name]


def test_the_newest_precision_is_opened(bundle, tmp_path):
    assert open_half_graphs(bundle, tmp_path) is None
    folders = {
        dtype: Path(
            build_half_graphs(bundle, HalfGraphsOptions(dtype=dtype, cache=tmp_path)).folder
        )
        for dtype in ("float16", "bfloat16")
    }
    record(folders["float16"], created="2026-01-01T00:00:00.000+00:00")
    record(folders["bfloat16"], created="2026-01-02T00:00:00.000+00:00")
    assert open_half_graphs(bundle, tmp_path) == folders["bfloat16"]
    record(folders["float16"], created="2026-01-03T00:00:00.000+00:00")
    assert open_half_graphs(bundle, tmp_path) == folders["float16"]


def test_sets_of_other_bundles_and_plans_are_passed_over(bundle, built):
    other = Bundle(
        bundle.path, bundle.manifest, "0" * 64, check_files(bundle.path, bundle.manifest.files)
    )
    assert open_half_graphs(other, built.parent) is None
    identity = HalfGraphsIdentity(bundle_sha256=bundle.digest, dtype="float16")
    assert identity.key == built.name != replace(identity, dtype="bfloat16").key
    # Nor is a set taken for plans of TensorRT.
    assert list(plan_sets(built.parent)) == []


def test_a_changed_file_is_not_opened(bundle, built):
    path = built / "decoder.onnx.data"
    path.write_bytes(path.read_bytes()[::-1])
    command = f"c2t build {bundle.path} --target cuda --force"
    with pytest.raises(EngineError, match=r"decoder\.onnx\.data was changed since") as caught:
        open_half_graphs(bundle, built.parent)
    assert caught.value.hint == f"build it again with `{command}`"
    path.write_bytes(b"short")
    with pytest.raises(EngineError, match=r"has 5 bytes, expected") as caught:
        open_half_graphs(bundle, built.parent)
    assert caught.value.hint == f"build it again with `{command}`"
    again = build_half_graphs(bundle, HalfGraphsOptions(cache=built.parent, force=True))
    assert open_half_graphs(bundle, built.parent) == Path(again.folder) == built


def test_a_foreign_graph_is_not_opened_even_if_its_hash_fits(bundle, built):
    """Who can write a record can make hashes fit."""
    path = built / "decoder.onnx"
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "other.data"
    path.write_bytes(model.SerializeToString())
    files = json.loads((built / PLANS_NAME).read_bytes())["files"]
    files[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    record(built, files=files)
    with pytest.raises(EngineError, match=r"has weights in 'other\.data'") as caught:
        open_half_graphs(bundle, built.parent)
    assert "--target cuda --force" in caught.value.hint


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"format_version": 2}, "has format 2; this c2t reads up to 1"),
        ({"files": {}}, "is not the record of half-precision graphs of this"),
        (
            {"files": {"../x": {"bytes": 1, "sha256": "0"}}},
            "is not the record of half-precision graphs",
        ),
        ({"files": 1}, "cannot be read: Expected `object`, got `int`"),
        (
            {"identity": {"bundle_sha256": "0", "dtype": "float16"}},
            "is not the record of half-precision graphs",
        ),
        (
            {"identity": {"bundle_sha256": "0", "dtype": "float16", "target": "rtx"}},
            "cannot be read: Invalid enum value 'rtx'",
        ),
    ],
)
def test_damaged_records(bundle, built, changed, problem):
    record(built, **changed)
    with pytest.raises(EngineError, match=problem) as caught:
        open_half_graphs(bundle, built.parent)
    assert "--target cuda --force" in caught.value.hint


@pytest.mark.parametrize("stop", [RuntimeError("no more"), KeyboardInterrupt()])
def test_nothing_stays_of_a_build_that_ends_early(bundle, tmp_path, monkeypatch, stop):
    def fail(source, half):
        raise stop

    monkeypatch.setattr(stage, "write_step_weights", fail)
    with pytest.raises(type(stop)):
        build_half_graphs(bundle, HalfGraphsOptions(cache=tmp_path / "cache"))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("projector", ["mlp", "perceiver", "qformer"])
def test_those_of_an_int8_bundle_have_its_weights_in_half_precision(bundles, tmp_path, projector):
    """And no description of weights: the step kernel streams the bundle's own."""
    bundle, said = bundles[projector, "int8"], []
    done = build_half_graphs(bundle, HalfGraphsOptions(cache=tmp_path), report=said.append)
    assert said == [f"writing {graph} in float16" for graph in GRAPHS]
    assert set(done.record.files) == set(GRAPH_FILES)
    folder = open_half_graphs(bundle, tmp_path)
    assert folder == Path(done.folder)
    for graph in GRAPHS:
        onnx.checker.check_model(folder / graph, full_check=True)
        model = onnx.load(folder / graph)
        assert not any("Quantize" in node.op_type for node in model.graph.node)
        kinds = {tensor.data_type for tensor in model.graph.initializer}
        assert onnx.TensorProto.INT8 not in kinds
        assert onnx.TensorProto.FLOAT16 in kinds


def test_an_int8_decoder_that_the_kernel_cannot_run_is_said(bundles, tmp_path, monkeypatch):
    def refuse(source):
        problem = "the decoder has layers.0.attention.q.norm (RMSNormalization)"
        raise UnknownDecoderError(problem)

    monkeypatch.setattr(stage, "check_step_weights", refuse)
    said = []
    build_half_graphs(bundles["mlp", "int8"], HalfGraphsOptions(cache=tmp_path), report=said.append)
    assert said[-1].startswith("short steps stay with ONNX Runtime: the decoder has layers.0")


def test_what_there_is_no_set_of(quantised, bundle, tmp_path):
    asked = HalfGraphsOptions(cache=tmp_path / "cache")
    other = quantised(bundle, tmp_path / "int8-weights", "int8-weights")
    problem = "made of a bundle of precision fp32 or int8, not of int8-weights"
    with pytest.raises(BundleError, match=problem) as caught:
        build_half_graphs(other, asked)
    assert caught.value.hint == "build the float32 bundle, or one of precision int8"
    with pytest.raises(BundleError, match="runs float32 from the bundle itself"):
        build_half_graphs(bundle, replace(asked, dtype="float32"))
    with pytest.raises(BundleError, match="no precision 'int4' for CUDA") as caught:
        build_half_graphs(bundle, replace(asked, dtype="int4"))
    assert caught.value.hint == "choose one of float16, bfloat16"
    assert not (tmp_path / "cache").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="cannot make"):
        build_half_graphs(bundle, replace(asked, cache=tmp_path / "file" / "cache"))


def test_the_command_line(quantised, bundle, call_c2t, tmp_path):
    words = ("build", bundle.path, "--target", "cuda", "--cache", tmp_path)
    done = call_c2t(*words, "--precision", "bfloat16", "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["found"] is False
    assert printed["cuda_set"]["identity"]["dtype"] == "bfloat16"
    assert "writing decoder.onnx in bfloat16" in done.stderr
    assert f"built {printed['folder']}" in done.stderr
    done = call_c2t(*words, "--precision", "bfloat16")
    assert done.stderr.splitlines()[-1].startswith(f"found {printed['folder']}")
    done = call_c2t(*words, "--gpu", "sm_89", "--rows", 4, "--lean")
    assert done.returncode == 2
    assert "error: --gpu, --rows, --lean: --target cuda has no such choice" in done.stderr
    int8 = quantised(bundle, tmp_path / "other", "int8-weights")
    done = call_c2t("build", int8.path, "--target", "cuda")
    assert done.returncode == 1
    assert "hint: build the float32 bundle" in done.stderr
