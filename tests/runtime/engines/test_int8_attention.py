"""INT8 attention in an encoder graph: where it is used, that it is right, and what is said."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from c2t.kernels.attention.cpu import attention, attention_isa
from c2t.kernels.native import ISA_NUMBER, native_status
from c2t.runtime.bundle.bundle import Bundle, open_bundle
from c2t.runtime.bundle.graph_check import check_graph
from c2t.runtime.engine_protocol import EncoderEngine, EngineOptions
from c2t.runtime.engines.cpu import int8_attention
from c2t.runtime.engines.cpu.attention_pass import graph_of_both, use_int8_attention
from c2t.runtime.engines.cpu.int8_attention import choose_attention
from c2t.runtime.engines.cpu.open import open_engines
from c2t.runtime.engines.cpu.session import ChangedGraph, open_session
from c2t.runtime.system.errors import BundleError

FAST = attention_isa() in int8_attention.FAST
needs_operator = pytest.mark.skipif(not FAST, reason=f"no INT8 attention: {native_status().reason}")


@pytest.fixture
def bundle(tiny_bundle_folder: Path, tmp_path: Path) -> Bundle:
    """The tiny bundle as if it were an INT8 one: its attention is what INT8 bundles have."""
    folder = shutil.copytree(tiny_bundle_folder, tmp_path / "int8")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"precision": "int8"}))
    return open_bundle(folder)


def gene_tokens(cells: int, length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(2, 20, (cells, length)).astype(np.int32)


@needs_operator
def test_an_int8_bundle_has_it_and_says_so(bundle: Bundle, tiny_bundle_folder: Path) -> None:
    ours = open_engines(bundle, EngineOptions())
    assert f"INT8 attention, {attention_isa()}" in ours.label
    plain = open_engines(open_bundle(tiny_bundle_folder), EngineOptions())
    assert "attention" not in plain.label
    tokens = gene_tokens(2, 11)
    found, expected = ours.encoder.encode(tokens), plain.encoder.encode(tokens)
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < difference < 0.02  # it computes something else, and nearly the same


@needs_operator
def test_the_changed_graph_is_the_bundle_s_but_for_attention(bundle: Bundle) -> None:
    path = bundle.file("encoder.onnx")
    before = path.read_bytes()
    after = use_int8_attention(before, "avx2")
    assert after is not None
    assert before.count(b"Int8Attention") == 0
    # Not the two attentions' names, which other nodes have in theirs: their operators.
    assert after.count(b"\x22\x0dInt8Attention\x3a\x03c2t") == before.count(b"\x22\x09Attention")
    assert path.read_bytes() == before
    path.write_bytes(after)  # it is never stored: c2t would not open it again
    with pytest.raises(BundleError, match=r"has the operator 'c2t.Int8Attention', which c2t never"):
        check_graph(path)


def session_of_both(tmp_path: Path, threads: int, *, heads: int, size: int) -> object:
    library = native_status().library
    assert library is not None
    graph = graph_of_both(heads=heads, head_size=size, isa=str(attention_isa()))
    changed = ChangedGraph(graph, tmp_path, library)
    return open_session(tmp_path / "both.onnx", EngineOptions(threads=threads), changed=changed)


@needs_operator
@pytest.mark.parametrize("size", [20, 64])
def test_the_operator_computes_what_the_kernel_does_on_any_threads(
    tmp_path: Path, size: int
) -> None:
    draw = np.random.default_rng(0)
    shapes = [(3, rows, 4 * size) for rows in (75, 300, 300)]
    names = ("query", "key", "value")
    rows = {n: draw.standard_normal(s, np.float32) for n, s in zip(names, shapes, strict=True)}
    expected = attention(*rows.values(), heads=4, scale=size**-0.5)
    for threads in (1, 2, 3):
        session = session_of_both(tmp_path, threads, heads=4, size=size)
        standard, ours = session.run(["standard", "ours"], rows)
        assert np.array_equal(ours, expected), threads
        assert np.abs(ours - standard).max() < 0.02


@needs_operator
def test_the_operator_takes_the_lengths_of_padded_rows(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: c2t[export]")
    library = native_status().library
    assert library is not None
    isa = ISA_NUMBER[str(attention_isa())]
    names = ["query", "key", "value", "lengths"]
    node = onnx.helper.make_node(
        "Int8Attention", names, ["out"], domain="c2t", heads=2, scale=0.25, isa=isa
    )
    number, integer = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    values = [onnx.helper.make_tensor_value_info(n, number, ["B", "S", 32]) for n in names[:3]]
    values.append(onnx.helper.make_tensor_value_info("lengths", integer, ["B"]))
    out = onnx.helper.make_tensor_value_info("out", number, ["B", "S", 32])
    operators = [onnx.helper.make_opsetid("", 24), onnx.helper.make_opsetid("c2t", 1)]
    graph = onnx.helper.make_graph([node], "padded", values, [out])
    model = onnx.helper.make_model(graph, opset_imports=operators, ir_version=11)
    changed = ChangedGraph(model.SerializeToString(), tmp_path, library)
    session = open_session(tmp_path / "padded.onnx", EngineOptions(threads=2), changed=changed)

    draw = np.random.default_rng(0)
    rows = [draw.standard_normal((2, 200, 32), np.float32) for _ in names[:3]]
    lengths = np.array([200, 131], np.int64)
    (found,) = session.run(None, dict(zip(names, [*rows, lengths], strict=True)))
    expected = attention(*rows, heads=2, scale=0.25, key_lengths=lengths)
    assert np.array_equal(found, expected)
    with pytest.raises(Exception, match="a key length is out of range"):
        session.run(None, dict(zip(names, [*rows, lengths + 1], strict=True)))


@needs_operator
def test_the_operator_refuses_rows_that_do_not_fit(tmp_path: Path) -> None:
    session = session_of_both(tmp_path, 1, heads=2, size=8)
    rows = np.zeros((1, 5, 16), np.float32)
    with pytest.raises(Exception, match="Int8Attention: keys and values do not fit"):
        session.run(["ours"], {"query": rows, "key": rows, "value": rows[:, 1:]})
    with pytest.raises(Exception, match="Int8Attention: no such head size"):
        session.run(["ours"], dict.fromkeys(("query", "key", "value"), rows[..., :15].copy()))


@needs_operator
def test_other_threads_may_run_it_at_the_same_time(bundle: Bundle) -> None:
    encoder = open_engines(bundle, EngineOptions(threads=2)).encoder
    tokens = [gene_tokens(1, length) for length in (5, 9, 12, 17) * 8]

    def encode_all(clone: EncoderEngine) -> list[np.ndarray]:
        return [clone.encode(some).copy() for some in tokens]

    expected = encode_all(encoder)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(encode_all, [encoder.clone() for _ in range(3)]):
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@needs_operator
def test_wrong_numbers_leave_onnxruntime_s_attention(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_heads(*, heads: int, head_size: int, isa: str) -> bytes:
        graph = graph_of_both(heads=heads, head_size=head_size, isa=isa)
        # ATTRIBUTE_NAME heads, then its number: one more than there are
        at = graph.index(b"\x0a\x05heads\x18")
        return graph[: at + 8] + bytes([1]) + graph[at + 9 :]

    monkeypatch.setattr(int8_attention, "graph_of_both", wrong_heads)
    choice = choose_attention(bundle, EngineOptions())
    assert choice.graph is None
    assert choice.said.startswith("float32 attention: INT8 differs by ")
    assert choice.said in open_engines(bundle, EngineOptions()).label


@needs_operator
def test_a_library_without_the_operator_leaves_onnxruntime_s(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "libother.so"
    other.write_bytes(b"no library")
    status = replace(native_status(), library=other)
    monkeypatch.setattr(int8_attention, "native_status", lambda: status)
    choice = choose_attention(bundle, EngineOptions())
    assert choice.graph is None
    assert "ONNX Runtime" in choice.said


@pytest.mark.parametrize("isa", ["scalar", "numpy"])
def test_other_processors_keep_onnxruntime_s_attention(bundle: Bundle, isa: str) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from c2t.runtime.bundle.bundle import open_bundle\n"
        "from c2t.runtime.engine_protocol import EncoderEngine, EngineOptions\n"
        "from c2t.runtime.engines.cpu.open import open_engines\n"
        "print(open_engines(open_bundle(Path(sys.argv[1])), EngineOptions()).label)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(bundle.path)],
        env=os.environ | {"C2T_FORCE_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "float32 attention: " in done.stdout
    assert "C2T_FORCE_ISA is set" in done.stdout


PLAIN = {"q_num_heads": 2, "kv_num_heads": 2, "scale": 0.25}


@pytest.mark.parametrize(
    ("inputs", "outputs", "attributes", "is_plain"),
    [
        ("q k v", "out", PLAIN, True),
        ("q k v mask", "out", PLAIN, False),
        ("q k v", "out keys", PLAIN, False),
        ("q k v", "out", PLAIN | {"is_causal": 1}, False),
        ("q k v", "out", PLAIN | {"kv_num_heads": 1}, False),
        ("q k v", "out", PLAIN | {"scale": -1.0}, False),
        ("q k v", "out", PLAIN | {"scale": "0.25"}, False),
        ("q k v", "out", PLAIN | {"q_num_heads": 2.0, "kv_num_heads": 2.5}, False),
        ("q k v", "out", {"q_num_heads": 2, "kv_num_heads": 2}, False),
    ],
)
def test_only_plain_attention_is_replaced(
    inputs: str, outputs: str, attributes: dict[str, object], is_plain: bool
) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: c2t[export]")
    node = onnx.helper.make_node(
        "Attention", inputs.split(), outputs.split(), name="attention", **attributes
    )
    graph = onnx.helper.make_graph([node], "graph", [], [])
    before = onnx.helper.make_model(graph, doc_string="kept")
    after = use_int8_attention(before.SerializeToString(), "avx512")
    if not is_plain:
        assert after is None
        return
    assert after is not None
    model = onnx.load_from_string(after)
    (ours,) = model.graph.node
    assert (ours.domain, ours.op_type, ours.name) == ("c2t", "Int8Attention", "attention")
    assert (list(ours.input), list(ours.output)) == (inputs.split(), outputs.split())
    found = {entry.name: onnx.helper.get_attribute_value(entry) for entry in ours.attribute}
    assert found == {"heads": 2, "scale": 0.25, "isa": ISA_NUMBER["avx512"]}
    assert model.opset_import[-1] == onnx.helper.make_opsetid("c2t", 1)
    # All else is as it was.
    del model.opset_import[-1]
    model.graph.node[0].CopyFrom(node)
    assert model == before


def test_attention_over_a_cache_stays(bundle: Bundle) -> None:
    path = bundle.file("decoder.onnx")
    assert use_int8_attention(path.read_bytes(), "avx2") is None
