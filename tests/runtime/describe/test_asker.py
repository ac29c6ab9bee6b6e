"""A question reaches the decoder as if the bundle's own prompt had always said it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ask_bundles import ONE_CELL, SEVERAL, sentence_bundle, vector_bundle
from cell_libraries import anndata, sp

import c2t
from c2t.runtime.describe.asker import CELLS_OF_PROMPT_MAX
from c2t.runtime.describe.describer import DescribeOptions
from c2t.runtime.describe.question import Question, text_parts
from c2t.runtime.generation.greedy import GreedySearch
from c2t.runtime.generation.prompt import CellPrompt, PromptRunner
from c2t.runtime.generation.sequence import FixedCells, PromptedCell
from c2t.runtime.system.errors import BundleError, C2TError

QUESTION = "What cell is it?"
OPTIONS = DescribeOptions(engine="cpu", max_new_tokens=8, threads=1)
pytestmark = pytest.mark.filterwarnings("ignore:nothing in the file says:UserWarning")


def cells(*, named: bool) -> anndata.AnnData:
    counts = np.random.default_rng(0).poisson(1.5, (7, 12)).astype(np.float32)
    counts[:, 0] = 9
    data = anndata.AnnData(sp.csr_matrix(counts))
    data.obs_names = [f"cell {n}" for n in range(7)]
    real = ["CD3E", "CD8A", "NKG7", "MS4A1", "LYZ", "GNLY", "CD14", "CD79A", "PPBP", "FCER1A"]
    ids = [f"ENSG{n:011d}" for n in range(1, 13)]
    data.var_names = [*real, "ACTB", "B2M"] if named else ids
    return data


def sentences(data: anndata.AnnData) -> list[list[str]]:
    """Genes by counts; of equal ones by their names."""
    rows = data.X.toarray()
    names = list(data.var_names)
    return [
        [name for _, name in sorted((-n, s) for n, s in zip(row, names, strict=True) if n > 0)]
        for row in rows.tolist()
    ]


@pytest.mark.parametrize("batch", [1, 3])
def test_of_gene_sentences(tmp_path: Path, batch: int) -> None:
    """As describing with the question written into the prompt."""
    text = ONE_CELL.replace("{question}", QUESTION)
    says = sentence_bundle(tmp_path / "says", text, tasks=["describe"])
    asks = sentence_bundle(tmp_path / "asks")
    options = DescribeOptions(engine="cpu", max_new_tokens=8, threads=1, batch_size=batch)
    with c2t.open(says) as model:
        expected = [d.tokens for d in model.describe(cells(named=True), options)]
    with c2t.open(asks) as model:
        answers = list(model.ask(cells(named=True), QUESTION, options))
        other = list(model.ask(cells(named=True), "Which tissue?", options))
    assert [answer.tokens for answer in answers] == expected
    assert [answer.name for answer in answers] == list(cells(named=True).obs_names)
    assert [answer.tokens for answer in other] != expected


def test_of_vectors(tmp_path: Path) -> None:
    text = f"Question: {QUESTION}\nAnswer:"
    says = vector_bundle(tmp_path / "says", text, tasks=["describe"])
    asks = vector_bundle(tmp_path / "asks")
    with c2t.open(says) as model:
        expected = [d.tokens for d in model.describe(cells(named=False), OPTIONS)]
    with c2t.open(asks) as model:
        found = [a.tokens for a in model.ask(cells(named=False), QUESTION, OPTIONS)]
        other = [a.tokens for a in model.ask(cells(named=False), "Which tissue?", OPTIONS)]
    assert found == expected
    assert other != expected


def test_a_group_of_vectors_is_asked_about_as_its_mean(tmp_path: Path) -> None:
    one = cells(named=False).X.toarray()[2]
    same = anndata.AnnData(sp.csr_matrix(np.stack([one] * 3)), var=cells(named=False).var)
    with c2t.open(vector_bundle(tmp_path / "asks")) as model:
        (alone,) = model.ask(cells(named=False)[[2]].copy(), QUESTION, OPTIONS)
        (group,) = model.ask(same, QUESTION, OPTIONS, groups={"a": [0, 1, 2]})
        mixed = list(model.ask(cells(named=False), QUESTION, OPTIONS, groups={"b": [2, 5]}))
    assert (group.name, group.cells) == ("a", 3)
    assert group.tokens == alone.tokens
    np.testing.assert_allclose(group.confidence, alone.confidence, rtol=1e-4)
    assert mixed[0].confidence != group.confidence


def test_several_cells_in_one_prompt(tmp_path: Path) -> None:
    """The lines of the cells of a group, the question, and the labels, as they are published."""
    labels, groups = ("B cell", "T cell"), {"x": [1, 3], "y": [0, 2, 6]}
    genes = sentences(cells(named=True))
    with c2t.open(sentence_bundle(tmp_path / "asks", SEVERAL, longest=450)) as model:
        data = cells(named=True)
        answers = list(model.ask(data, QUESTION, OPTIONS, groups=groups, labels=labels))
        engines, generation = model.describer(OPTIONS).engines, model.describer(OPTIONS).generation
        encoder = model.bundle.text_encoder
        search = GreedySearch(
            engines.decoder.clone(),
            PromptRunner(engines.decoder, ()),
            generation=generation,
            rows=1,
            capacity=500,
        )
        for answer, (name, places) in zip(answers, groups.items(), strict=True):
            lines = [f"Cell {n}: {' '.join(genes[p])}" for n, p in enumerate(places, 1)]
            text = "\n".join([*lines, "", QUESTION, *labels, "Answer:"])
            prompt = CellPrompt(np.array(encoder.encode_letters(text), np.int32))
            ((_, expected),) = search.run(FixedCells([PromptedCell(0, prompt)]))
            assert (answer.name, answer.cells) == (name, len(places))
            assert answer.tokens == expected.token_ids


def test_drawn_answers_do_not_depend_on_batch_or_threads(tmp_path: Path) -> None:
    drawn = {"engine": "cpu", "max_new_tokens": 8, "temperature": 1.0, "seed": 5}
    with c2t.open(sentence_bundle(tmp_path / "asks")) as model:
        first, second, other = (
            [
                a.tokens
                for a in model.ask(cells(named=True), QUESTION, DescribeOptions(**drawn | more))
            ]
            for more in ({"threads": 1, "batch_size": 1}, {"threads": 2}, {"seed": 6})
        )
    assert first == second
    assert first != other


def test_a_cell_that_cannot_be_asked_about_stops_no_other(tmp_path: Path) -> None:
    data = cells(named=True)
    rows = data.X.toarray()
    rows[2] = 0
    data.X = sp.csr_matrix(rows)
    with c2t.open(sentence_bundle(tmp_path / "asks")) as model:
        answers = list(model.ask(data, QUESTION, OPTIONS))
    assert [a.name for a in answers if a.error] == ["cell 2"]
    assert sum(a.text is not None for a in answers) == 6


def test_an_answer_says_how_many_cells_it_rests_on(tmp_path: Path) -> None:
    """Of a mean: at most 64 cells, and none that cannot be read."""
    rows = np.repeat(cells(named=False).X.toarray()[:1], 150, axis=0)
    rows[[3, 5]] = 0
    # Of these 66 those that are chosen first cannot be read; the two that are left can.
    rows[84:] = 0
    left = [84 + place for place in range(66) if place not in {int(n * 66 / 64) for n in range(64)}]
    rows[left] = rows[0]
    data = anndata.AnnData(sp.csr_matrix(rows), var=cells(named=False).var)
    groups = {
        "few": range(7),
        "many": range(10, 80),
        "bad": [3, 5],
        "hidden": range(84, 150),
    }
    with c2t.open(vector_bundle(tmp_path / "asks")) as model:
        (alone,) = model.ask(data[[0]].copy(), QUESTION, OPTIONS)
        answers = {a.name: a for a in model.ask(data, QUESTION, OPTIONS, groups=groups)}
    found = {name: (a.cells, a.group_cells) for name, a in answers.items()}
    assert found == {"few": (5, 7), "many": (64, 70), "bad": (0, 2), "hidden": (2, 66)}
    assert answers["bad"].error == "no cell of the group can be encoded"
    assert answers["few"].tokens == answers["hidden"].tokens == alone.tokens
    assert (alone.cells, alone.group_cells) == (1, 1)


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        ({"x": ["a"]}, "the group 'x' has 'a' among the places"),
        ({"x": [0.5]}, "the group 'x' has '0.5' among the places"),
        ({"x": np.array([1.0])}, "the group 'x' has '1.0' among the places"),
        ({"x": [True, False]}, "the group 'x' is a mask"),
        ({"x": np.array([True, False])}, "the group 'x' is a mask"),
        ({"x": "01"}, "the group 'x' is '01', not places"),
        ({"x": 3}, "the group 'x' is '3', not places"),
        ({"x": []}, "the group 'x' is empty"),
        ("leiden", "the groups are 'leiden', not places by name"),
        ([[0, 1]], "not places by name"),
    ],
)
def test_groups_that_are_none_are_refused_at_once(
    tmp_path: Path, groups: object, problem: str
) -> None:
    with c2t.open(vector_bundle(tmp_path / "asks")) as model:
        with pytest.raises(C2TError, match=re.escape(problem)) as caught:
            model.ask(cells(named=False), QUESTION, OPTIONS, groups=groups)
        assert caught.value.hint


@pytest.mark.parametrize("wrong", [-1, 7])
def test_places_that_no_cell_has_are_refused(tmp_path: Path, wrong: int) -> None:
    with c2t.open(vector_bundle(tmp_path / "asks")) as model:
        answers = model.ask(cells(named=False), QUESTION, OPTIONS, groups={"x": [0, wrong]})
        with pytest.raises(C2TError, match=f"the group 'x' has place {wrong}"):
            next(answers)


@pytest.mark.parametrize(
    ("question", "labels", "problem"),
    [
        (" ", (), "the question is empty"),
        (5, (), "the question is 5, which is no text"),
        (QUESTION, "B cell", "the labels are one string"),
    ],
)
def test_a_question_that_cannot_be_is_refused_at_once(
    tmp_path: Path, question: object, labels: object, problem: str
) -> None:
    with (
        c2t.open(vector_bundle(tmp_path / "asks")) as model,
        pytest.raises(C2TError, match=problem),
    ):
        model.ask(cells(named=False), question, OPTIONS, labels=labels)


def test_a_group_that_is_too_large_gets_an_error(tmp_path: Path) -> None:
    one = cells(named=True)
    rows = np.repeat(one.X.toarray()[:1], CELLS_OF_PROMPT_MAX + 1, axis=0)
    many = anndata.AnnData(sp.csr_matrix(rows), var=one.var)
    groups = {"many": range(len(rows)), "few": [0]}
    with c2t.open(sentence_bundle(tmp_path / "asks", SEVERAL, longest=450)) as model:
        answers = list(model.ask(many, QUESTION, OPTIONS, groups=groups, labels=["B cell"]))
    assert "a prompt takes 64" in str(answers[0].error)
    assert answers[1].error is None


@pytest.mark.parametrize(
    ("text", "question", "labels", "problem"),
    [
        (ONE_CELL, " ", (), "the question is empty"),
        (ONE_CELL, "x" * 20_000, (), "20,000 letters"),
        (ONE_CELL, "why? " * 1000, (), "tokens, not 400"),
        (ONE_CELL, QUESTION, ("a",), "does not list any"),
        (SEVERAL, QUESTION, (), "none are given"),
        (SEVERAL, QUESTION, ("a", "a"), "twice"),
        (SEVERAL, QUESTION, ("a\nb",), "not one line"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    tmp_path: Path, text: str, question: str, labels: tuple[str, ...], problem: str
) -> None:
    with c2t.open(sentence_bundle(tmp_path / "asks", text)) as model:
        with pytest.raises(C2TError, match=problem) as caught:
            Question(text=question, labels=labels).check(model.bundle)
        assert caught.value.hint


def test_bundles_say_what_they_can_do(tmp_path: Path) -> None:
    with (
        c2t.open(sentence_bundle(tmp_path / "a", tasks=["describe"], question=QUESTION)) as model,
        pytest.raises(C2TError, match="cannot ask"),
    ):
        list(model.ask(cells(named=True), QUESTION))
    with (
        c2t.open(sentence_bundle(tmp_path / "b")) as model,
        pytest.raises(C2TError, match="genes of one cell"),
    ):
        list(model.ask(cells(named=True), QUESTION, groups={"a": [0]}))
    with (
        c2t.open(sentence_bundle(tmp_path / "c", SEVERAL)) as model,
        pytest.raises(C2TError, match="several cells"),
    ):
        list(model.ask(cells(named=True), QUESTION, labels=["B cell"]))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text": "{genes} {cells} {question}"}, "both"),
        ({"text": "{genes}"}, "cannot ask without a {question}"),
        ({"tasks": ["describe"]}, "cannot describe without a question"),
        ({"text": SEVERAL, "tasks": ["describe"], "question": "x"}, "several cells"),
    ],
)
def test_templates_that_contradict_their_tasks_are_refused(
    tmp_path: Path, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(BundleError, match=problem):
        c2t.open(sentence_bundle(tmp_path / "b", **changes))


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        (
            "<think>x <answer>no</answer></think> <answer> A | B </answer>",
            "x <answer>no</answer>",
            1,
        ),
        ("<answer>A</answer> then <answer>A | B</answer>", None, 1),
        ("<answer>A | B", None, 1),
        ("I write it in <answer> tags: <answer>A | B</answer>", None, 1),
        ("<answer><answer>A | B</answer></answer>", None, 1),
        ("no tags", None, 0),
        ("<think> never ends <answer>A</answer>", "never ends <answer>A</answer>", 0),
    ],
)
def test_the_answer_in_a_text(text: str, thought: str | None, answer: int) -> None:
    found = text_parts(text)
    assert (found.thought, found.answer) == (thought, "A | B" if answer else None)


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        (" MS4A1.\n\nSo it is:</think>\n\nB cell\n", "MS4A1.\n\nSo it is:", "B cell"),
        # `s03.inference.ipynb` prints a thought that is never closed.
        (" MS4A1.\n\nSo it is:\n\nB cell\n", "MS4A1.\n\nSo it is:", "B cell"),
        ("MS4A1.</think><answer>T cell</answer>", "MS4A1.", "T cell"),
        ("", None, None),
    ],
)
def test_a_thought_that_the_prompt_begins(
    text: str, thought: str | None, answer: str | None
) -> None:
    found = text_parts(text, opened=True, plain=True)
    assert (found.thought, found.answer) == (thought, answer)


def test_answers_without_tags() -> None:
    assert text_parts("B cell", plain=True).answer == "B cell"
    found = text_parts("<think>x</think> <answer>T cell</answer>", plain=True)
    assert (found.thought, found.answer) == ("x", "T cell")
    cut = text_parts(" MS4A1.\n\nSo it", opened=True, plain=True, whole=False)
    assert (cut.thought, cut.answer) == ("MS4A1.\n\nSo it", None)
    assert text_parts("MS4A1.", opened=True).thought == "MS4A1."
