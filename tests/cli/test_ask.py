"""`c2t ask` as users call it: formats, groups, seeds, and what is refused before the work."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from ask_bundles import SEVERAL, chat_bundle, sentence_bundle, vector_bundle
from cli_process import Command, random_cells, run_c2t

QUESTION = "What cell is it?"
DRAWN = ("--temperature", 1, "--seed", 9, "--max-new-tokens", 6)


@pytest.fixture(scope="module")
def asks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return vector_bundle(tmp_path_factory.mktemp("bundle") / "asks")


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    data = random_cells(12)
    data.obs["cluster"] = [f"group {n % 3}" for n in range(data.n_obs)]
    data.write_h5ad(path)
    return path


def test_answers_are_printed_with_their_seed(asks: Path, grouped: Path) -> None:
    done = run_c2t("ask", asks, grouped, QUESTION, "--limit", 3, *DRAWN)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in lines] == ["cell0", "cell1", "cell2"]
    for line in lines:
        assert line["question"] == QUESTION
        assert line["seed"] == line["settings"]["seed"] == 9
        assert line["settings"]["temperature"] == 1
    assert "asked about 3 cells" in done.stderr
    again = run_c2t("ask", asks, grouped, QUESTION, "--limit", 3, *DRAWN, "--batch-size", 1)
    assert again.stdout == done.stdout


def test_a_bundles_own_question_is_asked_where_none_is_given(
    call_c2t: Command, asks: Path, grouped: Path, tmp_path: Path
) -> None:
    chat = chat_bundle(tmp_path / "chat")
    call = (grouped, "--limit", 2, "--max-new-tokens", 4)
    own = call_c2t("ask", chat, *call).stdout
    assert json.loads(own.splitlines()[0])["question"] == "Which cell is it?"
    assert own == call_c2t("ask", chat, grouped, "Which cell is it?", *call[1:]).stdout
    done = call_c2t("ask", asks, *call)
    assert "error: no question is given, and the bundle has none of its own" in done.stderr
    assert "hint: give one" in done.stderr


def test_thoughts_and_answers_are_columns(call_c2t: Command, grouped: Path, tmp_path: Path) -> None:
    """Where the prompt begins a thought, the text is one until it ends."""
    thinks = vector_bundle(tmp_path / "thinks", "{question}\n<think> ", plain_answers=True)
    out = tmp_path / "answers.csv"
    done = call_c2t(
        "ask", thinks, grouped, QUESTION, "--limit", 2, "--max-new-tokens", 4, "-o", out
    )
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))
    for row in rows:
        assert row["text"].strip() in (row["thought"], f"{row['thought']}\n{row['answer']}")
        assert (row["answer"] == "") == (row["whole"] == "False")


def test_cells_that_did_not_pass_are_left_out_or_asked_about(
    call_c2t: Command, asks: Path, tmp_path: Path
) -> None:
    data = random_cells(3)
    data.obs["filter_pass"] = [1, 0, 1]
    data.write_h5ad(tmp_path / "cells.h5ad")
    call = ("ask", asks, tmp_path / "cells.h5ad", QUESTION, "--max-new-tokens", 2)
    assert "asked about 2 cells" in call_c2t(*call).stderr
    assert "asked about 3 cells" in call_c2t(*call, "--no-filter-pass").stderr


def test_groups_into_each_format(
    call_c2t: Command, asks: Path, grouped: Path, tmp_path: Path
) -> None:
    texts = {}
    for suffix in ("jsonl", "csv", "json"):
        out = tmp_path / f"answers.{suffix}"
        call = ("ask", asks, grouped, QUESTION, "--group-by", "cluster", "-o", out)
        done = call_c2t(*call, "--max-new-tokens", 6)
        assert done.returncode == 0, done.stderr
        if suffix == "csv":
            rows = list(csv.DictReader(io.StringIO(out.read_bytes().decode(), newline="")))
        elif suffix == "json":
            rows = json.loads(out.read_text())["answers"]
        else:
            rows = [json.loads(line) for line in out.read_text().splitlines()]
        texts[suffix] = [(row["name"], row["text"]) for row in rows]
    assert [name for name, _ in texts["json"]] == ["group 0", "group 1", "group 2"]
    assert texts["csv"] == texts["json"] == texts["jsonl"]


def test_clusters(call_c2t: Command, asks: Path, grouped: Path) -> None:
    pytest.importorskip("igraph")
    pytest.importorskip("sklearn")
    done = call_c2t("ask", asks, grouped, QUESTION, "--group-by", "leiden", "--max-new-tokens", 4)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[0])["name"] == "0"


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ((" ",), "the question is empty"),
        (("x", "--seed", 3), "no token is drawn"),
        (("x", "--temperature", 1, "--num-beams", 3), "3 beams"),
        (("x", "-o", "answers.txt"), "no suffix that says what to write"),
        (("x", "--group-by", "clutser"), "no column 'clutser'"),
        (("x", "--resolution", 2), "--resolution is about groups"),
        (("x", "--labels", "none.txt"), "none.txt"),
    ],
)
def test_what_is_refused(
    call_c2t: Command,
    asks: Path,
    grouped: Path,
    more: tuple[object, ...],
    problem: str,
    tmp_path: Path,
) -> None:
    done = call_c2t("ask", asks, grouped, *more, cwd=tmp_path)
    assert done.returncode != 0
    assert problem in done.stderr
    assert "hint: " in done.stderr
    assert not done.stdout


def test_bundles_that_have_no_place_for_it(
    call_c2t: Command, bundle: Path, cells: Path, tmp_path: Path
) -> None:
    done = call_c2t("ask", bundle, cells, QUESTION)
    assert "cannot ask" in done.stderr
    assert "it can describe" in done.stderr
    several = sentence_bundle(tmp_path / "several", SEVERAL)
    labels = tmp_path / "labels.txt"
    labels.write_text("B cell\nT cell\n")
    done = call_c2t("ask", several, cells, QUESTION, "--labels", labels)
    assert "one of several cells" in done.stderr
    assert "--group-by" in done.stderr


def test_a_group_says_how_many_of_its_cells_were_asked_about(
    call_c2t: Command, asks: Path, tmp_path: Path
) -> None:
    data = random_cells(6)
    rows = data.X.toarray()[[0] * 6]
    rows[[1, 4]] = 0
    data.X = rows
    data.obs["cluster"] = ["x", "x", "x", "y", "y", "z"]
    data.write_h5ad(tmp_path / "cells.h5ad")
    call = ("ask", asks, tmp_path / "cells.h5ad", QUESTION, "--max-new-tokens", 2)
    done = call_c2t(*call, "--group-by", "cluster")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(a["name"], a["cells"], a["group_cells"]) for a in lines] == [
        *(("x", 2, 3), ("y", 1, 2), ("z", 1, 1)),
    ]
    assert "2 groups whose answers rest on some of the cells: see group_cells" in done.stderr


def test_the_bundles_own_stop_strings_can_be_switched_off(
    call_c2t: Command, grouped: Path, tmp_path: Path
) -> None:
    plain = vector_bundle(tmp_path / "plain")
    call = (grouped, QUESTION, "--limit", 1, "--max-new-tokens", 8)
    whole = json.loads(call_c2t("ask", plain, *call).stdout)["text"]
    manifest = json.loads((plain / "manifest.json").read_bytes())
    stops = {**manifest["generation"], "stop_strings": [whole[0]]}
    stopping = vector_bundle(tmp_path / "stopping", generation=stops)
    assert json.loads(call_c2t("ask", stopping, *call).stdout)["text"] != whole
    assert json.loads(call_c2t("ask", stopping, *call, "--stop", "").stdout)["text"] == whole
