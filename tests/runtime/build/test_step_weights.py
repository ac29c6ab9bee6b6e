"""The description of a decoder's weights: bit for bit the graph's, checked before it is used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file
from tiny_models import tiny_llama

from c2t.export.decoders.llama import write_decoder_graph
from c2t.runtime.build.build_half_graphs import CudaSetOptions, build_cuda_set
from c2t.runtime.build.step_weights import write_decoder_weights
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.manifest import TensorReference
from c2t.runtime.engines.built.step_weights import (
    DESCRIPTION_NAME,
    SMALL_NAME,
    load_decoder_weights,
)
from c2t.runtime.graphs.half_precision import write_half_precision
from c2t.runtime.system.errors import BundleError, EngineError

DTYPES = {"float16": np.dtype(np.float16), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


@pytest.fixture(scope="module")
def bundle(bundles: dict[tuple[str, str], Bundle]) -> Bundle:
    return bundles["mlp", "fp32"]


@pytest.fixture
def folder(bundle: Bundle, tmp_path: Path) -> Path:
    """A set."""
    return Path(build_cuda_set(bundle, CudaSetOptions(cache=tmp_path)).folder)


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
    done = build_cuda_set(bundle, CudaSetOptions(dtype=dtype, cache=tmp_path))
    weights, small = load_decoder_weights(Path(done.folder), bundle.manifest.decoder)
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
        (("logits", "offset"), -1, "logits is said to be bytes -1 to"),
        (("logits", "offset"), 1 << 40, "logits is said to be bytes 1,099,511,627,776 to"),
        (("logits", "file"), "../decoder.onnx.data", "which is no plain file name"),
        (("logits", "file"), "/etc/passwd", "which is no plain file name"),
        (("logits", "file"), "nothing", "said to lie in nothing, which is no file of the set"),
        (("logits", "shape"), [1, 1], r"logits has the shape \[1, 1\], expected"),
        (("logits", "dtype"), "float32", "logits is 'float32'"),
        (("logits", "offset"), "0", "cannot be read: Expected `int`"),
        (("layers", 1, "qkv", "dtype"), "bfloat16", "layer 1 qkv is 'bfloat16'"),
        (("layers", 0, "down", "shape"), [], r"layer 0 down has the shape \[\]"),
        (("layers", 0, "down", "shape"), [-4, 128], r"layer 0 down has the shape \[-4, 128\]"),
        (("layers", 1, "down", "shape"), [8, 128], r"layer 1 down has the shape \[8, 128\]"),
        (("layers", 0, "output", "offset"), 1 << 70, "cannot be read|said to be bytes"),
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
        load_decoder_weights(folder, bundle.manifest.decoder)
    assert "--target cuda --force" in caught.value.hint


def test_a_link_is_no_file_of_the_set(bundle, folder):
    path = folder / "decoder.onnx.data"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")
    with pytest.raises(EngineError, match="which is no file of the set"):
        load_decoder_weights(folder, bundle.manifest.decoder)


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
        load_decoder_weights(folder, bundle.manifest.decoder)


@pytest.mark.parametrize("name", [DESCRIPTION_NAME, SMALL_NAME])
def test_files_that_cannot_be_read(bundle, folder, name):
    (folder / name).write_bytes(b"{")
    with pytest.raises(EngineError, match=rf"{name} cannot be read"):
        load_decoder_weights(folder, bundle.manifest.decoder)
    (folder / name).unlink()
    with pytest.raises(EngineError, match=rf"{name} cannot be read"):
        load_decoder_weights(folder, bundle.manifest.decoder)


def add_bias(graph: onnx.GraphProto) -> None:
    product = next(node for node in graph.node if node.name == "layers.0.mlp.down")
    product.output[0] = "unbiased"
    add = onnx.helper.make_node(
        "Add", ["unbiased", "norm.weight"], [product.name], name=f"{product.name}.add"
    )
    graph.node.insert(list(graph.node).index(product) + 1, add)


def scale_one_layer(graph: onnx.GraphProto) -> None:
    attention = next(node for node in graph.node if node.name == "layers.1.attention")
    next(a for a in attention.attribute if a.name == "scale").f = 0.5


def rename_a_product(graph: onnx.GraphProto) -> None:
    next(node for node in graph.node if node.name == "layers.0.mlp.down").name = "other"


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (add_bias, r"the product layers\.0\.mlp\.down has a bias"),
        (scale_one_layer, r"scale of Attention is \[0\."),
        (rename_a_product, r"it has no MatMul layers\.0\.mlp\.down with a weight"),
    ],
)
def test_a_decoder_of_another_kind_is_refused(tmp_path, spoil, problem):
    source, half = tmp_path / "decoder.onnx", tmp_path / "half" / "decoder.onnx"
    half.parent.mkdir()
    write_decoder_graph(tiny_llama(), source)
    write_half_precision(source, half)
    model = onnx.load(source, load_external_data=False)
    spoil(model.graph)
    source.write_bytes(model.SerializeToString())
    with pytest.raises(BundleError, match=problem):
        write_decoder_weights(source, half)
    assert not (half.parent / DESCRIPTION_NAME).exists()
