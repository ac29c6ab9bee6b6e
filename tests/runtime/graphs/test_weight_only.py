"""The weight-only variant: no activation Q/DQ, and TensorRT for RTX keeps its weights in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from tiny_models import TinySizes, tiny_model

from c2t.calibration.quantise.quantised_graph import write_quantised
from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
from c2t.calibration.ranges.linears import StoredGraph
from c2t.export.decoders.llama import write_decoder_graph
from c2t.export.encoders.geneformer import write_encoder_graph
from c2t.export.projectors.families import write_projector_graph
from c2t.runtime.build.plan_builder import PlanOptions, build_plan
from c2t.runtime.bundle.precision import Precision
from c2t.runtime.engines.built.plan_profiles import Shapes
from c2t.runtime.engines.tensorrt_library import Target, load_tensorrt
from c2t.runtime.graphs.backend_variant import BackendVariant, write_variant
from c2t.runtime.graphs.weight_only import drop_activation_pairs

# Heads 8 wide do not build (no fused attention); 16, 32 and 64 do.
MLP = TinySizes(decoder_width=128, encoder_width=32, decoder_ffn=256)
PERCEIVER = TinySizes(decoder_width=128, encoder_width=32, projector="perceiver")
QFORMER = TinySizes(decoder_width=128, encoder_width=32, projector="qformer")
NAMES = ("encoder", "mlp", "perceiver", "qformer", "decoder")
CAPACITY = 32


def write_variants(name: str, folder: Path) -> tuple[Path, Path]:
    """The INT8 graph, and its weight-only variant beside it."""
    path = folder / "float32.onnx"
    model = tiny_model({"perceiver": PERCEIVER, "qformer": QFORMER}.get(name, MLP))
    if name == "encoder":
        write_encoder_graph(model.encoder, path, rows=model.rows)
    elif name == "decoder":
        write_decoder_graph(model.decoder, path)
    else:
        write_projector_graph(model.projector, path)
    source = StoredGraph(path)
    recipe = GraphRecipe(
        linears={
            p.name: LinearRecipe(precision=Precision.int8, scale=0.05) for p in source.linears()
        }
    )
    int8, small = folder / "int8.onnx", folder / "small.onnx"
    write_quantised(source, int8, recipe)
    graph = onnx.load(int8, load_external_data=False)
    assert drop_activation_pairs(graph) == len(recipe.linears)
    small.write_bytes(graph.SerializeToString())
    return int8, small


@pytest.mark.parametrize("name", NAMES)
def test_only_weights_are_dequantised(tmp_path, name):
    int8, small = write_variants(name, tmp_path)
    graph = onnx.load(small).graph
    onnx.checker.check_model(str(small))
    assert not any(node.op_type == "QuantizeLinear" for node in graph.node)
    stored = {tensor.name: tensor.data_type for tensor in graph.initializer}
    weights = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    assert weights
    assert all(stored[node.input[0]] == onnx.TensorProto.INT8 for node in weights)
    assert len(weights) * 2 == sum(
        node.op_type == "DequantizeLinear" for node in onnx.load(int8).graph.node
    )


def test_the_weights_are_what_the_int8_graph_has(tmp_path):
    _, small = write_variants("mlp", tmp_path)
    exact = onnxruntime.InferenceSession(str(tmp_path / "float32.onnx"))
    found = onnxruntime.InferenceSession(str(small))
    hidden = np.random.default_rng(0).standard_normal((1, 5, 32)).astype(np.float32)
    first, second = (s.run(None, {"hidden": hidden})[0] for s in (exact, found))
    assert second == pytest.approx(first, abs=0.05)
    assert (second != first).any()


def test_the_plan_keeps_int8_weights(tmp_path, monkeypatch):
    pytest.importorskip(
        "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed", exc_type=ImportError
    )
    library = load_tensorrt(Target.rtx, build=True)
    monkeypatch.setitem(globals(), "MLP", TinySizes(encoder_width=1024, decoder_width=2048))
    write_variants("mlp", tmp_path)
    hidden = Shapes(least=(1, 1, 1024), usual=(1, 8, 1024), most=(4, 8, 1024))
    variant = BackendVariant(dtype="float16", activations=False, cache_capacity=CAPACITY)
    sizes = []
    for name in ("float32", "int8"):
        half, plan = tmp_path / f"{name}.half.onnx", tmp_path / f"{name}.plan"
        write_variant(tmp_path / f"{name}.onnx", half, variant)
        build_plan(library, half, plan, [{"hidden": hidden}], PlanOptions(gpus=("sm_89",)))
        sizes.append(plan.stat().st_size)
    weights = 20 * (1024 + 2048)  # two bytes each in half precision, one in int8
    assert sizes[0] - sizes[1] > 0.7 * weights
