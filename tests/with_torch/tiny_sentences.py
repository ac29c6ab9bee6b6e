"""Tiny Cell2Sentence models as Hugging Face folders: GPT-NeoX and Gemma-2, tokenizer included.

The tokenizers are of the two kinds that the published models have, trained here on gene names: a
byte-level BPE that adds nothing (Pythia's), and one over "▁" with bytes as a fallback that puts
<bos> before every text (Gemma's).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cell_libraries import anndata, pd, sp
from tiny_decoders import OWN, SIZES
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch.nn import functional
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from c2t.export.cell2sentence.example_genes import example_genes
from c2t.export.cell2sentence.published import TEMPLATES
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.decoders.families import FAMILIES
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import Bundle

FAMILY_NAMES = ("gpt_neox", "gemma2")
END = "<|endoftext|>"
BOS, EOS = "<bos>", "<eos>"
TYPES = ("B cell", "natural killer cell", "CD14-positive monocyte", "platelet")
POSITIONS = 2560  # room for a prompt of 2,000 tokens
VOCABULARY = 420
GENES = 12  # of a sentence
NEW_TOKENS = 24
STEPS, RATE = 60, 3e-3
CARD = "---\nlicense: cc-by-4.0\n---\n# A tiny model\n"


def texts() -> list[str]:
    """What the tokenizers are trained on."""
    prompt = TEMPLATES["cell-type"].format(
        num_genes=200, organism="Homo sapiens", cell_sentence=" ".join(example_genes(300))
    )
    return [prompt, *(f" {name}." for name in TYPES)] * 3


@cache
def sentence_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A tokenizer of the kind that the family has."""
    if family == "gemma2":
        return _with_marks()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, clean_up_tokenization_spaces=False
    )


def _with_marks() -> PreTrainedTokenizerFast:
    special = ["<pad>", EOS, BOS, "<unk>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(" "), "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    # One text is one piece, so the names are what is trained on: pairs within them.
    words = [f"▁{word}" for text in texts() for word in text.split(" ")]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[*special, *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(words, trainer)
    # Bytes are no special tokens: only these four are.
    stored = json.loads(tokenizer.to_str())
    stored["added_tokens"] = stored["added_tokens"][: len(special)]
    tokenizer = Tokenizer.from_str(json.dumps(stored))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token="<pad>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def sentence_decoder(
    family: str, *, trained: bool = False, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A tiny decoder with that tokenizer's vocabulary; trained, it answers with one of `TYPES`."""
    tokenizer = sentence_tokenizer(family)
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "max_position_embeddings": POSITIONS,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "initializer_range": 0.05,
    }
    if family == "gemma2":
        sizes["sliding_window"] = 400  # less than a long prompt
    kind = FAMILIES[family]
    torch.manual_seed(seed)
    model = kind.module(kind.config(**(SIZES | OWN[family] | sizes | changes))).eval()
    kind.restore_buffers(model)
    if trained:
        _train(model, tokenizer)
    return model.requires_grad_(False)


def genes_of(number: int) -> list[str]:
    """The genes of a type's cells, the highest first; every number gives others."""
    return example_genes(GENES, first=number + 1)


def prompt_of(genes: list[str]) -> str:
    """The published prompt of a human cell with these genes."""
    return TEMPLATES["cell-type"].format(
        num_genes=GENES, organism="Homo sapiens", cell_sentence=" ".join(genes)
    )


def _train(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Teach it an answer by the genes that a sentence begins with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = []
    for number, name in enumerate(TYPES):
        prompt = prompt_of(genes_of(number))
        whole = tokenizer(f"{prompt} {name}.")["input_ids"] + [tokenizer.eos_token_id]
        rows.append((whole, len(tokenizer(prompt)["input_ids"])))
    longest = max(len(row) for row, _ in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row, _ in rows])
    wanted = torch.tensor(
        [[-100] * start + row[start:] + [-100] * (longest - len(row)) for row, start in rows]
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE)
    try:
        for _ in range(STEPS):
            optimiser.zero_grad()
            logits = model(input_ids=ids).logits[:, :-1]
            functional.cross_entropy(logits.transpose(1, 2), wanted[:, 1:]).backward()
            optimiser.step()
    finally:
        torch.set_num_threads(threads)


def write_sentence_model(folder: Path, family: str, **options: Any) -> Path:
    """Its folder as it would be downloaded."""
    folder.mkdir(parents=True, exist_ok=True)
    sentence_decoder(family, **options).save_pretrained(folder)
    sentence_tokenizer(family).save_pretrained(folder)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder


def sentence_bundle(folder: Path, model: Path, **options: Any) -> Bundle:
    """The bundle that the whole export makes of it."""
    chosen = {"top_genes": GENES, "max_new_tokens": NEW_TOKENS} | options
    checkpoint = CheckpointOptions(family="cell2sentence", model=model, **chosen)
    return export_bundle(ExportOptions(output=folder, checkpoint=checkpoint))


def write_sentence_cells(path: Path, count: int, *, labels: bool = True) -> Path:
    """Cells of all types in turn, with their names: counts whose order is that of `genes_of`."""
    names = sorted({gene for number in range(len(TYPES)) for gene in genes_of(number)})
    matrix = np.zeros((count, len(names)), np.float32)
    for cell in range(count):
        for place, gene in enumerate(genes_of(cell % len(TYPES))):
            matrix[cell, names.index(gene)] = 90 - 3 * place
    # Every cell also has a few counts of genes behind its sentence.
    matrix += np.random.default_rng(0).integers(0, 3, matrix.shape)
    obs = pd.DataFrame(index=[f"cell{cell}" for cell in range(count)])
    if labels:
        obs["cell_type"] = [TYPES[cell % len(TYPES)] for cell in range(count)]
    var = pd.DataFrame(index=names)
    anndata.AnnData(sp.csr_matrix(matrix), obs=obs, var=var).write_h5ad(path)
    return path
