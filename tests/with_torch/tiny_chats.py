"""Tiny Qwen2 chat models as Hugging Face folders: tokenizer, chat template, settings of Qwen2.5."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
from tiny_decoders import OWN, SIZES
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from c2t.export.cell2sentence.example_genes import example_genes
from c2t.export.decoders.families import FAMILIES

END, BEGIN_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TURNS = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
)
# What Qwen2.5's own makes of a system message and a user's; QwQ's begins a thought besides.
CHATML, QWQ = f"{TURNS}{{% endif %}}", f"{TURNS}<think>\n{{% endif %}}"
CARD = "---\nlicense: apache-2.0\n---\n# A tiny model\n"
VOCABULARY, POSITIONS = 420, 2048


@cache
def chat_tokenizer(*, thinks: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE with the special tokens of a chat.

    Args:
        thinks: Whether the marks of a thought are tokens, though no special ones, as in QwQ's.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END, BEGIN_TURN, END_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [", ".join(example_genes(300)), "Please annotate the cell type of these genes. B cell"]
    tokenizer.train_from_iterator(texts, trainer)
    if thinks:
        tokenizer.add_tokens(["<think>", "</think>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_TURN,
        pad_token=END,
        clean_up_tokenization_spaces=False,
    )


def write_chat_model(
    folder: Path, *, template: str | None = CHATML, thinks: bool = False, **changes: object
) -> Path:
    """Its folder as it would be downloaded; random weights whose texts are of different tokens."""
    tokenizer = chat_tokenizer(thinks=thinks)
    sizes = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": POSITIONS,
        "initializer_range": 0.5,
        "eos_token_id": tokenizer.eos_token_id,
    }
    kind = FAMILIES["qwen2"]
    torch.manual_seed(0)
    model = kind.module(kind.config(**(SIZES | OWN["qwen2"] | sizes))).eval()
    kind.restore_buffers(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps(stored | ({"chat_template": template} if template else {})))
    ends = tokenizer.convert_tokens_to_ids([END_TURN, END])
    # Of Qwen2.5-7B-Instruct.
    settings = {
        "do_sample": True,
        "eos_token_id": ends,
        "pad_token_id": ends[1],
        "repetition_penalty": 1.05,
        "temperature": 0.7,
        "top_k": 20,
        "top_p": 0.8,
    }
    (folder / "generation_config.json").write_text(json.dumps(settings | changes))
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    return folder
