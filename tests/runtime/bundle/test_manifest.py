"""Which parts a bundle of each family has, and what of a manifest is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_data import BUNDLES

from c2t.runtime.bundle.gene_sentence import GeneSentence
from c2t.runtime.bundle.manifest import GRAPHS, MANIFEST_NAME, Manifest
from c2t.runtime.bundle.manifest_file import parse_manifest, write_manifest
from c2t.runtime.bundle.tasks import CELL2TEXT_TASKS
from c2t.runtime.system.errors import BundleError, TaskError

Document = dict[str, Any]
ENCODER_PARTS = ("gene_input", "encoder", "projector")
DECODER_PARTS = ("decoder", "prompt", "generation")
FILES = ("decoder.onnx", "decoder.onnx.data", "tokenizer.json", "golden.json")


def cell2text() -> Document:
    content: Document = json.loads((BUNDLES["mlp"] / "manifest.json").read_bytes())
    return content


def gene_sentences() -> Document:
    """Of a bundle whose cells become texts."""
    document = cell2text()
    for name in (*ENCODER_PARTS, "prompt"):
        del document[name]
    document["files"] = {name: document["files"][name] for name in FILES}
    return document | {
        "family": "cell2sentence",
        "tasks": ["describe", "annotate"],
        "template": [
            {"kind": "ids", "ids": [0]},
            {"kind": "text", "text": "{count} genes of a {organism} cell: {genes}", "longest": 90},
        ],
        "gene_sentence": {"genes": 20, "organisms": {"human": "Homo sapiens"}},
    }


def stored_prefix() -> Document:
    """Of a bundle with keys and values of what prompts begin with."""
    document = cell2text()
    decoder, ids = document["decoder"], document["prompt"]["prefix_ids"][:3]
    size = 4 * decoder["layers"] * 2 * decoder["kv_heads"] * len(ids) * decoder["head_size"]
    document["files"]["prefix.data"] = {"bytes": size, "sha256": "0" * 64}
    return document | {"precision": "int8", "stored_prefix": ids}


def joint_space() -> Document:
    """Of a bundle that gives cells and texts a place, and writes nothing."""
    document = cell2text()
    for name in DECODER_PARTS:
        del document[name]
    for name in FILES:
        del document["files"][name]
    document["projector"] = {"kind": "joint", "vectors": 1}
    files = ("text.onnx", "text.onnx.data", "text_tokenizer.json")
    document["files"] |= {name: {"bytes": 1000, "sha256": "0" * 64} for name in files}
    tower = {"model": "BERT", "input_size": 128, "vocabulary_size": 30, "hidden_size": 8}
    tower |= {"cls_token": 2, "sep_token": 3}
    return document | {
        "family": "cellwhisperer",
        "tasks": ["embed", "search", "annotate"],
        "joint_space": {
            "size": 24,
            "temperature": 2.6,
            "text": tower | {"files": ["text_tokenizer.json"]},
        },
    }


def parsed(document: Document) -> Manifest:
    return parse_manifest(json.dumps(document).encode())


def test_an_older_bundle_has_all_parts() -> None:
    manifest = parsed(cell2text())
    assert (manifest.family, manifest.tasks) == ("cell2text", CELL2TEXT_TASKS)
    assert manifest.has_encoder
    assert manifest.has_decoder
    assert manifest.graphs == GRAPHS
    assert manifest.vector_size == manifest.decoder.hidden_size == 24
    assert manifest.prompt_length == 8 + len(manifest.prompt.prefix_ids) + len(
        manifest.prompt.suffix_ids
    )


@pytest.mark.parametrize("make", [cell2text, gene_sentences, joint_space, stored_prefix])
def test_what_is_written_is_read_again(make: Callable[[], Document], tmp_path: Any) -> None:
    manifest = parsed(make())
    write_manifest(tmp_path, manifest)
    assert parse_manifest((tmp_path / "manifest.json").read_bytes()) == manifest


def test_a_bundle_of_the_first_family_is_written_for_older_versions_too(tmp_path: Any) -> None:
    write_manifest(tmp_path, parsed(cell2text()))
    written = json.loads((tmp_path / "manifest.json").read_bytes())
    assert written == cell2text() | {"species": "human"}


def test_gene_sentences_need_no_encoder() -> None:
    manifest = parsed(gene_sentences())
    assert manifest.graphs == ("decoder.onnx",)
    assert not manifest.has_encoder
    assert manifest.prompt_length == 1 + 90
    for part in (*ENCODER_PARTS, "prompt"):
        with pytest.raises(
            BundleError, match=r"the bundle 'tiny' \(cell2sentence\) has no"
        ) as error:
            getattr(manifest, part)
        assert error.value.hint == "it can describe and annotate: see `c2t info`"


def test_a_joint_space_needs_no_decoder() -> None:
    manifest = parsed(joint_space())
    assert manifest.graphs == ("encoder.onnx", "projector.onnx", "text.onnx")
    assert manifest.vector_size == 24
    for part in DECODER_PARTS:
        with pytest.raises(BundleError, match="has no decoder"):
            getattr(manifest, part)


def test_a_task_that_a_bundle_cannot_do_is_refused() -> None:
    manifest = parsed(gene_sentences())
    manifest.need_task("describe")
    with pytest.raises(TaskError, match="cannot explain") as error:
        manifest.need_task("explain")
    assert error.value.hint == "it can describe and annotate: see `c2t info`"
    with pytest.raises(TaskError, match="cannot ask") as error:
        manifest.need_task("ask")
    assert error.value.hint.endswith("`; `c2t help ask` says which bundles can")


def _without(*path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        inner = document
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]

    return change


def _with(value: Any, *path: str | int) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        inner: Any = document
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (cell2text, _without("encoder"), "gene_input, encoder and projector are not all there"),
        (cell2text, _without("generation"), "decoder and generation are not both there"),
        (cell2text, _without("prompt"), "with decoder has 0 prompts"),
        (cell2text, _with("other", "family"), "does not know: the family 'other'"),
        (cell2text, _with(["describe", "fly"], "tasks"), "does not know: the task 'fly'"),
        (cell2text, _with(["ask", "ask"], "tasks"), "tasks names one twice"),
        (cell2text, _with(["search"], "tasks"), "it cannot search without joint space"),
        (cell2text, _with(["describe", "ask"], "tasks"), "it cannot ask without a template"),
        (cell2text, _with(-1.0, "generation", "temperature"), "generation.temperature is -1.0"),
        (cell2text, _with(0, "generation", "repetition_penalty"), "repetition_penalty is 0"),
        (cell2text, _with(2.0, "generation", "top_p"), "generation.top_p is 2.0"),
        (cell2text, _with([""], "generation", "stop_strings"), "stop_strings has an empty"),
        (gene_sentences, _with(["ask"], "tasks"), "cannot ask without a {question}"),
        (cell2text, _without("files", "genes.npz"), "does not list: genes.npz"),
        (cell2text, _with(1, "encoder", "rowz"), "unknown fields: encoder.rowz"),
        (gene_sentences, _with(["embed"], "tasks"), "it cannot embed without encoder"),
        (gene_sentences, _without("template"), "with decoder has 0 prompts"),
        (gene_sentences, _without("gene_sentence"), "without encoder and gene_sentence"),
        (gene_sentences, _with(0, "gene_sentence", "genes"), "gene_sentence.genes is 0"),
        (gene_sentences, _with(1 << 40, "gene_sentence", "genes"), "gene_sentence.genes is"),
        (gene_sentences, _with({}, "gene_sentence", "organisms"), "organisms is empty"),
        (gene_sentences, _with(1, "gene_sentence", "gene"), "unknown fields: gene_sentence.gene"),
        (gene_sentences, _with([999], "template", 0, "ids"), "template's ids: 999"),
        (gene_sentences, _with("{genez}", "template", 1, "text"), "no field is called 'genez'"),
        (gene_sentences, _with("{count}", "template", 1, "text"), "do not come together"),
        (gene_sentences, _with("x" * 70000 + "{genes}", "template", 1, "text"), "letters of the"),
        (gene_sentences, _with("{genes}" * 9000, "template", 1, "text"), "has 9,000 fields; 16"),
        (gene_sentences, _with(1 << 30, "template", 1, "longest"), "template's longest is"),
        (gene_sentences, _with("weights", "template", 0, "kind"), "weights"),
        (gene_sentences, _with(1, "template", 0, "more"), "more"),
        (gene_sentences, _with({"kind": "vectors"}, "template", 0), "1 places of cell vectors"),
        (
            gene_sentences,
            _with({"kind": "text", "text": "a", "longest": 2}, "template", 0),
            "two texts stand side by side",
        ),
        (stored_prefix, _without("files", "prefix.data"), "does not list: prefix.data"),
        (stored_prefix, _with(9, "files", "prefix.data", "bytes"), "prefix.data has 9"),
        (stored_prefix, _with([9999], "stored_prefix"), "stored_prefix: 9999 is not in the"),
        (stored_prefix, _with([7, 7, 7], "stored_prefix"), "not what the prompt begins with"),
        (joint_space, _with([7], "stored_prefix"), "does not list: prefix.data"),
        (gene_sentences, _with([5], "stored_prefix"), "does not list: prefix.data"),
        (joint_space, _with(0, "joint_space", "size"), "joint_space.size is 0"),
        (joint_space, _with(1e9, "joint_space", "temperature"), "joint_space.temperature is"),
        (
            joint_space,
            _with(30, "joint_space", "text", "sep_token"),
            "joint_space.text's special tokens: 30 is not in the vocabulary of 30",
        ),
        (joint_space, _with(2, "joint_space", "text", "input_size"), "no room for a text"),
        (joint_space, _without("joint_space"), "without decoder and joint_space"),
        (joint_space, _without("joint_space", "text"), "it cannot search without text tower"),
        (joint_space, _without("joint_space", "text"), "annotate without decoder or text tower"),
        (joint_space, _without("files", "text_tokenizer.json"), "list: text_tokenizer.json"),
        (joint_space, _with("mlp", "projector", "kind"), "'mlp', but it leads to a joint space"),
        (cell2text, _with("joint", "projector", "kind"), "'joint', but it leads to a decoder"),
        (cell2text, _with("mlp2x_8t", "projector", "kind"), "mlp2x_8t takes one row a cell"),
        (joint_space, _with(2, "projector", "vectors"), "one place in a joint space"),
        (joint_space, _with(["describe"], "tasks"), "it cannot describe without decoder"),
    ],
)
def test_what_cannot_be_right_is_refused(
    make: Callable[[], Document], change: Callable[[Document], None], said: str
) -> None:
    document = make()
    change(document)
    with pytest.raises(BundleError, match=said):
        parsed(document)


def test_gene_sentences_as_before_are_written_as_before(tmp_path: Path) -> None:
    """Older versions refuse fields that they do not know."""
    manifest = parse_manifest(json.dumps(gene_sentences()).encode())
    assert manifest.gene_sentence is not None
    stated: Document = {"genes": 20, "organisms": {"human": "Homo sapiens"}}
    made = GeneSentence(**stated, separator=" ", upper_case=True, listed=0)
    write_manifest(tmp_path, manifest.replace(gene_sentence=made))
    content = (tmp_path / MANIFEST_NAME).read_bytes()
    assert json.loads(content)["gene_sentence"] == stated
    assert parse_manifest(content).gene_sentence == made
