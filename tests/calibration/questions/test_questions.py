"""Published questions: read strictly, and answered by the most probable option."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ask_bundles import ONE_CELL, SEVERAL, sentence_bundle
from tiny_data import BUNDLES, DATA

from c2t.calibration.questions.evaluate_questions import evaluate_questions, task_scores
from c2t.calibration.questions.question_file import (
    CELL_TYPE,
    DIRECTION,
    DRUG,
    SIGNIFICANT,
    read_questions,
)
from c2t.calibration.report.question_report import FIGURES, PAGE, write_report
from c2t.calibration.report.question_table import questions_text
from c2t.calibration.results.questions import AskedQuestion
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.system.errors import BundleError, EvaluationError

FILE = DATA / "tiny_questions.json"
OPTIONS = DescribeOptions(engine="cpu", threads=1, drafts=False)


def items() -> list[dict[str, Any]]:
    return list(json.loads(FILE.read_text()))


def test_what_a_file_says() -> None:
    questions = read_questions(FILE)
    assert [q.task for q in questions] == [CELL_TYPE] * 8 + [DRUG, SIGNIFICANT]
    first, drug, yes_or_no = questions[0], questions[-2], questions[-1]
    assert first.options == (
        *("B cell", "natural killer cell", "CD14-positive monocyte", "platelet"),
    )
    assert (first.right, first.genes[0], len(first.genes)) == ("B cell", "MS4A1", 12)
    assert "{gene_names}: " not in first.text
    assert "{cell_types}: 'B cell'" in first.text
    assert drug.options == ("resistant", "sensitive")
    assert not drug.genes[-1].endswith(".")
    assert (yes_or_no.options, yes_or_no.genes) == (("Yes", "No"), ())


def _user(item: dict[str, Any], text: str) -> None:
    item["messages"][1]["content"] = text


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda item: _user(item, "Which cell is it?"), "no options"),
        (lambda item: _user(item, "'Final Answer: A' or 'Final Answer: platelet'?"), "not known"),
        (lambda item: item["messages"][2].update(content="T cell"), "none of its 4 options"),
        (lambda item: item["messages"].pop(0), "messages user, assistant"),
        (lambda item: item["messages"][0].update(role="robot"), "robot"),
        (lambda item: item.update(extra=1), "extra"),
    ],
)
def test_other_forms_are_refused_by_name(tmp_path: Path, change: Any, problem: str) -> None:
    changed = items()
    change(changed[3])
    path = tmp_path / "q.json"
    path.write_text(json.dumps(changed))
    with pytest.raises(EvaluationError, match=problem):
        read_questions(path)


def test_the_answer_is_the_option_that_the_decoder_finds_most_probable(tmp_path: Path) -> None:
    """Each option's probability, computed token by token, ended in each of the three ways."""
    bundle = open_bundle(sentence_bundle(tmp_path / "b", ONE_CELL))
    scores, asked = evaluate_questions(bundle, FILE, OPTIONS)
    encoder = bundle.text_encoder
    decoder = Describer(bundle, OPTIONS).engines.decoder
    runner, cache = PromptRunner(decoder, ()), decoder.new_cache(1, 500)
    for question, result in zip(read_questions(FILE)[:3], asked, strict=False):
        text = f"Genes: {' '.join(question.genes)}.\nQuestion: {question.text}\nAnswer:"
        prompt = list(encoder.encode_letters(text))
        opening = encoder.encode("Final Answer:")
        shares = []
        for option in question.options:
            plain = encoder.encode(f"Final Answer: {option}")
            paths = [
                (*plain, 0),
                *(encoder.encode(f"Final Answer: {option}{end}") for end in ".\n"),
            ]
            share = 0.0
            for path in paths:
                log = 0.0
                for place in range(len(opening), len(path)):
                    ids = np.array(prompt + list(path[:place]), np.int32)
                    row = runner.prefill(cache, 0, CellPrompt(ids)).astype(np.float64)
                    log += row[path[place]] - np.logaddexp.reduce(row)
                share += np.exp(log)
            shares.append(share)
        assert result.answer == question.options[int(np.argmax(shares))]
        np.testing.assert_allclose(result.mass, sum(shares), rtol=1e-3)
        np.testing.assert_allclose(result.probability, max(shares) / sum(shares), rtol=1e-3)
    tasks = {task.task: task for task in scores.tasks}
    assert tasks[CELL_TYPE].asked == 8
    assert tasks[CELL_TYPE].chance == 0.25
    assert tasks[SIGNIFICANT].asked == 0
    assert "about no cell" in next(iter(tasks[SIGNIFICANT].not_asked))


def test_a_prompt_that_is_the_question_alone_is_asked_everything(tmp_path: Path) -> None:
    bundle = open_bundle(sentence_bundle(tmp_path / "b", "{question}\n{genes}"))
    scores, _ = evaluate_questions(bundle, FILE, OPTIONS, limit=9)
    assert [task.asked for task in scores.tasks] == [8, 1]


def test_a_prompt_for_the_cell_type_alone(tmp_path: Path) -> None:
    """Cell2Sentence's own: it is asked what it can say, and the rest is said."""
    bundle = open_bundle(DATA / "tiny_sentence_bundle")
    scores, _ = evaluate_questions(bundle, FILE, OPTIONS)
    assert [task.asked for task in scores.tasks] == [8, 0, 0]
    write_report(tmp_path / "report", scores, [])
    assert json.loads((tmp_path / "report" / FIGURES).read_text())["file"] == FILE.name
    page = (tmp_path / "report" / PAGE).read_text()
    assert "cell type annotation" in page
    assert "the cell type alone" in page
    assert "25.0 %" in questions_text(scores)


CHAT = [{"kind": "text", "text": "S: {instruction}\nU: {question}\nA:", "longest": 400}]
SYSTEM = "You know cells."
# As the files say it; the genes are others.
PERTURBED = (
    "Does perturbing ACTB in K562 cells cause significant changes in the expression of CD14? Make "
    "your answer in format 'Final Answer: Yes' or 'Final Answer: No'."
)
DIRECTED = (
    "Does perturbing ACTB in K562 cells cause the expression of CD14 to upregulate or "
    "downregulate? Make your answer in format 'Final Answer: Up' or 'Final Answer: Down'."
)


@pytest.mark.parametrize("template", [SEVERAL, ONE_CELL])
def test_a_chat_is_asked_about_no_cell(tmp_path: Path, template: str) -> None:
    """By the published system message and question, whatever the bundle's own prompt has."""
    path = tmp_path / "q.json"
    texts = {PERTURBED: "No", DIRECTED: "Up"}
    path.write_text(
        json.dumps(
            [
                {
                    "messages": [
                        {"role": "system", "content": SYSTEM},
                        {"role": "user", "content": text},
                        {"role": "assistant", "content": right},
                    ]
                }
                for text, right in texts.items()
            ]
        )
    )
    bundle = open_bundle(sentence_bundle(tmp_path / "b", template, chat=CHAT))
    scores, asked = evaluate_questions(bundle, path, OPTIONS)
    assert [(task.task, task.asked) for task in scores.tasks] == [(SIGNIFICANT, 1), (DIRECTION, 1)]
    encoder, decoder = bundle.text_encoder, Describer(bundle, OPTIONS).engines.decoder
    runner, cache = PromptRunner(decoder, ()), decoder.new_cache(1, 500)

    def share(question: str, option: str) -> float:
        prompt = list(encoder.encode_letters(f"S: {SYSTEM}\nU: {question}\nA:"))
        plain, total = encoder.encode(f"Final Answer: {option}"), 0.0
        paths = [(*plain, 0), *(encoder.encode(f"Final Answer: {option}{end}") for end in ".\n")]
        for path in paths:
            log = 0.0
            for place in range(len(encoder.encode("Final Answer:")), len(path)):
                ids = np.array(prompt + list(path[:place]), np.int32)
                row = runner.prefill(cache, 0, CellPrompt(ids)).astype(np.float64)
                log += row[path[place]] - np.logaddexp.reduce(row)
            total += float(np.exp(log))
        return total

    for question, result, options in zip(
        texts, asked, (("Yes", "No"), ("Up", "Down")), strict=True
    ):
        shares = [share(question, option) for option in options]
        assert result.answer == options[int(np.argmax(shares))]
        np.testing.assert_allclose(result.mass, sum(shares), rtol=1e-3)


def test_cells_of_a_chat_of_several_are_asked_as_published(tmp_path: Path) -> None:
    """Its own prompt has no place for one cell; all questions are put as they are."""
    chat = [CHAT[0] | {"longest": 490}]
    bundle = open_bundle(sentence_bundle(tmp_path / "b", SEVERAL, chat=chat))
    scores, asked = evaluate_questions(bundle, FILE, OPTIONS)
    assert [task.asked for task in scores.tasks] == [8, 1, 1]
    assert not any(each.error for each in asked)


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"kind": "text", "text": "{genes} {question}", "longest": 9}, "chat has the fields"),
        ({"kind": "text", "text": "none", "longest": 9}, "chat has the fields none"),
        ({"kind": "vectors"}, "chat has a place of cell vectors"),
        ({"kind": "ids", "ids": [99999]}, "chat's ids"),
    ],
)
def test_chats_that_cannot_be(tmp_path: Path, part: dict[str, Any], problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        open_bundle(sentence_bundle(tmp_path / "b", ONE_CELL, chat=[part]))


@pytest.mark.parametrize(("which", "problem"), [("vectors", "reads counts"), ("cells", "several")])
def test_bundles_that_cannot_be_asked(tmp_path: Path, which: str, problem: str) -> None:
    path = BUNDLES["mlp"]
    if which == "cells":
        path = sentence_bundle(tmp_path / "b", SEVERAL)
    with pytest.raises(EvaluationError, match=problem):
        evaluate_questions(open_bundle(path), FILE, OPTIONS)


def test_figures() -> None:
    right = {"task": "t", "right": "a", "probability": 0.5, "mass": 0.25, "error": None}
    asked = [
        AskedQuestion(options=2, answer="a", **right),
        AskedQuestion(options=4, answer="b", **right),
        AskedQuestion(
            task="t", options=4, right="a", answer=None, probability=None, mass=None, error="long"
        ),
    ]
    (score,) = task_scores(asked)
    assert (score.questions, score.asked, score.right, score.accuracy) == (3, 2, 1, 0.5)
    assert (score.chance, score.mass, score.not_asked) == (0.375, 0.25, {"long": 1})
