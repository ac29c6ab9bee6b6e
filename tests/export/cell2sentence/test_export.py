"""The whole export of both families: manifest, exact logits, texts, adapters, own templates."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_decoders import GraphRun
from tiny_sentences import (
    END,
    FAMILY_NAMES,
    GENES,
    NEW_TOKENS,
    TYPES,
    genes_of,
    prompt_of,
    sentence_bundle,
    sentence_decoder,
    sentence_tokenizer,
    write_sentence_cells,
)

from c2t.export.cell2sentence.outline import outline_sentences
from c2t.export.cell2sentence.published import TEMPLATES
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import Bundle
from c2t.runtime.bundle.template import TextPart
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.cells.reader import open_cells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.fields.open import open_fields
from c2t.runtime.generation.phrase_table import load_phrase_table
from c2t.runtime.system.errors import CheckpointError

LOGITS = 1e-4
# With parts of 512 tokens, as a runtime may feed a long prompt.
WAYS = ([5], [300], [2000], [512, 512, 512, 464], [299, 1])


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_the_manifest_says_what_it_is(sentence_bundles: dict[str, Bundle], family: str) -> None:
    manifest = sentence_bundles[family].manifest
    assert (manifest.family, manifest.tasks) == ("cell2sentence", ("describe", "annotate"))
    assert not manifest.has_encoder
    assert manifest.gene_sentence is not None
    assert manifest.gene_sentence.genes == GENES
    assert manifest.gene_sentence.organisms == {"human": "Homo sapiens", "mouse": "Mus musculus"}
    assert manifest.name == family
    assert [licence.licence for licence in manifest.licences] == ["cc-by-4.0"]
    assert manifest.origin.notes == f"the published prompt 'cell-type'; {GENES} genes"
    assert set(manifest.origin.files) >= {"model/config.json", "model/model.safetensors"}
    assert manifest.generation.max_new_tokens == NEW_TOKENS
    assert manifest.generation.no_repeat_ngram_size == 0
    text = next(part for part in manifest.template if isinstance(part, TextPart))
    assert text.text == TEMPLATES["cell-type"].format(
        num_genes=GENES, organism="{organism}", cell_sentence="{genes}"
    )


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_logits_are_those_of_transformers(sentence_bundles: dict[str, Bundle], family: str) -> None:
    bundle = sentence_bundles[family]
    model = sentence_decoder(family, trained=True)
    run = GraphRun(bundle.file("decoder.onnx"), model.config)
    draw = np.random.default_rng(0)
    for steps in WAYS:
        ids = draw.integers(0, model.config.vocab_size, sum(steps))
        with torch.no_grad():
            expected = model(input_ids=torch.from_numpy(ids)[None]).logits.numpy()
        rows = np.asarray(bundle.token_embedding[ids], np.float32)[None]
        assert np.abs(run.logits(rows, steps) - expected).max() < LOGITS, steps


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_golden_texts_are_those_of_generate(
    sentence_bundles: dict[str, Bundle], family: str
) -> None:
    model, tokenizer = sentence_decoder(family, trained=True), sentence_tokenizer(family)
    golden = sentence_bundles[family].golden.cells
    assert len(golden) == 3
    for cell in golden:
        ids = torch.tensor([cell.gene_tokens])
        with torch.no_grad():
            whole = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=0,
            )[0]
        assert tuple(whole[ids.shape[1] :].tolist()) == cell.token_ids
        assert cell.text == tokenizer.decode(cell.token_ids, skip_special_tokens=True)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_answers_become_fields(sentence_bundles: dict[str, Bundle], family: str) -> None:
    fields = open_fields(sentence_bundles[family])
    for name in TYPES:
        found = fields.read(f" {name}.")["cell_type"]
        assert found is not None
        assert found.words == name


def test_a_shard_is_as_good_as_a_file(sentence_folders: dict[str, Path], tmp_path: Path) -> None:
    model = sentence_decoder("gpt_neox", trained=True)
    folder = tmp_path / "sharded"
    shutil.copytree(sentence_folders["gpt_neox"], folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    loaded = outline_sentences(CheckpointOptions(family="cell2sentence", model=folder)).load()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.model.decoder.state_dict()[name], tensor)
    assert "shards" not in loaded.layout or "model-00001" in loaded.layout


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_an_adapter_is_merged(
    sentence_folders: dict[str, Path], tmp_path: Path, family: str
) -> None:
    torch.manual_seed(0)
    linears = ["query_key_value", "dense"] if family == "gpt_neox" else ["q_proj", "down_proj"]
    config = LoraConfig(r=2, lora_alpha=4, target_modules=linears, init_lora_weights=False)
    wrapped = get_peft_model(sentence_decoder(family, trained=True), config)
    wrapped.save_pretrained(tmp_path / "adapter")
    options = CheckpointOptions(
        family="cell2sentence", model=sentence_folders[family], adapter=tmp_path / "adapter"
    )
    loaded = outline_sentences(options).load()
    assert "LoRA merged" in loaded.layout
    ids = torch.arange(9)[None]
    with torch.no_grad():
        expected = wrapped(input_ids=ids).logits
        torch.testing.assert_close(loaded.model.decoder(input_ids=ids).logits, expected)


def test_an_adapter_of_another_model_is_refused(
    sentence_folders: dict[str, Path], tmp_path: Path
) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(sentence_decoder("gemma2"), config).save_pretrained(tmp_path / "adapter")
    options = CheckpointOptions(
        family="cell2sentence", model=sentence_folders["gpt_neox"], adapter=tmp_path / "adapter"
    )
    with pytest.raises(CheckpointError, match="no such weight"):
        outline_sentences(options).load()


def test_an_own_template_and_answers(sentence_folders: dict[str, Path], tmp_path: Path) -> None:
    """Texts of an own prompt have no fields, and training answers become drafts."""
    (tmp_path / "own.txt").write_text("{count} {organism} genes: {genes}\nAnswer:\n")
    (tmp_path / "answers.txt").write_text("B cell.\nplatelet\n")
    bundle = sentence_bundle(
        tmp_path / "bundle",
        sentence_folders["gpt_neox"],
        template=str(tmp_path / "own.txt"),
        organism=["mouse"],
        phrases=tmp_path / "answers.txt",
        name="mine",
    )
    manifest = bundle.manifest
    assert [part.text for part in manifest.template] == [
        "{count} {organism} genes: {genes}\nAnswer:"
    ]
    assert (manifest.name, manifest.species) == ("mine", "mouse")
    assert manifest.origin.notes == f"the prompt of own.txt; {GENES} genes"
    assert open_fields(bundle).names == ()
    table = load_phrase_table(bundle.file("phrases.npz"), manifest.decoder.vocabulary_size)
    tokenizer = sentence_tokenizer("gpt_neox")
    state = table.start
    (end,) = tokenizer(END)["input_ids"]
    for token in (*tokenizer(" platelet.")["input_ids"], end):
        first, last = table.first_edge[state : state + 2]
        (edge,) = (table.token[first:last] == token).nonzero()[0]
        state = int(table.target[first + edge])


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_real_cells_become_the_prompts_of_transformers(
    sentence_bundles: dict[str, Bundle], tmp_path: Path, family: str
) -> None:
    cells = write_sentence_cells(tmp_path / "cells.h5ad", 8)
    with open_cells(cells, sentence_bundles[family]) as reader:
        (chunk,) = reader.chunks()
    tokenizer = sentence_tokenizer(family)
    for cell, tokens in enumerate(chunk.tokens):
        assert tokens.tolist() == tokenizer(prompt_of(genes_of(cell % len(TYPES))))["input_ids"]


def test_an_export_with_cells_keeps_prompts_of_theirs(
    sentence_folders: dict[str, Path], tmp_path: Path
) -> None:
    cells = write_sentence_cells(tmp_path / "cells.h5ad", 8)
    options = CheckpointOptions(
        family="cell2sentence", model=sentence_folders["gpt_neox"], top_genes=GENES
    )
    bundle = export_bundle(
        ExportOptions(output=tmp_path / "bundle", checkpoint=options, cells=cells, golden_cells=3)
    )
    tokenizer = sentence_tokenizer("gpt_neox")
    known = {tuple(tokenizer(prompt_of(genes_of(number)))["input_ids"]) for number in range(4)}
    assert {cell.gene_tokens for cell in bundle.golden.cells} <= known
    assert {cell.text for cell in bundle.golden.cells} <= {f" {name}." for name in TYPES}
    assert "cells of cells.h5ad" in (bundle.path / "parity.json").read_text()


def texts_by_generate(family: str, prompts: list[list[int]]) -> list[list[int]]:
    """Text tokens that transformers' own `generate` writes behind prompts."""
    model, texts = sentence_decoder(family, trained=True), []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        with torch.no_grad():
            whole = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=0,
            )
        texts.append(whole[0, len(prompt) :].tolist())
    return texts


def check_texts(bundle: Bundle, family: str, count: int) -> None:
    tokenizer = sentence_tokenizer(family)
    prompts = [tokenizer(prompt_of(genes_of(number)))["input_ids"] for number in range(count)]
    # Others than those of sentences that it knows, and of other lengths.
    draw = np.random.default_rng(1)
    prompts = [
        [*prompt[: -draw.integers(1, 90)], *prompt[-12:]] if number >= len(TYPES) else prompt
        for number, prompt in enumerate(prompts)
    ]
    describer = Describer(bundle, DescribeOptions(threads=1, batch_size=4, engine="cpu"))
    found = [list(d.tokens) for d in describer.describe([EncodedCells.of_tokens(prompts)])]
    assert found == texts_by_generate(family, prompts)
    assert len({tuple(ids) for ids in found}) >= len(TYPES)


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_texts_are_those_of_generate(sentence_bundles: dict[str, Bundle], family: str) -> None:
    check_texts(sentence_bundles[family], family, 8)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_a_hundred_texts_are_those_of_generate(
    sentence_bundles: dict[str, Bundle], family: str
) -> None:
    check_texts(sentence_bundles[family], family, 100)
