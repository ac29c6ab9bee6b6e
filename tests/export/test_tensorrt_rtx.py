"""Every graph parses with TensorRT for RTX, and its half-precision form builds (no GPU needed)."""

from pathlib import Path

import onnx
import pytest
from tiny_models import TinySizes, tiny_model

from c2t.export.decoder_graph import write_decoder_graph
from c2t.export.encoder_graph import write_encoder_graph
from c2t.export.projector_graph import write_projector_graph
from c2t.runtime.graphs.half_precision import fix_cache_capacity, write_half_precision

pytest.importorskip(
    "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed", exc_type=ImportError
)
from tensorrt_plan import build_plan, parse_graph, tiny_profiles

# Heads 8 wide do not build (no fused attention); 16, 32 and 64 do.
MLP = TinySizes(decoder_width=128, encoder_width=32)
PERCEIVER = TinySizes(decoder_width=128, encoder_width=32, projector="perceiver")
CAPACITY = 32
INPUTS = {"encoder": 1, "mlp": 1, "perceiver": 1, "decoder": 5 + 2 * MLP.decoder_layers}
PROFILES = tiny_profiles(MLP, capacity=CAPACITY)


def write_graph(name: str, folder: Path) -> Path:
    path = folder / f"{name}.onnx"
    model = tiny_model(PERCEIVER if name == "perceiver" else MLP)
    if name == "encoder":
        write_encoder_graph(model.geneformer, path, rows=model.rows)
    elif name == "decoder":
        write_decoder_graph(model.llama, path)
    else:
        write_projector_graph(model.projector, path)
    return path


@pytest.mark.parametrize("name", INPUTS)
def test_float32_graph_parses(tmp_path: Path, name: str) -> None:
    path = write_graph(name, tmp_path)
    # The caches' capacity is dynamic in the bundle; TensorRT wants a number in its place.
    graph = onnx.load(path, load_external_data=False)
    fix_cache_capacity(graph, CAPACITY)
    path.write_bytes(graph.SerializeToString())
    assert parse_graph(path).network.num_inputs == INPUTS[name]


@pytest.mark.parametrize(
    ("name", "dtype", "capability"),
    [
        *((name, "float16", "SM89") for name in INPUTS),
        ("decoder", "bfloat16", "SM89"),
        *(
            pytest.param(name, "float16", capability, marks=pytest.mark.slow)
            for capability in ("SM86", "SM120")
            for name in INPUTS
        ),
    ],
)
def test_half_precision_form_builds(tmp_path: Path, name: str, dtype: str, capability: str) -> None:
    half = tmp_path / "half.onnx"
    write_half_precision(write_graph(name, tmp_path), half, dtype=dtype, cache_capacity=CAPACITY)
    assert len(build_plan(half, PROFILES[name], capability=capability)) > 1000
