"""A kernel that is wrong in one layer, whichever it is, is not used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_data import DATA

from c2t.kernels.decoder_step.cpu import step_kernels
from c2t.kernels.encoder.cpu import encoder_kernels
from c2t.kernels.linears.matrix import Int8Matrix, Matrix
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.manifest import Decoder, TensorReference
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu import kernel_encoder, kernel_step, piecewise
from c2t.runtime.engines.cpu.open import open_encoder, open_engines
from c2t.runtime.engines.known_decoder.recognise import KnownDecoder
from c2t.runtime.system.errors import EngineError

INT8 = DATA / "format_1" / "int8"
OPTIONS = EngineOptions(threads=2)
LAYERS, WIDTH, WORDS = 5, 64, 160
needs_step = pytest.mark.skipif(step_kernels() is None, reason="no step of ours runs here")
needs_encoder = pytest.mark.skipif(encoder_kernels() is None, reason="no encoder of ours runs here")


def wrong(matrix: Matrix, share: float = 0.1) -> Matrix:
    """A matrix, of which a share of the columns is zero."""
    values = np.array(matrix.values if isinstance(matrix, Int8Matrix) else matrix)
    values[:, : int(share * values.shape[1])] = 0
    return replace(matrix, values=values) if isinstance(matrix, Int8Matrix) else values


def with_wrong(layers: Sequence[Any], index: int, linear: str) -> list[Any]:
    """Layers, of which one has a wrong linear."""
    found = list(layers)
    old = getattr(found[index], linear)
    is_biased = hasattr(old, "bias")
    # Attention of the tiny encoder adds little.
    new = replace(old, matrix=wrong(old.matrix, share=0.5)) if is_biased else wrong(old)
    found[index] = replace(found[index], **{linear: new})
    return found


@pytest.fixture(scope="module", params=["float32", "int8"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Path, sizes and token rows of a random decoder of several layers."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("onnx")
    from c2t.calibration.quantise.quantised_graph import write_quantised
    from c2t.calibration.quantise.recipe import GraphRecipe, LinearRecipe
    from c2t.calibration.ranges.linears import StoredGraph
    from c2t.export.decoders.llama import FAMILY
    from c2t.runtime.bundle.precision import Precision

    config = transformers.LlamaConfig(
        vocab_size=WORDS,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.15,
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config)
    path = tmp_path_factory.mktemp(request.param) / "decoder.onnx"
    place: TensorReference = FAMILY.write_graph(model, path)
    sizes: Decoder = FAMILY.manifest_entry(config, place)
    table = model.get_input_embeddings().weight.detach().numpy()
    if request.param == "int8":
        source = StoredGraph(path)
        recipe = LinearRecipe(precision=Precision.int8, scale=0.05)
        linears = {linear.name: recipe for linear in source.linears()}
        path = tmp_path_factory.mktemp("quantised") / "decoder.onnx"
        write_quantised(source, path, GraphRecipe(linears=linears))
    return path, sizes, table


@needs_step
@pytest.mark.parametrize("pieces", ["each layer", "all layers together"])
def test_a_decoder_without_a_fault_is_used(
    decoder: Any, pieces: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if pieces == "each layer":
        monkeypatch.setattr(piecewise, "PIECE_BYTES", 0)
    engine, said = kernel_step.open_decoder(*decoder, OPTIONS)
    assert said == "every step is one kernel"
    assert engine.session is None


@needs_step
@pytest.mark.parametrize("layer", range(LAYERS))
@pytest.mark.parametrize("linear", ["qkv", "o", "gate_up", "down"])
def test_a_decoder_with_a_fault_in_one_layer_is_not_used(
    decoder: Any, layer: int, linear: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = KnownDecoder.host

    def host(self: KnownDecoder) -> Any:
        found = right(self)
        return replace(found, layers=with_wrong([*found.layers], layer, linear))

    monkeypatch.setattr(piecewise, "PIECE_BYTES", 0)
    monkeypatch.setattr(KnownDecoder, "host", host)
    engine, said = kernel_step.open_decoder(*decoder, OPTIONS)
    problem = f"steps without our kernel: its numbers behind layers {layer} to {layer} are "
    assert said.startswith(problem)
    assert engine.session is not None


def without_columns(matrix: Matrix, columns: slice) -> Matrix:
    """The matrix [V, D] of the last product, some of whose columns are zero."""
    values = np.array(matrix.values if isinstance(matrix, Int8Matrix) else matrix)
    values[columns] = 0
    return replace(matrix, values=values) if isinstance(matrix, Int8Matrix) else values


@needs_step
@pytest.mark.parametrize("block_bytes", [1000, 1 << 20])
@pytest.mark.parametrize(
    "spoil",
    [
        wrong,
        lambda m: without_columns(m, slice(64, 128)),
        lambda m: without_columns(m, slice(-1, None)),
    ],
    ids=["inputs", "a panel", "the last column"],
)
def test_a_decoder_with_a_fault_in_its_last_product_is_not_used(
    decoder: Any,
    spoil: Callable[[Matrix], Matrix],
    block_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    right = KnownDecoder.host

    def host(self: KnownDecoder) -> Any:
        found = right(self)
        return replace(found, lm_head=spoil(found.lm_head))

    monkeypatch.setattr(piecewise, "PIECE_BYTES", 0)
    monkeypatch.setattr(piecewise, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(KnownDecoder, "host", host)
    _, said = kernel_step.open_decoder(*decoder, OPTIONS)
    assert said.startswith("steps without our kernel: its logits behind the last layer are ")


@needs_encoder
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("linear", ["qkv", "output", "up", "down"])
def test_an_encoder_with_a_fault_in_one_layer_is_not_used(
    layer: int, linear: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = kernel_encoder.recognise_encoder

    def recognise(path: Path) -> Any:
        known = right(path)
        return replace(known, layers=with_wrong(known.layers, layer, linear))

    monkeypatch.setattr(piecewise, "PIECE_BYTES", 0)
    monkeypatch.setattr(kernel_encoder, "recognise_encoder", recognise)
    encoder, label = open_encoder(open_bundle(INT8), OPTIONS)
    problem = f"layers without our kernel: its hidden states behind layers {layer} to {layer} are "
    assert problem in label
    assert encoder.session is not None


@needs_step
@needs_encoder
def test_a_piece_that_onnx_runtime_does_not_run_leaves_it_the_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a whole it may run; where it does not, opening it says so."""

    def refused(*_: object, **__: object) -> None:
        problem = "no such piece"
        raise EngineError(problem)

    monkeypatch.setattr(piecewise, "open_session", refused)
    engines = open_engines(open_bundle(INT8), OPTIONS)
    assert engines.settings["steps"] == "steps without our kernel: no such piece"
    assert engines.settings["encoder"] == "layers without our kernel: no such piece"
    assert engines.decoder.session is not None  # type: ignore[attr-defined]


@needs_step
def test_a_bundle_is_opened_from_threads_and_after_an_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bundle = open_bundle(INT8)
    cell = np.array([bundle.golden.cells[0].gene_tokens], np.int32)
    expected = open_engines(bundle, OPTIONS).encoder.encode(cell)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kernel_step, "PackedDecoder", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_engines(bundle, OPTIONS)
    found: list[Any] = [None] * 4

    def open_one(index: int) -> None:
        engines = open_engines(open_bundle(INT8), OPTIONS)
        found[index] = engines.settings["steps"], engines.encoder.encode(cell)

    threads = [threading.Thread(target=open_one, args=(index,)) for index in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for said, vectors in found:
        assert said == "every step is one kernel"
        np.testing.assert_array_equal(vectors, expected)
