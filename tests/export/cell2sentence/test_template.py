"""Templates: published ones by name, own ones from a file, cut into text and special tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tiny_sentences import FAMILY_NAMES, sentence_tokenizer

from c2t.export.cell2sentence.example_genes import example_genes
from c2t.export.cell2sentence.organisms import read_organisms
from c2t.export.cell2sentence.published import CELL2SENTENCE, TEMPLATES
from c2t.export.cell2sentence.template import (
    read_template,
    rendered,
    template_parts,
    with_bundle_fields,
)
from c2t.runtime.bundle.template import FixedIds, TextPart
from c2t.runtime.system.errors import CheckpointError


def test_the_usual_one_is_published() -> None:
    said, text = read_template(None, CELL2SENTENCE)
    assert said == "the published prompt 'cell-type'"
    assert text == read_template("cell-type", CELL2SENTENCE)[1] == TEMPLATES["cell-type"]
    assert text.endswith(".\nThe cell type corresponding to these genes is:")


def test_a_file_is_a_template(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("Genes: {genes}\n\n", encoding="utf-8")
    assert read_template(str(path), CELL2SENTENCE) == ("the prompt of own.txt", "Genes: {genes}\n")


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("tissue", None, "several cells"),
        ("cell-generation", None, "writes genes"),
        ("cell-types", None, "no template 'cell-types'"),
        ("latin.txt", b"\xe4{genes}", "cannot read"),
        ("long.txt", b"x" * 100_000, "long.txt"),
    ],
)
def test_what_is_none_is_refused(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    wanted = name
    if content is not None:
        (tmp_path / name).write_bytes(content)
        wanted = str(tmp_path / name)
    with pytest.raises(CheckpointError, match=problem) as caught:
        read_template(wanted, CELL2SENTENCE)
    assert caught.value.hint


def test_the_number_that_is_asked_for_is_written_out() -> None:
    """As the published code does, whatever a cell has."""
    text = with_bundle_fields("{num_genes} of {count} in {organism}: {cell_sentence}.", 200)
    assert text == "200 of {count} in {organism}: {genes}."


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("no genes", "0 times"),
        ("{genes} and {cell_sentence}", "2 times"),
        ("{genes} {tissue}", "'tissue'"),
        ("{genes:>10}", "'genes'"),
        ("{genes!r}", "'genes'"),
        ("{}{genes}", "''"),
        ("{{genes}} {genes}", "brace"),
        ("{genes} }", "cannot be read"),
    ],
)
def test_fields_that_nothing_is_filled_into(text: str, problem: str) -> None:
    with pytest.raises(CheckpointError, match=problem) as caught:
        with_bundle_fields(text, 10)
    assert "{cell_sentence}" in caught.value.hint


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_tokens_are_those_of_transformers_for_the_whole_prompt(family: str) -> None:
    tokenizer = sentence_tokenizer(family)
    text = with_bundle_fields(TEMPLATES["cell-type"], 40)
    parts = template_parts(text, tokenizer, longest=900)
    genes = " ".join(example_genes(40))
    values = {"genes": genes, "organism": "Mus musculus", "count": "40"}
    whole = TEMPLATES["cell-type"].format(
        num_genes=40, organism="Mus musculus", cell_sentence=genes
    )
    assert rendered(parts, tokenizer, values) == tokenizer(whole)["input_ids"]
    assert [type(part) for part in parts] == (
        [TextPart] if family == "gpt_neox" else [FixedIds, TextPart]
    )


def test_special_tokens_of_a_template_are_fixed_ids() -> None:
    tokenizer = sentence_tokenizer("gpt_neox")
    (end,) = tokenizer("<|endoftext|>")["input_ids"]
    parts = template_parts("<|endoftext|>{genes} is<|endoftext|>", tokenizer, longest=9)
    assert parts == (
        FixedIds(ids=(end,)),
        TextPart(text="{genes} is", longest=9),
        FixedIds(ids=(end,)),
    )


@pytest.mark.parametrize(
    ("marker", "family"),
    [
        ("<|eot_id|>", "gpt_neox"),
        ("<|reserved-1|>", "gpt_neox"),
        ("<\uff5cUser\uff5c>", "gpt_neox"),
        ("<start_of_turn>", "gpt_neox"),
        ("<end_of_turn>", "gpt_neox"),
        ("<s>", "gpt_neox"),
        ("</s>", "gpt_neox"),
        ("<bos>", "gpt_neox"),
        ("<pad>", "gpt_neox"),
        ("[CLS]", "gpt_neox"),
        ("<|endoftext|>", "gemma2"),
    ],
)
def test_special_tokens_of_other_models_are_refused(marker: str, family: str) -> None:
    with pytest.raises(CheckpointError, match=re.escape(repr(marker))) as caught:
        template_parts(f"Genes {marker} {{genes}}.", sentence_tokenizer(family), longest=9)
    assert "does not know" in caught.value.problem


@pytest.mark.parametrize(
    "text",
    [
        "[INST] {genes} [/INST]",
        "<answer>{genes}</answer>",
        "a < b|c> {genes}",
        "[A] {genes}",
    ],
)
def test_what_only_looks_like_a_special_token_is_text(text: str) -> None:
    (part,) = template_parts(text, sentence_tokenizer("gpt_neox"), longest=9)
    assert part == TextPart(text=text, longest=9)


def test_a_token_that_the_tokenizer_adds_is_not_added_twice() -> None:
    with pytest.raises(CheckpointError, match="begins with '<bos>'"):
        template_parts("<bos>{genes}", sentence_tokenizer("gemma2"), longest=9)


def test_organisms() -> None:
    assert read_organisms(None, CELL2SENTENCE) == {"human": "Homo sapiens", "mouse": "Mus musculus"}
    assert read_organisms(["mouse"], CELL2SENTENCE) == {"mouse": "Mus musculus"}
    assert read_organisms(["human=human", "rat"], CELL2SENTENCE) == {
        "human": "human",
        "rat": "Rattus norvegicus",
    }
    for wrong in (["martian"], ["human", "human"], ["human= "], ["any"]):
        with pytest.raises(CheckpointError, match="--organism"):
            read_organisms(wrong, CELL2SENTENCE)
