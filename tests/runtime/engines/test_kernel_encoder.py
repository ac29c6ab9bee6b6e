"""An INT8 encoder's layers on our kernel: numbers, and when it is not used."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_data import BUNDLES, DATA, with_a_broken_gene

from c2t.kernels.encoder.cpu import CpuEncoder, Encoded, encoder_kernels
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu import int8_attention, kernel_encoder
from c2t.runtime.engines.cpu.encoder import OnnxRuntimeEncoder
from c2t.runtime.engines.cpu.open import open_encoder, open_engines
from c2t.runtime.engines.known_encoder.recognise import UnknownEncoderError, recognise_encoder
from c2t.runtime.engines.known_encoder.recognise_projector import (
    UnknownProjectorError,
    recognise_projector,
)

USED = "all layers and the projector are one kernel"
OPTIONS = EngineOptions(threads=2)
INT8 = DATA / "format_1" / "int8"
needs_kernel = pytest.mark.skipif(encoder_kernels() is None, reason="no encoder of ours runs here")


@pytest.fixture
def bundle() -> Bundle:
    return open_bundle(INT8)


def gene_tokens(bundle: Bundle, cells: int, length: int) -> np.ndarray:
    most = bundle.manifest.gene_input.vocabulary_size
    return np.random.default_rng(length).integers(2, most, (cells, length)).astype(np.int32)


def encoder_said(encoder_label: str) -> str:
    return encoder_label.partition("encoder ")[2].rstrip(")")


@needs_kernel
def test_an_int8_bundle_has_it_and_says_so(bundle: Bundle) -> None:
    ours, label = open_encoder(bundle, OPTIONS)
    theirs, other = open_encoder(bundle, replace(OPTIONS, encoder_kernel=False))
    assert encoder_said(label) == USED
    assert "one kernel" not in other
    assert open_engines(bundle, OPTIONS).settings["encoder"] == USED
    assert ours.session is None  # its weights are not held twice
    for cells, length in ((1, 2), (3, 20), (2, 45)):
        tokens = gene_tokens(bundle, cells, length)
        (found, hidden), (expected, rows) = (
            engine.encode_with_hidden(tokens) for engine in (ours, theirs)
        )
        assert hidden.shape == rows.shape
        for one, other_one in ((hidden, rows), (found, expected)):
            difference = np.linalg.norm(one - other_one) / np.linalg.norm(other_one)
            assert difference < 0.03


@needs_kernel
def test_a_projector_that_differs_from_onnx_runtime_s_is_left_to_it(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = CpuEncoder.run

    def run(self: CpuEncoder, embeddings: np.ndarray, **options: bool) -> Encoded:
        encoded = right(self, embeddings, **options)
        if encoded.vectors is not None:
            encoded.vectors[..., 0] += 1
        return encoded

    expected = open_encoder(bundle, OPTIONS)[0].encode(tokens := gene_tokens(bundle, 2, 30))
    monkeypatch.setattr(CpuEncoder, "run", run)
    opened, label = open_encoder(bundle, OPTIONS)
    assert encoder_said(label) == "all layers are one kernel"
    np.testing.assert_allclose(opened.encode(tokens), expected, atol=1e-5)


@needs_kernel
def test_a_projector_of_another_kind_is_left_to_onnx_runtime(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its layers are still one kernel."""

    def unknown(path: Path) -> None:
        raise UnknownProjectorError(str(path))

    expected = open_encoder(bundle, OPTIONS)[0].encode(tokens := gene_tokens(bundle, 2, 30))
    monkeypatch.setattr(kernel_encoder, "recognise_projector", unknown)
    opened, label = open_encoder(bundle, OPTIONS)
    assert encoder_said(label) == "all layers are one kernel"
    np.testing.assert_allclose(opened.encode(tokens), expected, atol=1e-5)


@needs_kernel
def test_clones_share_its_weights(bundle: Bundle) -> None:
    ours, _ = open_encoder(bundle, OPTIONS)
    tokens = gene_tokens(bundle, 2, 30)
    np.testing.assert_array_equal(ours.clone().encode(tokens), ours.encode(tokens))


@needs_kernel
@pytest.mark.parametrize("name", ["fp32", "int8-weights"])
def test_bundles_of_other_precisions_keep_float32_attention(name: str) -> None:
    opened, label = open_encoder(open_bundle(DATA / "format_1" / name), OPTIONS)
    assert "encoder" not in label
    assert isinstance(opened, OnnxRuntimeEncoder)
    assert opened.session is not None


@needs_kernel
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda hidden: hidden.fill(1), "of the median gene"),
        (lambda hidden: hidden[0].fill(np.nan), "nan% from ONNX Runtime's, of the median gene"),
        (lambda hidden: hidden[0, 0].__imul__(2), "of the worst gene"),
    ],
)
def test_it_is_not_used_where_it_differs_from_onnx_runtime(
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[np.ndarray], None],
    problem: str,
) -> None:
    right = CpuEncoder.run

    def run(self: CpuEncoder, embeddings: np.ndarray) -> Encoded:
        encoded = right(self, embeddings)
        spoil(encoded.hidden)
        return encoded

    monkeypatch.setattr(CpuEncoder, "run", run)
    opened, label = open_encoder(bundle, OPTIONS)
    assert encoder_said(label).startswith("layers without our kernel: its hidden states are ")
    assert problem in label
    assert opened.session is not None


def test_it_is_not_used_on_another_processor(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_encoder, "encoder_kernels", lambda: None)
    said = open_engines(bundle, OPTIONS).settings["encoder"]
    assert said == "layers without our kernel: there is none for this processor"


@needs_kernel
def test_it_is_not_used_without_memory(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(kernel_encoder, "PackedEncoder", no_memory)
    said = open_engines(bundle, OPTIONS).settings["encoder"]
    assert said == "layers without our kernel: no memory for its copy of the weights"


@needs_kernel
def test_no_memory_for_a_run_leaves_it_to_onnx_runtime(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(CpuEncoder, "run", no_memory)
    opened, label = open_encoder(bundle, OPTIONS)
    assert encoder_said(label) == "layers without our kernel: no memory for its activations"
    assert opened.session is not None


@needs_kernel
def test_mapped_weights_stay_mapped(bundle: Bundle) -> None:
    opened, label = open_encoder(bundle, replace(OPTIONS, prepack=False))
    assert encoder_said(label) == "layers without our kernel: weights are not copied"
    assert opened.session is not None


@needs_kernel
def test_attention_that_was_not_right_here_is_not_the_kernel_s_either(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_attention, "check_attention", lambda *_, **__: 0.07)
    opened, label = open_encoder(bundle, OPTIONS)
    assert "float32 attention: INT8 differs by 7.0%" in label
    assert "one kernel" not in label
    assert opened.session is not None


def test_the_graph_of_a_bundle_is_recognised() -> None:
    known = recognise_encoder(INT8 / "encoder.onnx")
    manifest = open_bundle(INT8).manifest
    assert (known.heads, known.hidden_size) == (
        manifest.encoder.heads,
        manifest.gene_input.hidden_size,
    )
    assert len(known.layers) == manifest.encoder.layers_run


def spoiled(folder: Path, spoil: Callable[..., None], graph: str = "encoder.onnx") -> Path:
    """The tiny bundle's encoder, or its projector, changed."""
    onnx = pytest.importorskip("onnx")
    for name in (graph, f"{graph}.data"):
        shutil.copy(BUNDLES["mlp"] / name, folder)
    path = folder / graph
    model = onnx.load(path, load_external_data=False)
    spoil(model.graph)
    path.write_bytes(model.SerializeToString())
    return path


def change(name: str, *arguments: object, **values: object) -> Callable[..., None]:
    """A change of `graph_changes`, which needs onnx: looked up when it is made."""

    def spoil(graph: object) -> None:
        import graph_changes

        getattr(graph_changes, name)(graph, *arguments, **values)

    return spoil


def renamed_operator(name: str, operator: str) -> Callable[..., None]:
    def spoil(graph: object) -> None:
        import graph_changes

        graph_changes.node(graph, name).op_type = operator

    return spoil


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            change("insert_after", "layers.0.attention.qkv", "Add", "layers.0.attention.qkv.bias"),
            r"layers\.0\.attention\.qkv\.added \(Add\), which the native encoder does not know",
        ),
        (renamed_operator("layers.0.mlp.activation", "Tanh"), "has no activation that the native"),
        (renamed_operator("layers.1.mlp.activation", "Gelu"), r"\(Gelu\), which the native"),
        (change("attribute", "layers.0.attention", softcap=3.0), "softcap is 3.0, not None"),
        (change("attribute", "layers.0.attention", is_causal=1), "is_causal is 1, not None"),
        (change("attribute", "layers.1.attention", scale=0.1), "scale is 0.1"),
        (change("attribute", "layers.1.attention", kv_num_heads=1), "kv_num_heads is 1"),
        (change("attribute", "layers.0.mlp.norm", epsilon=0.5), "epsilon is 0.5"),
        (
            change("constant", "layers.0.attention.heads.sizes", [1, 2, 3]),
            r"heads\.sizes = \[1, 2, 3\], not",
        ),
    ],
)
def test_an_encoder_of_another_kind_is_refused_by_name(
    tmp_path: Path, spoil: Callable[..., None], problem: str
) -> None:
    path = spoiled(tmp_path, spoil)
    with pytest.raises(UnknownEncoderError, match=f"the encoder .*{problem}"):
        recognise_encoder(path)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (
            change("insert_after", "mlp.up", "Add", "mlp.up.bias"),
            r"mlp\.up\.added \(Add\), which the native encoder does not know",
        ),
        (renamed_operator("mlp.activation", "Relu"), r"\(Relu\), which the native"),
        (change("attribute", "mlp.activation", approximate="tanh"), "approximate is"),
        (change("attribute", "norm", axis=1), "axis is 1, not -1"),
    ],
)
def test_a_projector_of_another_kind_is_refused_by_name(
    tmp_path: Path, spoil: Callable[..., None], problem: str
) -> None:
    path = spoiled(tmp_path, spoil, "projector.onnx")
    with pytest.raises(UnknownProjectorError, match=f"the projector .*{problem}"):
        recognise_projector(path)


def test_projectors_of_bundles_are_recognised() -> None:
    known = recognise_projector(INT8 / "projector.onnx")
    manifest = open_bundle(INT8).manifest
    assert (known.inputs, known.vector_size) == (
        manifest.gene_input.hidden_size,
        manifest.decoder.hidden_size,
    )
    assert known.up_epsilon == known.down_epsilon == pytest.approx(1e-5)
    with pytest.raises(UnknownProjectorError):
        recognise_projector(BUNDLES["perceiver"] / "projector.onnx")


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("folder", ["int8", "fp32", "int8-weights"])
def test_a_cell_that_is_not_finite_has_no_vectors(folder: str, kernel: bool) -> None:
    """Neither the encoder nor the projector of an INT8 bundle may make numbers of it."""
    bundle = open_bundle(DATA / "format_1" / folder)
    encoder, _ = open_encoder(bundle, replace(OPTIONS, encoder_kernel=kernel))
    tokens = np.minimum(gene_tokens(bundle, 3, 20), 62)
    expected = encoder.encode(tokens).copy()
    assert np.isfinite(expected).all()
    encoder._tables = with_a_broken_gene(encoder._tables, gene=63)
    tokens[1, 4] = 63
    vectors, hidden = encoder.encode_with_hidden(tokens)
    assert np.isnan(vectors[1]).all()
    np.testing.assert_array_equal(vectors[[0, 2]], expected[[0, 2]])
    assert np.isfinite(hidden[[0, 2]]).all()
