"""Prompts that ask: exported from a file or by name, and asked with the tokens of transformers."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from tiny_sentences import sentence_tokenizer, write_sentence_model
from transformers import AutoModelForCausalLM

import c2t
from c2t.export.cell2sentence.outline import outline_sentences
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.template import FixedIds, TextPart
from c2t.runtime.describe.describer import DescribeOptions

QUESTION = "What is it? <|endoftext|> is only letters here"
PROMPT = "<|endoftext|>You know cells.<|endoftext|>\n{question}\n{cell_sentence}.<|endoftext|>\nA:"
GENES = ["CD3E", "CD8A", "NKG7", "MS4A1", "LYZ", "GNLY", "CD14", "CD79A", "PPBP", "FCER1A"]


def options(folder: Path, template: str) -> CheckpointOptions:
    model = folder / "tiny-sentences"
    if not model.exists():
        write_sentence_model(model, "gpt_neox", initializer_range=0.5)
    return CheckpointOptions(
        family="cell2sentence",
        model=model,
        template=template,
        top_genes=6,
        max_new_tokens=12,
        repetition_penalty=1.3,
        organism=["human"],
    )


@pytest.mark.filterwarnings("ignore:nothing in the file says:UserWarning")
def test_answers_are_those_of_transformers(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT)
    asked = options(tmp_path, str(file))
    export_bundle(ExportOptions(checkpoint=asked, output=tmp_path / "bundle", golden_cells=2))
    counts = np.random.default_rng(0).permuted(np.tile(np.arange(1, 11), (4, 1)), axis=1)
    cells = anndata.AnnData(csr_matrix(counts.astype(np.float32)))
    cells.var_names = GENES
    with c2t.open(tmp_path / "bundle") as model:
        assert model.bundle.manifest.tasks == ("ask",)
        assert model.bundle.manifest.generation.repetition_penalty == 1.3
        settings = DescribeOptions(engine="cpu", threads=1)
        found = [list(a.tokens) for a in model.ask(cells, QUESTION, settings)]
    tokenizer = sentence_tokenizer("gpt_neox")
    decoder = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny-sentences").eval()
    end = tokenizer.eos_token_id
    for row, tokens in zip(counts.tolist(), found, strict=True):
        genes = [GENES[place] for place in np.argsort(-np.array(row))[:6]]
        letters = tokenizer.backend_tokenizer
        letters.encode_special_tokens = True
        ids: list[int] = []
        for text in ("You know cells.", f"\n{QUESTION}\n{' '.join(genes)}.", "\nA:"):
            ids += [end, *letters.encode(text, add_special_tokens=False).ids]
        letters.encode_special_tokens = False
        given = torch.tensor(ids)[None]
        with torch.no_grad():
            expected = decoder.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=12,
                do_sample=False,
                repetition_penalty=1.3,
                pad_token_id=end,
            )[0, len(ids) :].tolist()
        assert tokens == expected


def test_texts_without_fields_have_their_own_length(tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT)
    fixed, says, *rest = outline_sentences(options(tmp_path, str(file))).template
    assert isinstance(fixed, FixedIds)
    assert isinstance(says, TextPart)
    assert says.longest == len(sentence_tokenizer("gpt_neox")("You know cells.").input_ids)
    (asks,) = [part for part in rest if isinstance(part, TextPart) and part.fields]
    assert asks.longest > 500
