"""Cell-o1 and CellReasoner: their prompts letter by letter, texts, labels, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from tiny_chats import CHATML, POSITIONS, QWQ, chat_tokenizer, write_chat_model
from transformers import AutoModelForCausalLM

import c2t
from c2t.calibration.questions.evaluate_questions import evaluate_questions
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.template import fill_template
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.commands.info import bundle_info, sections
from c2t.runtime.describe.caption_names import cell_type_place
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.fields.open import open_fields
from c2t.runtime.generation.candidate_names import candidate_names
from c2t.runtime.system.errors import CellFileError, CheckpointError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*asks for random texts:UserWarning"),
    pytest.mark.filterwarnings("ignore:nothing in the file says:UserWarning"),
]
# As `data/ranked_hvg.list` is written: one symbol a line; the second CD14 is not its place.
LISTED = "GNLY\nS100A9\nCD14\nC15orf48\nMS4A1\nCD14\n"
GENES = ["ACTB", "C15orf48", "CD14", "GNLY", "MS4A1"]
COUNTS = [[9, 5, 0, 1, 7], [3, 0, 2, 0, 0], [4, 0, 0, 0, 0]]
DIRECT = (
    "<|im_start|>system\nThese are highly expressed genes within a certain type of tumor cells; "
    "please annotate the cell type based on these marker genes. Please infer the cell type based "
    "on the marker genes, and directly give the final annotation result.<|im_end|>\n"
    "<|im_start|>user\n{genes}<|im_end|>\n<|im_start|>assistant\n"
)
# `utils.py` takes each "<think>" out: of the instruction, and what QwQ's template begins.
REASONING = (
    "<|im_start|>system\nThese are highly expressed genes within a certain type of tumor cells; "
    "please annotate the cell type based on these marker genes. Please infer the cell type based "
    "on the marker genes, and place the reason within the </think> tag.<|im_end|>\n"
    "<|im_start|>user\n{genes}<|im_end|>\n<|im_start|>assistant\n\n<think> "
)
CELL_O1 = (
    "<|im_start|>system\nYou are an expert assistant specialized in cell type annotation. You will "
    "be given a batch of N cells from the same donor, where each cell represents a unique cell "
    "type. For each cell, the top expressed genes are provided in descending order of expression. "
    "Using both the gene expression data and donor information, determine the correct cell type "
    "for each cell. You will also receive a list of N candidate cell types, and each candidate "
    "must be assigned to exactly one cell. Ensure that you consider all cells and candidate types "
    "together, rather than annotating each cell individually. Include your detailed reasoning "
    "within <think> and </think> tags, and provide your final answer within <answer> and </answer> "
    "tags. The final answer should be a single string listing the assigned cell types in order, "
    "separated by ' | '.<|im_end|>\n<|im_start|>user\n"
    "Context: The cell is from a female, originating from the lung. \n\n"
    "Cell 1: ACTB, MS4A1, C15orf48, GNLY\nCell 2: ACTB, CD14\n\n"
    "Match the cells above to one of the following cell types:\nB cell\nmonocyte<|im_end|>\n"
    "<|im_start|>assistant\n"
)
NEW_TOKENS = 12
OPTIONS = DescribeOptions(engine="cpu", threads=1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("chats")
    (place / "ranked_hvg.list").write_text(LISTED)
    write_chat_model(place / "7b")
    write_chat_model(place / "32b", template=QWQ, thinks=True)
    return place


def chat_options(place: Path, family: str, model: str = "7b", **options: Any) -> CheckpointOptions:
    if family == "cellreasoner":
        options = {"gene_order": place / "ranked_hvg.list"} | options
    return CheckpointOptions(
        family=family, model=place / model, **({"max_new_tokens": NEW_TOKENS} | options)
    )


@pytest.fixture(scope="module")
def bundles(place: Path) -> dict[str, Bundle]:
    """Bundles of CellReasoner in both of its ways, and of Cell-o1."""
    asked = {
        "direct": chat_options(place, "cellreasoner"),
        "reasoning": chat_options(place, "cellreasoner", "32b", template="reasoning"),
        "cello1": chat_options(place, "cello1"),
    }
    return {
        name: export_bundle(ExportOptions(output=place / name, checkpoint=options))
        for name, options in asked.items()
    }


@pytest.fixture
def cells() -> anndata.AnnData:
    data = anndata.AnnData(csr_matrix(np.array(COUNTS, np.float32)))
    data.var_names, data.obs_names = GENES, ["a", "b", "c"]
    return data


def generated(place: Path, text: str, model: str = "7b", penalty: float = 1.1) -> list[int]:
    """What transformers writes behind a text, as the published code asks it to, but greedily."""
    decoder = AutoModelForCausalLM.from_pretrained(place / model).eval()
    given = chat_tokenizer(thinks=model == "32b")(text, return_tensors="pt").input_ids
    with torch.no_grad():
        whole = decoder.generate(
            given,
            attention_mask=torch.ones_like(given),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            temperature=None,
            top_k=None,
            top_p=None,
            repetition_penalty=penalty,
        )
    ids: list[int] = whole[0, given.shape[1] :].tolist()
    return ids


def test_cellreasoner_manifests(bundles: dict[str, Bundle]) -> None:
    direct, reasoning = bundles["direct"].manifest, bundles["reasoning"].manifest
    assert direct.family == reasoning.family == "cellreasoner"
    assert direct.tasks == ("describe", "annotate", "ask")
    assert reasoning.tasks == ("describe", "ask")
    assert direct.species_known == "human"
    assert direct.gene_sentence is not None
    assert (direct.gene_sentence.genes, direct.gene_sentence.listed) == (5, 5)
    assert direct.input_said.endswith("the first 5 that a cell has, by a list of 5")
    assert direct.generation.repetition_penalty == 1.1
    assert direct.generation.temperature == 0
    assert [licence.licence for licence in direct.licences] == ["apache-2.0"]
    assert "gene order/ranked_hvg.list" in direct.origin.files
    assert bundles["direct"].gene_order == ("GNLY", "S100A9", "CD14", "C15orf48", "MS4A1")


@pytest.mark.parametrize(("name", "prompt"), [("direct", DIRECT), ("reasoning", REASONING)])
def test_cellreasoners_prompt(
    bundles: dict[str, Bundle], cells: anndata.AnnData, name: str, prompt: str
) -> None:
    """The genes stand in the list's order and spelling, whatever their counts."""
    with open_cells(cells, bundles[name]) as reader:
        (chunk,) = reader.chunks()
        assert "4 of the 5 genes that the bundle reads" in reader.gene_report.sentence
    tokenizer = chat_tokenizer(thinks=name == "reasoning")
    for genes, tokens in zip(("GNLY, C15orf48, MS4A1", "CD14"), chunk.tokens, strict=False):
        expected = prompt.replace("{genes}", genes)
        assert tokenizer.decode(tokens) == expected
        assert tokens.tolist() == tokenizer(expected).input_ids
    assert chunk.errors == [None, None, "cell has none of the genes that the bundle reads"]
    assert chunk.genes_used.tolist() == [3, 1, 0]


def test_info_says_what_it_is(bundles: dict[str, Bundle]) -> None:
    info = bundle_info(bundles["direct"], files_checked=True)
    assert info.context == POSITIONS
    shown = {
        section.title: dict(section.rows)
        for section in sections(info)
        if section.title != "made from"
    }
    assert shown["bundle"]["family"] == "cellreasoner"
    assert shown["bundle"]["tasks"] == "describe, annotate, ask"
    assert shown["bundle"]["species"] == "human"
    assert shown["bundle"]["inputs"].startswith("counts of genes; the symbols of the first 5")
    assert shown["prompt"]["genes"] == "at most 5, in the order of the bundle's list of 5"
    assert shown["prompt"]["usual question"] in DIRECT
    assert shown["generation"]["search"] == "greedy"
    assert shown["generation"]["penalty"].startswith("1.1 ")
    assert shown["licences"] == {"decoder": "apache-2.0\nweights of 7b"}


def test_published_questions_are_put_as_they_are(
    place: Path, bundles: dict[str, Bundle], tmp_path: Path
) -> None:
    """About perturbations: in the model's own chat; scored here by transformers."""
    system, user = (
        "You know cells.",
        (
            "Does perturbing ACTB in K562 cells cause significant changes in the expression of "
            "CD14? Make your answer in format 'Final Answer: Yes' or 'Final Answer: No'."
        ),
    )
    roles = (("system", system), ("user", user), ("assistant", "No"))
    item = {"messages": [{"role": role, "content": content} for role, content in roles]}
    (tmp_path / "q.json").write_text(json.dumps([item]))
    tokenizer = chat_tokenizer()
    text = f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{user}<|im_end|>\n"
    prompt = tokenizer(f"{text}<|im_start|>assistant\n").input_ids
    decoder = AutoModelForCausalLM.from_pretrained(place / "7b").eval()
    opening, mass = tokenizer("Final Answer:").input_ids, 0.0
    ends = [*tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])]
    ends += [tokenizer(end).input_ids[0] for end in ".\n"]
    for option in ("Yes", "No"):
        name = tokenizer(f"Final Answer: {option}").input_ids
        with torch.no_grad():
            logits = decoder(input_ids=torch.tensor([prompt + name])).logits[0]
        steps = torch.log_softmax(logits.double(), dim=-1)[len(prompt) - 1 :]
        said = sum(float(steps[n, name[n]]) for n in range(len(opening), len(name)))
        mass += np.exp(said) * float(torch.exp(steps[len(name), ends]).sum())
    for name in ("cello1", "direct"):
        scores, asked = evaluate_questions(bundles[name], tmp_path / "q.json", OPTIONS)
        assert [(task.questions, task.asked) for task in scores.tasks] == [(1, 1)]
        np.testing.assert_allclose(asked[0].mass, mass, rtol=1e-3)


def test_only_the_first_genes_of_the_list_are_taken(
    place: Path, cells: anndata.AnnData, tmp_path: Path
) -> None:
    options = chat_options(place, "cellreasoner", top_genes=2)
    bundle = export_bundle(ExportOptions(output=tmp_path / "two", checkpoint=options))
    with open_cells(cells, bundle) as reader:
        (chunk,) = reader.chunks()
    assert chat_tokenizer().decode(chunk.tokens[0]) == DIRECT.replace("{genes}", "GNLY, C15orf48")


def test_cellreasoners_texts_are_those_of_transformers(
    place: Path, bundles: dict[str, Bundle], cells: anndata.AnnData
) -> None:
    """Without a question the bundle asks its own, in `ask` as in `describe`."""
    for name, prompt, model in (("direct", DIRECT, "7b"), ("reasoning", REASONING, "32b")):
        expected = [
            generated(place, prompt.replace("{genes}", genes), model)
            for genes in ("GNLY, C15orf48, MS4A1", "CD14")
        ]
        with c2t.open(bundles[name].path) as model_:
            asked = list(model_.ask(cells, None, OPTIONS))
            described = list(model_.describe(cells, OPTIONS))
        assert [list(answer.tokens) for answer in asked[:2]] == expected
        assert [list(one.tokens) for one in described[:2]] == expected
        for answer in asked[:2]:
            tokenizer = chat_tokenizer(thinks=name == "reasoning")
            assert answer.text == tokenizer.decode(answer.tokens, skip_special_tokens=True)
            if name == "direct":
                assert (answer.thought, answer.answer) == (None, answer.text.strip() or None)
            elif not answer.whole:
                assert (answer.thought, answer.answer) == (answer.text.strip() or None, None)
        assert asked[2].error == "cell has none of the genes that the bundle reads"


def test_another_question_stands_in_the_system_message(
    place: Path, bundles: dict[str, Bundle], cells: anndata.AnnData
) -> None:
    head, _, rest = DIRECT.partition("These are")
    tail = rest[rest.index("<|im_end|>") :]
    asked = f"{head}Is it malignant?{tail}".replace("{genes}", "CD14")
    with c2t.open(bundles["direct"].path) as model:
        answers = list(model.ask(cells, "Is it malignant?", OPTIONS))
    assert list(answers[1].tokens) == generated(place, asked)


def test_labels_are_read_where_a_direct_answer_begins(bundles: dict[str, Bundle]) -> None:
    bundle = bundles["direct"]
    fields = open_fields(bundle)
    found = fields.read("CD14+ monocyte", whole=True)["cell_type"]
    assert found is not None
    assert found.words == "CD14+ monocyte"
    assert fields.read("CD14+ mono", whole=False)["cell_type"] is None
    names = candidate_names(bundle, ["B cell", "monocyte"], cell_type_place(fields.rules))
    tokenizer = chat_tokenizer()
    ends = [[token] for token in bundle.manifest.generation.eos_token_ids]
    for ending in (*ends, tokenizer(".").input_ids, tokenizer("\n").input_ids):
        assert (*tokenizer("B cell").input_ids, *ending) in names.trie.paths
    assert open_fields(bundles["reasoning"]).names == ()


def test_annotate_compares_labels_as_answers(
    place: Path, bundles: dict[str, Bundle], cells: anndata.AnnData
) -> None:
    labels = ["B cell", "monocyte"]
    with c2t.open(bundles["direct"].path) as model:
        first = next(iter(model.annotate(cells, labels)))
    tokenizer = chat_tokenizer()
    decoder = AutoModelForCausalLM.from_pretrained(place / "7b").eval()
    prompt = tokenizer(DIRECT.replace("{genes}", "GNLY, C15orf48, MS4A1")).input_ids
    mass = []
    for label in labels:
        name = tokenizer(label).input_ids
        with torch.no_grad():
            logits = decoder(input_ids=torch.tensor([prompt + name])).logits[0]
        steps = torch.log_softmax(logits.double(), dim=-1)[len(prompt) - 1 :]
        said = sum(float(steps[n, token]) for n, token in enumerate(name))
        ends = [*bundles["direct"].manifest.generation.eos_token_ids]
        ends += [tokenizer(end).input_ids[0] for end in ".\n"]
        mass.append(np.exp(said) * float(torch.exp(steps[len(name), ends]).sum()))
    np.testing.assert_allclose(first.probabilities, np.array(mass) / sum(mass), rtol=1e-3)


def test_cell_o1s_prompt_and_answer(
    place: Path, bundles: dict[str, Bundle], cells: anndata.AnnData
) -> None:
    bundle = bundles["cello1"]
    manifest = bundle.manifest
    assert (manifest.family, manifest.tasks) == ("cello1", ("ask",))
    assert manifest.gene_sentence is not None
    assert manifest.gene_sentence.genes == 50
    assert (manifest.species_known, manifest.plain_answers) == ("human", False)
    context = "The cell is from a female, originating from the lung."
    values = {
        "question": context,
        "cells": "Cell 1: ACTB, MS4A1, C15orf48, GNLY\nCell 2: ACTB, CD14",
        "labels": "B cell\nmonocyte",
    }
    (ids,) = fill_template(manifest.template, bundle.text_encoder, values)
    assert chat_tokenizer().decode(ids) == CELL_O1
    assert list(ids) == chat_tokenizer()(CELL_O1).input_ids
    with c2t.open(bundle.path) as model:
        groups = {"puzzle": [0, 1]}
        (answer,) = model.ask(cells, context, OPTIONS, groups=groups, labels=["B cell", "monocyte"])
    # The penalty is that of the folder's own settings, as in the model card's example.
    assert list(answer.tokens) == generated(place, CELL_O1, penalty=1.05)


@pytest.mark.parametrize(
    ("family", "options", "problem", "hint"),
    [
        ("cellreasoner", {"gene_order": None}, "order of a list", "ranked_hvg.list"),
        ("cellreasoner", {"organism": ["mouse"]}, "--organism", "--gene-order"),
        ("cellreasoner", {"gene_order": Path("none.list")}, "none.list", "a gene symbol in each"),
        ("cellreasoner", {"template": "puzzle"}, "no template 'puzzle'", "direct, reasoning"),
        (
            "cello1",
            {"gene_order": Path("x")},
            "Cell-o1 has no use for these; given: --gene-order",
            "takes",
        ),
        ("cell2sentence", {"chat_template": "x"}, "--chat-template", "takes --model"),
    ],
)
def test_what_is_refused_before_the_work(
    place: Path, tmp_path: Path, family: str, options: dict[str, Any], problem: str, hint: str
) -> None:
    asked = chat_options(place, family, **options)
    with pytest.raises(CheckpointError, match=problem) as caught:
        export_bundle(ExportOptions(output=tmp_path / "out", checkpoint=asked))
    assert hint in str(caught.value.hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        (None, "no chat template, which its prompt is made with"),
        ("{{ messages[1]['content'] }}", "leaves out the system message"),
        ("{{ raise_exception('no system role') }}", "no system role"),
    ],
)
def test_chat_templates_that_cannot_make_the_prompt(
    place: Path, tmp_path: Path, template: str | None, problem: str
) -> None:
    shutil.copy(place / "ranked_hvg.list", tmp_path)
    write_chat_model(tmp_path / "7b", template=template)
    with pytest.raises(CheckpointError, match=problem) as caught:
        export_bundle(
            ExportOptions(
                output=tmp_path / "out", checkpoint=chat_options(tmp_path, "cellreasoner")
            )
        )
    assert "--chat-template" in str(caught.value.hint)


def test_a_chat_template_from_a_file(place: Path, tmp_path: Path) -> None:
    shutil.copy(place / "ranked_hvg.list", tmp_path)
    write_chat_model(tmp_path / "7b", template=None)
    (tmp_path / "chat.jinja").write_text(CHATML)
    options = chat_options(tmp_path, "cellreasoner", chat_template=str(tmp_path / "chat.jinja"))
    bundle = export_bundle(ExportOptions(output=tmp_path / "out", checkpoint=options))
    assert bundle.manifest.family == "cellreasoner"


@pytest.mark.parametrize(
    ("names", "problem", "hint"),
    [
        (["Gnly", "Cd14", "Ms4a1", "Actb", "Cd3e"], "mouse", ""),
        (
            ["TP53", "FOXP2", "BRCA1", "SOX9", "KRT8"],
            "none of the 5 genes that the bundle",
            "--gene",
        ),
        ([f"ENSG0000000000{n}" for n in range(5)], "reads gene symbols", "--gene-column"),
    ],
)
def test_files_that_it_cannot_read(
    bundles: dict[str, Bundle], cells: anndata.AnnData, names: list[str], problem: str, hint: str
) -> None:
    cells.var_names = names
    with pytest.raises(CellFileError, match=problem) as caught:
        open_cells(cells, bundles["direct"])
    assert caught.value.hint
    assert hint in str(caught.value.hint)
