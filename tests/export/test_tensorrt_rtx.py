"""Every graph parses with TensorRT for RTX, and its half-precision form builds (no GPU needed)."""

from pathlib import Path

import onnx
import pytest
from tiny_models import TinySizes, tiny_model

from c2t.export.decoder_graph import write_decoder_graph
from c2t.export.encoder_graph import write_encoder_graph
from c2t.export.half_precision import fix_cache_capacity, write_half_precision
from c2t.export.projector_graph import write_projector_graph

pytest.importorskip(
    "tensorrt_rtx", reason="tensorrt-rtx-cu13 is not installed", exc_type=ImportError
)
from tensorrt_plan import (
    build_plan,
    decoder_profile,
    encoder_profile,
    parse_graph,
    projector_profile,
)

# Heads 8 wide do not build (no fused attention); 16, 32 and 64 do.
SIZES = {
    "mlp": TinySizes(decoder_width=128, encoder_width=32),
    "perceiver": TinySizes(decoder_width=128, encoder_width=32, projector="perceiver"),
}
CAPACITY = 32


@pytest.fixture(params=SIZES)
def graphs(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[TinySizes, Path]:
    sizes = SIZES[request.param]
    model = tiny_model(sizes)
    write_encoder_graph(model.geneformer, tmp_path / "encoder.onnx", rows=model.rows)
    write_projector_graph(model.projector, tmp_path / "projector.onnx")
    write_decoder_graph(model.llama, tmp_path / "decoder.onnx")
    return sizes, tmp_path


def profiles(sizes: TinySizes) -> dict[str, dict]:
    return {
        "encoder": encoder_profile(sizes.encoder_width, longest=sizes.encoder_positions),
        "projector": projector_profile(sizes.encoder_width, rows=sizes.top_k),
        "decoder": decoder_profile(
            layers=sizes.decoder_layers,
            width=sizes.decoder_width,
            kv_heads=sizes.decoder_kv_heads,
            head_size=sizes.decoder_width // sizes.decoder_heads,
            capacity=CAPACITY,
            longest=16,
        ),
    }


def test_float32_graphs_parse(graphs: tuple[TinySizes, Path]) -> None:
    _, folder = graphs
    # The caches' capacity is dynamic in the bundle; TensorRT wants a number in its place.
    decoder = onnx.load(folder / "decoder.onnx", load_external_data=False)
    fix_cache_capacity(decoder, CAPACITY)
    (folder / "decoder.onnx").write_bytes(decoder.SerializeToString())
    for name, inputs in (("encoder", 1), ("projector", 1), ("decoder", 5 + 2 * 2)):
        parsed = parse_graph(folder / f"{name}.onnx")
        assert parsed.network.num_inputs == inputs


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_forms_build(graphs: tuple[TinySizes, Path], dtype: str) -> None:
    sizes, folder = graphs
    for name, profile in profiles(sizes).items():
        half = folder / f"{name}.{dtype}.onnx"
        write_half_precision(folder / f"{name}.onnx", half, dtype=dtype, cache_capacity=CAPACITY)
        assert len(build_plan(half, profile)) > 1000
