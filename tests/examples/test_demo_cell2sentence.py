"""The demonstration that reads sentences: its training, and that its weights came out of it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from shared_data import shared
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from c2t.examples.demo.captions import read_caption_table
from c2t.examples.demo.sampling import cell_tokens
from c2t.examples.demo_cell2sentence import describe_pbmc
from c2t.examples.demo_cell2sentence.evaluate import check_prompts, load, permuted_pool, score
from c2t.examples.demo_cell2sentence.gene_vectors import GeneVectors, train_gene_vectors
from c2t.examples.demo_cell2sentence.model_parts import (
    Sizes,
    answers_of,
    build_model,
    make_batch,
    read_prompts,
)
from c2t.examples.demo_cell2sentence.preparation import cell_type_of
from c2t.examples.demo_cell2sentence.sentences import (
    ANSWER,
    ANSWER_TOKENS,
    GENES,
    make_phrasebook,
    prompt_text,
)
from c2t.examples.demo_cell2sentence.text_tokenizer import END_OF_TEXT, train_tokenizer
from c2t.examples.demo_cell2sentence.train import Training
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.reader import open_cells

CHECKPOINT = describe_pbmc.CHECKPOINT
CARD = CHECKPOINT.parent / "README.md"
SYMBOLS = ["ACTB", "CD3E", "HLA-DRA", "MT-CO1", "RP11-34P13.7", "RPL13A"]
TINY = Sizes(hidden_size=16, layers=2, heads=2, intermediate_size=32, positions=128)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(CHECKPOINT)


def stored(name: str) -> dict[str, Any]:
    return json.loads((CHECKPOINT.parent / name).read_text(encoding="utf-8"))


def trained_names() -> list[str]:
    """Cell types of the data sets that training took."""
    sets = read_caption_table().sets
    taken = stored("training.json")["training"]["shares"]
    return sorted({name for stem in taken for name in sets[stem]["labels"].values()})


def share_of_the_most_frequent(by_type: dict[str, str]) -> float:
    """What a model is right in that always says the most frequent type."""
    cells = [int(entry.split("/")[1]) for entry in by_type.values()]
    return max(cells) / sum(cells)


def test_any_text_comes_back_and_words_end_at_spaces() -> None:
    tokenizer = train_tokenizer([prompt_text(SYMBOLS)], vocabulary_size=320, positions=64)
    for text in (prompt_text(SYMBOLS), " naïve T cell, CD4+.\n", "Wörter  und\tgene"):
        assert tokenizer.decode(tokenizer.encode(text)) == text
    whole = tokenizer.encode(prompt_text(SYMBOLS))
    words = make_phrasebook(tokenizer, SYMBOLS, ["B cell"])
    assert words.prompt(np.arange(len(SYMBOLS)) + 2).tolist() == whole
    assert words.answers[0].tolist() == [*tokenizer.encode(" B cell."), tokenizer.eos_token_id]


def test_words_that_are_read_once_give_the_same() -> None:
    torch.manual_seed(0)
    model = build_model(TINY, rows=50, end=0).eval()
    before, tokens = torch.arange(3, 12), torch.randint(2, 50, (3, 20))
    whole = model.gpt_neox(torch.cat([before.expand(3, -1), tokens], dim=1)).last_hidden_state
    torch.testing.assert_close(read_prompts(model, before, tokens), whole[:, len(before) :])


def test_a_batch_marks_what_is_learnt() -> None:
    answers = [np.array([8, 0]), np.array([9, 9, 0])]
    batch = make_batch(
        [np.array([3, 4, 5]), np.array([6])], np.array([7]), answers, np.array([0, 1])
    )
    assert batch.tokens.tolist() == [[3, 4, 5, 7, 8, 0], [6, 7, 9, 9, 0, 0]]
    for row, answer in enumerate(answers):
        follows = batch.tokens[row, 1:][batch.answer[row, :-1]]
        assert follows.tolist() == answer.tolist()
    assert batch.genes.sum(dim=1).tolist() == [3, 1]


def test_padded_prompts_get_the_answers_of_prompts_alone() -> None:
    torch.manual_seed(1)
    model = build_model(TINY, rows=50, end=0).eval()
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, 50, length) for length in (5, 9, 30)]
    together = answers_of(model, prompts, longest=6)
    assert together == [answers_of(model, [prompt], longest=6)[0] for prompt in prompts]
    assert len({tuple(answer) for answer in together}) > 1


def test_gene_vectors_tell_types_apart() -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    table = torch.nn.Embedding(40, 8)

    def draw(number: int) -> tuple[list[np.ndarray], np.ndarray]:
        types = rng.integers(0, 2, number)
        return [np.append(rng.integers(0, 38, 9), 38 + kind) for kind in types], types

    untrained = train_gene_vectors(table, 2, draw, GeneVectors(steps=1, batch=400))
    assert untrained < 0.7
    assert train_gene_vectors(table, 2, draw, GeneVectors(steps=200, learning_rate=0.05)) > 0.95


def test_committed_weights_are_of_this_training() -> None:
    record = stored("training.json")
    assert record["sizes"] == asdict(Sizes())
    assert record["training"] == json.loads(json.dumps(asdict(Training())))
    config = stored("checkpoint/config.json")
    sizes = Sizes()
    assert config["architectures"] == ["GPTNeoXForCausalLM"]
    found = [config[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads")]
    assert found == [sizes.hidden_size, sizes.layers, sizes.heads]
    assert config["intermediate_size"] == sizes.intermediate_size
    assert config["max_position_embeddings"] == sizes.positions
    # As in Pythia.
    assert (config["rotary_pct"], config["use_parallel_residual"]) == (0.25, True)
    assert config["vocab_size"] <= sizes.vocabulary
    with safe_open(CHECKPOINT / "model.safetensors", "np") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {np.dtype("float16")}  # noqa: SIM118 - no dict
    assert sum(file.stat().st_size for file in CHECKPOINT.iterdir()) < 10_000_000


def test_answers_and_their_ids_are_those_of_the_table() -> None:
    names = trained_names()
    phrases = (CHECKPOINT / "phrases.txt").read_text(encoding="utf-8").splitlines()
    assert phrases == [f"{name}." for name in names]
    known = read_caption_table().terms["cell_type"]
    assert stored("checkpoint/terms.json") == {"cell_type": {name: known[name] for name in names}}


def test_most_genes_are_one_token(tokenizer: PreTrainedTokenizerBase) -> None:
    frequent = ["MALAT1", "B2M", "TMSB4X", "RPL10", "RPS27", "MT-CO1", "HLA-B", "EEF1A1", "FTL"]
    assert [len(tokenizer.encode(f" {name}")) for name in frequent] == [1] * len(frequent)
    longest = max(trained_names(), key=len)
    assert len(tokenizer.encode(ANSWER.format(cell_type=longest))) < ANSWER_TOKENS
    assert tokenizer.eos_token == END_OF_TEXT


def test_the_demonstration_is_exported_as_it_was_trained() -> None:
    options = describe_pbmc.CHECKPOINT_OPTIONS
    assert options.top_genes == GENES
    assert options.family == "cell2sentence"
    assert options.model == CHECKPOINT


def test_the_card_states_what_was_measured() -> None:
    card = re.sub(r"<!--.*?-->", "", CARD.read_text(encoding="utf-8"))
    for name, row in stored("results.json").items():
        begin = f"| `{name}` | {row['held_out']['cells']:,} |"
        (line,) = [line for line in card.splitlines() if line.startswith(begin)]
        if row["held_out"]["types"] > 1:
            assert f"**{100 * row['held_out']['macro_accuracy']:.1f} %**" in line
            assert f" {100 * row['permuted']['macro_accuracy']:.1f} %" in line
    blood = stored("results.json")["pbmc3k_labelled_raw"]
    assert blood["held_out"]["macro_accuracy"] >= 0.75
    # One of the nine types has a single cell, so that luck with it is a ninth.
    assert blood["permuted"]["macro_accuracy"] < 2 / blood["held_out"]["types"]
    assert blood["permuted"]["accuracy"] < share_of_the_most_frequent(blood["held_out"]["by_type"])


@pytest.mark.slow
def test_held_out_cells_are_named_as_the_card_says() -> None:
    files = [shared("cells/pbmc3k_labelled_raw.h5ad")]
    ready = load(files, shared("genes/cellxgene_genes_homo_sapiens.csv.gz"), CHECKPOINT)
    model = AutoModelForCausalLM.from_pretrained(CHECKPOINT, dtype=torch.float32).eval()
    held = np.flatnonzero(ready.pool.held_out).tolist()
    check_prompts(ready, held)
    expected = stored("results.json")["pbmc3k_labelled_raw"]
    found = score(ready, model, ready.pool, held)
    assert found["cells"] == expected["held_out"]["cells"]
    assert found["macro_accuracy"] == pytest.approx(
        expected["held_out"]["macro_accuracy"], abs=0.01
    )
    control = score(ready, model, permuted_pool(ready, seed=1), held)
    assert control["accuracy"] < share_of_the_most_frequent(found["by_type"])


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demonstration, and what it showed."""
    folder = tmp_path_factory.mktemp("demo") / "results"
    return folder, describe_pbmc.run_demo(folder)


@pytest.mark.slow
def test_the_demonstration_describes_cells_it_never_saw(shown: tuple[Path, str]) -> None:
    folder, text = shown
    scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
    assert scores["held_out"]["cells"] + scores["trained_on"]["cells"] == 700
    assert scores["held_out"]["macro_recall"] > 0.5
    assert scores["control"]["macro_recall"] < 2 / len(scores["held_out"]["labels"])
    lines = (folder / "descriptions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["cell_type"] for record in records} <= set(trained_names())
    assert all(record["cell_type_ontology_term_id"].startswith("CL:") for record in records)
    assert f"c2t info {folder / 'bundle'}" in text
    assert open_bundle(folder / "bundle").manifest.name == "c2t-demo-cell2sentence"


@pytest.mark.slow
def test_the_bundle_reads_cells_as_training_did(shown: tuple[Path, str]) -> None:
    path = shared("cells/pbmc3k_labelled_raw.h5ad")
    ready = load([path], shared("genes/cellxgene_genes_homo_sapiens.csv.gz"), CHECKPOINT)
    with open_cells(path, open_bundle(shown[0] / "bundle")) as cells:
        places = {name: row for row, name in enumerate(cells.cell_ids)}
        tokens = [ids for chunk in cells.chunks() for ids in chunk.tokens]
    (labelled,) = ready.sets
    for row, name in enumerate(labelled.cell_ids):
        trained = ready.phrases.prompt(cell_tokens(ready.pool, row, longest=GENES))
        np.testing.assert_array_equal(tokens[places[name]], trained)


def test_what_an_answer_names() -> None:
    assert cell_type_of(" B cell.") == "B cell"
    assert cell_type_of("") == ""
