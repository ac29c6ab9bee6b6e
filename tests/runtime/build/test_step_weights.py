"""The description of a decoder's weights: bit for bit the graph's, checked before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from graph_changes import changed, constant, insert_after, node
from safetensors.numpy import load_file, save_file
from tiny_models import tiny_llama

from c2t.export.decoders.llama import write_decoder_graph
from c2t.runtime.build.build_half_graphs import HalfGraphsOptions, build_half_graphs
from c2t.runtime.build.step_weights import write_step_weights
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.engines.built.step_weights import (
    DESCRIPTION_NAME,
    SMALL_NAME,
    load_step_weights,
)
from c2t.runtime.engines.known_decoder.recognise import UnknownDecoderError
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.errors import EngineError

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@pytest.fixture(scope="module")
def bundle(bundles: dict[tuple[str, str], Bundle]) -> Bundle:
    return bundles["mlp", "fp32"]


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """Half-precision graphs."""
    return Path(build_half_graphs(bundle, HalfGraphsOptions(cache=tmp_path)).folder)


def read(folder: Path, reference: TensorReference) -> np.ndarray:
    """A tensor where a reference says that it lies."""
    return np.memmap(
        folder / reference.file,
        dtype=DTYPES[reference.dtype],
        mode="r",
        offset=reference.offset,
        shape=reference.shape,
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_weight_is_the_graph_s(bundle, tmp_path, dtype):
    done = build_half_graphs(bundle, HalfGraphsOptions(dtype=dtype, cache=tmp_path))
    weights, small = load_step_weights(Path(done.folder), bundle.manifest.decoder)
    graph = onnx.load(bundle.file("decoder.onnx")).graph
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    matrices = {"output.weight": weights.logits}
    for index, layer in enumerate(weights.layers):
        matrices |= {
            f"layers.{index}.attention.qkv.weight": layer.qkv,
            f"layers.{index}.attention.output.weight": layer.output,
            f"layers.{index}.mlp.gate_up.weight": layer.gate_up,
            f"layers.{index}.mlp.down.weight": layer.down,
        }
    for name, reference in matrices.items():
        expected = stored.pop(name).astype(DTYPES[dtype])
        found = read(Path(done.folder), reference)
        np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16), name)
    for name, values in small.items():
        np.testing.assert_array_equal(values, stored.pop(name), name)
    # Nothing with numbers in it is left out.
    assert [name for name, values in stored.items() if values.dtype.kind == "f"] == []
    sizes = bundle.manifest.decoder
    assert weights.attention_scale == np.float32(sizes.head_size**-0.5)
    norms = [node for node in graph.node if node.op_type == "RMSNormalization"]
    (epsilon,) = (a.f for a in norms[0].attribute if a.name == "epsilon")
    assert weights.epsilon == epsilon


def change(document: Any, place: tuple[str | int, ...], value: Any) -> None:
    """Change a value somewhere inside a JSON document."""
    for step in place[:-1]:
        document = document[step]
    document[place[-1]] = value


@pytest.mark.parametrize(
    ("place", "value", "problem"),
    [
        (("logits", "offset"), -1, "in 'decoder.onnx.data' has a negative offset"),
        (("logits", "offset"), 1 << 40, "in 'decoder.onnx.data' ends at byte 1,099,"),
        (("logits", "file"), "../decoder.onnx.data", "has a name that leaves the folder"),
        (("logits", "file"), "/etc/passwd", "has a name that leaves the folder"),
        (("logits", "file"), "nothing", "in 'nothing' is missing"),
        (("logits", "shape"), [1, 1], r"logits has the shape \[1, 1\], expected"),
        (("logits", "dtype"), "float32", "logits is 'float32'"),
        (("logits", "offset"), "0", "cannot be read: Expected `int`"),
        (("layers", 1, "qkv", "dtype"), "bfloat16", "layer 1 qkv is 'bfloat16'"),
        (("layers", 0, "down", "shape"), [], r"layer 0 down has the shape \[\]"),
        (("layers", 0, "down", "shape"), [-4, 128], r"layer 0 down has the shape \[-4, 128\]"),
        (("layers", 1, "down", "shape"), [8, 128], r"layer 1 down has the shape \[8, 128\]"),
        (("layers", 0, "output", "offset"), 1 << 70, "past the file's end"),
        (("layers",), [], "it has 0 layers, the decoder 2"),
        (("epsilon",), 0, "epsilon is 0"),
        (("attention_scale",), -1, "the attention's scale is -1"),
    ],
)
def test_what_does_not_fit_is_refused(bundle, folder, place, value, problem):
    path = folder / DESCRIPTION_NAME
    document = json.loads(path.read_text())
    change(document, place, value)
    path.write_text(json.dumps(document))
    with pytest.raises(EngineError, match=problem) as caught:
        load_step_weights(folder, bundle.manifest.decoder)
    assert "--target cuda --force" in caught.value.hint


def test_a_link_is_no_data_file(bundle, folder):
    path = folder / "decoder.onnx.data"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")
    with pytest.raises(EngineError, match="is a link that leaves the folder"):
        load_step_weights(folder, bundle.manifest.decoder)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"norm.weight": None}, "does not hold what the decoder needs: norm.weight"),
        ({"more": np.zeros(1, np.float32)}, "does not hold what the decoder needs: more"),
        ({"rotary.cos": np.zeros((3, 3), np.float32)}, r"rotary.cos is float32 \[3, 3\]"),
        ({"norm.weight": np.zeros(128)}, r"norm.weight is float64 \[128\], expected float32"),
    ],
)
def test_small_tensors_that_do_not_fit(bundle, folder, changed, problem):
    tensors = load_file(folder / SMALL_NAME) | changed
    save_file({n: t for n, t in tensors.items() if t is not None}, folder / SMALL_NAME)
    with pytest.raises(EngineError, match=problem):
        load_step_weights(folder, bundle.manifest.decoder)


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, SMALL_NAME])
def test_files_that_cannot_be_read(bundle, folder, name):
    (folder / name).write_bytes(b"{")
    with pytest.raises(EngineError, match=rf"{name} cannot be read"):
        load_step_weights(folder, bundle.manifest.decoder)
    (folder / name).unlink()
    with pytest.raises(EngineError, match=rf"{name} cannot be read"):
        load_step_weights(folder, bundle.manifest.decoder)


def normalise_queries(graph):
    insert_after(graph, "layers.0.attention.q.split", "RMSNormalization", "norm.weight", axis=-1)


def add_a_bias(graph):
    insert_after(graph, "layers.0.mlp.down", "Add", "norm.weight")


def add_a_bias_to_the_output(graph):
    node(graph, "output").input.append("norm.weight")


def use_another_activation(graph):
    node(graph, "layers.1.mlp.sigmoid").op_type = "Tanh"


def drop_a_residual(graph):
    graph.node.remove(node(graph, "layers.1.mlp.residual"))


def add_a_mask(graph):
    node(graph, "layers.0.attention").input[3] = "position_ids"


def use_an_operator_of_another_domain(graph):
    node(graph, "layers.0.mlp.down").domain = "com.microsoft"


def look_up_no_positions(graph):
    del node(graph, "layers.0.attention.k.rotary").input[3]


def swap_gate_and_up(graph):
    halves = node(graph, "layers.0.mlp.halves")
    halves.output[0], halves.output[1] = halves.output[1], halves.output[0]


def cut_otherwise(graph):
    sizes = next(t for t in graph.initializer if t.name == "layers.1.attention.heads.sizes")
    queries, keys, values = onnx.numpy_helper.to_array(sizes).tolist()
    constant(graph, sizes.name, [keys, queries, values])


def take_other_heads(graph):
    constant(graph, "shape.query_heads", [0, 0, 1, 4])


ROTARY_NODE = "layers.1.attention.q.rotary"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            normalise_queries,
            r"has layers\.0\.attention\.q\.split\.added \(RMSNormalization\), which the step",
        ),
        (add_a_bias, r"has layers\.0\.mlp\.down\.added \(Add\), which the step kernel does not"),
        (add_a_bias_to_the_output, r"has output \(Gemm\), which reads .* norm\.weight, not"),
        (use_another_activation, r"has layers\.1\.mlp\.sigmoid \(Tanh\), which the step kernel"),
        (drop_a_residual, r"has no layers\.1\.mlp\.residual \(Add\)"),
        (add_a_mask, r"has layers\.0\.attention \(Attention\), which reads .*position_ids"),
        (use_an_operator_of_another_domain, r"has layers\.0\.mlp\.down \(com\.microsoft\.MatMul"),
        (look_up_no_positions, r"has layers\.0\.attention\.k\.rotary .*, which reads"),
        (swap_gate_and_up, r"has layers\.0\.mlp\.halves \(Split\), which writes"),
        (cut_otherwise, r"has layers\.1\.attention\.heads\.sizes = \["),
        (take_other_heads, r"has no float32 .*"),
        (
            changed("layers.1.mlp.norm", epsilon=0.5),
            r"has layers\.1\.mlp\.norm \(RMSNormalization\), whose epsilon is 0\.5, not",
        ),
        (
            changed("layers.1.attention", scale=0.5),
            r"has layers\.1\.attention .*scale is 0\.5, not",
        ),
        (changed("layers.1.attention", softcap=30.0), r"attention .*softcap is 30\.0, not None"),
        (changed("layers.0.attention", is_causal=0), r"attention .*whose is_causal is 0, not 1"),
        (changed("layers.0.attention", qk_matmul_output_mode=1), r"whose qk_matmul_output_mode"),
        (changed(ROTARY_NODE, interleaved=1), r"q\.rotary .*whose interleaved is 1, not None"),
        (
            changed(ROTARY_NODE, rotary_embedding_dim=4),
            r"whose rotary_embedding_dim is 4, not None",
        ),
        (changed("output", alpha=0.5), r"has output \(Gemm\), whose alpha is 0\.5, not None"),
        (changed("output", transB=0), r"has output \(Gemm\), whose transB is 0, not 1"),
    ],
)
def test_a_decoder_of_another_kind_is_refused_by_name(tmp_path, spoil, problem):
    source, half = tmp_path / "decoder.onnx", tmp_path / "half" / "decoder.onnx"
    half.parent.mkdir()
    write_decoder_graph(tiny_llama(), source)
    write_half_precision(source, half)
    model = onnx.load(source, load_external_data=False)
    spoil(model.graph)
    source.write_bytes(model.SerializeToString())
    with pytest.raises(UnknownDecoderError, match=f"the decoder .*{problem}"):
        write_step_weights(source, half)
    assert not (half.parent / DESCRIPTION_NAME).exists()


def test_another_opset_is_refused(tmp_path):
    source = tmp_path / "decoder.onnx"
    write_decoder_graph(tiny_llama(), source)
    model = onnx.load(source, load_external_data=False)
    model.opset_import[0].version = 25
    source.write_bytes(model.SerializeToString())
    with pytest.raises(UnknownDecoderError, match="is not of opset 24 alone"):
        write_step_weights(source, tmp_path / "half.onnx")
