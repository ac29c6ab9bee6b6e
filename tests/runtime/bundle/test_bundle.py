"""A bundle opens only if every byte is right; each way to be wrong has its own message."""

import json
import os
import shutil

import numpy as np
import pytest

from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.bundle.manifest import FORMAT_VERSION, TensorReference
from c2t.runtime.bundle.text_tokenizer import decode_text
from c2t.runtime.system.errors import BundleError


@pytest.fixture
def bundle_copy(tiny_bundle_folder, tmp_path):
    return shutil.copytree(tiny_bundle_folder, tmp_path / "bundle")


def change_manifest(folder, change):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def test_an_exported_bundle_opens_and_knows_its_parts(tiny_bundle_folder):
    bundle = open_bundle(tiny_bundle_folder)
    manifest = bundle.manifest
    assert bundle.token_embedding.shape == (
        manifest.decoder.vocabulary_size,
        manifest.decoder.hidden_size,
    )
    assert bundle.gene_embedding_tables.word.shape[0] == manifest.gene_input.vocabulary_size
    assert len(bundle.genes) > 0
    golden = bundle.golden.cells[0]
    assert decode_text(bundle.tokenizer, golden.token_ids) == golden.text != ""
    assert bundle.digest[:12] in repr(bundle)


def test_a_changed_byte(bundle_copy):
    path = bundle_copy / "decoder.onnx.data"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=r"SHA-256 differs\): decoder\.onnx\.data"):
        open_bundle(bundle_copy)
    open_bundle(bundle_copy, verify=False)  # only hashing can see it


def test_all_changed_files_are_named(bundle_copy):
    for name in ("tokenizer.json", "golden.json"):
        path = bundle_copy / name
        path.write_bytes(path.read_bytes().swapcase())
    with pytest.raises(BundleError, match=r"golden\.json, tokenizer\.json"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("verify", [True, False])
def test_missing_and_cut_files_are_all_named(bundle_copy, verify):
    (bundle_copy / "genes.npz").unlink()
    path = bundle_copy / "encoder.onnx.data"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BundleError, match="damaged") as caught:
        open_bundle(bundle_copy, verify=verify)
    assert "genes.npz is missing" in caught.value.problem
    assert "encoder.onnx.data has" in caught.value.problem


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", "c:\\x", ""])
def test_a_path_that_leaves_the_folder(bundle_copy, name):
    (bundle_copy.parent / "secret").write_text("x")

    def add(manifest):
        manifest["files"][name] = {"bytes": 1, "sha256": "0" * 64}

    change_manifest(bundle_copy, add)
    with pytest.raises(BundleError, match="not a plain file name"):
        open_bundle(bundle_copy)


def test_a_link(bundle_copy):
    outside = bundle_copy.parent / "outside.json"
    shutil.move(bundle_copy / "golden.json", outside)
    (bundle_copy / "golden.json").symlink_to(outside)
    with pytest.raises(BundleError, match=r"golden\.json is a link; a bundle holds the files"):
        open_bundle(bundle_copy)


def test_a_newer_format(bundle_copy):
    change_manifest(bundle_copy, lambda m: m.update(format_version=FORMAT_VERSION + 1, more="x"))
    with pytest.raises(BundleError, match=f"has format {FORMAT_VERSION + 1}") as caught:
        open_bundle(bundle_copy)
    assert "update c2t" in caught.value.hint


def test_an_unknown_field_even_deep_inside(bundle_copy):
    change_manifest(bundle_copy, lambda m: m["decoder"]["token_embedding"].update(scale=2))
    with pytest.raises(BundleError, match=r"decoder\.token_embedding\.scale"):
        open_bundle(bundle_copy)


def test_a_missing_field_and_a_wrong_type(bundle_copy):
    change_manifest(bundle_copy, lambda m: m["prompt"].pop("system_message"))
    with pytest.raises(BundleError, match="system_message"):
        open_bundle(bundle_copy)


def test_a_required_file_that_is_not_listed(bundle_copy):
    change_manifest(bundle_copy, lambda m: m["files"].pop("genes.npz"))
    with pytest.raises(BundleError, match=r"does not list: genes\.npz"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format_version": 1}', b"\xff"])
def test_a_manifest_that_is_none(bundle_copy, content):
    (bundle_copy / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError):
        open_bundle(bundle_copy)


def test_a_manifest_that_is_too_long(bundle_copy):
    (bundle_copy / "manifest.json").write_bytes(b" " * (5 << 20))
    with pytest.raises(BundleError, match="at most"):
        open_bundle(bundle_copy)


def test_not_a_bundle(tmp_path):
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(tmp_path)
    with pytest.raises(BundleError, match="is not a bundle"):
        open_bundle(tmp_path / "absent")


@pytest.mark.parametrize(
    ("offset", "shape"),
    [
        (-4, (2, 2)),
        (1 << 40, (2, 2)),
        (0, (1 << 40, 2)),
        (0, (-1, 2)),
        (0, (1 << 32, 1 << 32)),  # 0 in 64 bits
        (0, ()),
    ],
)
def test_a_tensor_outside_its_file(tiny_bundle_folder, offset, shape):
    bundle = open_bundle(tiny_bundle_folder, verify=False)
    reference = TensorReference(
        file="decoder.onnx.data", offset=offset, shape=shape, dtype="float32"
    )
    with pytest.raises(BundleError, match=r"decoder\.onnx\.data"):
        bundle.tensor(reference)


@pytest.mark.parametrize("dtype", ["object", "O", "banana", "float64", "S4", ""])
def test_a_tensor_of_a_type_that_is_none(tiny_bundle_folder, dtype):
    bundle = open_bundle(tiny_bundle_folder, verify=False)
    reference = TensorReference(file="decoder.onnx.data", offset=0, shape=(2, 2), dtype=dtype)
    with pytest.raises(BundleError, match=f"is said to be {dtype!r}"):
        bundle.tensor(reference)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"shape": [3, 4]}, r"token table is \(3, 4\), the manifest says"),
        ({"dtype": "int8"}, "token table is int8, its scales are None"),
    ],
)
def test_a_token_table_that_is_not_the_decoders(bundle_copy, change, problem):
    change_manifest(bundle_copy, lambda m: m["decoder"]["token_embedding"].update(change))
    with pytest.raises(BundleError, match=problem):
        _ = open_bundle(bundle_copy).token_embedding


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        (None, {"precision": "fp7"}, "precision is 'fp7'"),
        (None, {"format_version": 0}, "format_version is 0"),
        ("decoder", {"layers": 10**9}, "decoder.layers is 1000000000"),
        ("decoder", {"max_positions": 1 << 40}, "decoder.max_positions is"),
        ("decoder", {"width": 0}, "decoder.width is 0"),
        ("decoder", {"kv_heads": 3}, "no multiple of kv_heads, 3"),
        ("gene_input", {"layer_norm_epsilon": 0.0}, "layer_norm_epsilon is 0.0"),
        ("decoder", {"max_positions": 1 << 22}, "decoder.max_positions is 4,194,304, too much"),
        ("decoder", {"layers": 900, "kv_heads": 900, "heads": 900}, "decoder.layers is 900, too"),
        ("gene_input", {"input_size": 1 << 23}, "gene_input.input_size is 8,388,608, too much"),
        ("gene_input", {"input_size": -1}, "gene_input.input_size is -1"),
        ("gene_input", {"cls_token": 99999}, "special tokens: 99999 is not in"),
        ("prompt", {"prefix_ids": [-1]}, "prompt.prefix_ids: -1 is not in the vocabulary"),
        ("prompt", {"suffix_ids": [10**7]}, "prompt.suffix_ids: 10000000 is not in"),
        ("generation", {"max_new_tokens": 0}, "generation.max_new_tokens is 0"),
    ],
)
def test_numbers_that_cannot_be(bundle_copy, part, change, problem):
    change_manifest(bundle_copy, lambda m: (m[part] if part else m).update(change))
    with pytest.raises(BundleError, match=problem):
        open_bundle(bundle_copy, verify=False)


def test_a_pipe_is_no_file(bundle_copy):
    (bundle_copy / "golden.json").unlink()
    os.mkfifo(bundle_copy / "golden.json")
    with pytest.raises(BundleError, match=r"golden\.json is no regular file"):
        open_bundle(bundle_copy)


@pytest.mark.parametrize("how", ["written", "exchanged"])
def test_a_file_that_changes_after_it_was_checked(bundle_copy, how):
    bundle = open_bundle(bundle_copy)
    path = bundle_copy / "genes.npz"
    content = path.read_bytes()
    if how == "exchanged":
        path.unlink()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(BundleError, match=r"genes\.npz of the bundle has changed since"):
        _ = bundle.genes
    assert bundle.tokenizer  # the others are as they were


@pytest.mark.parametrize("name", ["decoder.onnx", "decoder.onnx.data"])
@pytest.mark.parametrize("verify", [True, False])
def test_a_graph_brings_its_data_file_along(bundle_copy, name, verify):
    """ONNX Runtime opens the data file by itself: asking for the graph asks for both."""
    bundle = open_bundle(bundle_copy, verify=verify)
    path = bundle_copy / name
    path.rename(bundle_copy / "other")
    path.symlink_to("other")
    with pytest.raises(BundleError, match=f"{name} of the bundle has changed since"):
        bundle.file("decoder.onnx")
    path.unlink()
    with pytest.raises(BundleError, match=f"{name} of the bundle has changed since"):
        bundle.file("decoder.onnx")


@pytest.mark.parametrize(
    ("part", "change", "problem"),
    [
        (
            "decoder",
            {"layers": 3},
            r"decoder\.onnx does not fit the manifest: it has no",
        ),
        ("decoder", {"layers": 1}, "it has an input past_key.1"),
        ("decoder", {"kv_heads": 1}, r"past_key\.0 of the shape \[any, 2, any, 6\], not \[any, 1"),
        ("decoder", {"head_size": 8}, r"past_key\.0 of the shape"),
    ],
)
def test_a_graph_of_other_sizes_than_the_manifest_says(bundle_copy, part, change, problem):
    change_manifest(bundle_copy, lambda m: m[part].update(change))
    with pytest.raises(BundleError, match=problem) as caught:
        open_bundle(bundle_copy)
    assert caught.value.hint


def test_tensors_are_read_only(tiny_bundle_folder):
    table = open_bundle(tiny_bundle_folder, verify=False).token_embedding
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = np.float32(1)
