"""Prompts with tokenizers and chat templates in the manner of each family: nothing is Llama's.

The templates are short ones of the same shape as the published: turns in ChatML, [INST], Gemma's
turns without a system message, and plain text for models that have no template.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from family_bundles import family_checkpoint
from tiny_bundle import write_bundle
from tiny_models import SYSTEM_MESSAGE, TEXTS, tiny_cell, tiny_settings
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from c2t.export.checkpoint.text.prompt import render_prompt
from c2t.export.checkpoint.text.tokenizer import check_texts, stored_tokenizer
from c2t.runtime.bundle.manifest import Prompt
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.errors import CheckpointError

CHATML = """\
{%- for message in messages -%}
{{- "<|im_start|>" + message["role"] + "\\n" + message["content"] + "<|im_end|>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<|im_start|>assistant\\n" -}}{%- endif -%}
"""
INST = """\
{%- if messages[0]["role"] == "system" -%}
{%- set first = messages[0]["content"] + "\\n\\n" -%}{%- set turns = messages[1:] -%}
{%- else -%}{%- set first = "" -%}{%- set turns = messages -%}{%- endif -%}
{{- "<s>" -}}
{%- for turn in turns -%}{{- "[INST] " + first + turn["content"] + " [/INST]" -}}{%- endfor -%}
"""
GEMMA_OWN = """\
{{- "<bos>" -}}
{%- for message in messages -%}
{%- if message["role"] == "system" -%}{{- raise_exception("System role not supported") -}}
{%- endif -%}
{{- "<start_of_turn>" + message["role"] + "\\n" + message["content"] + "<end_of_turn>\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- "<start_of_turn>model\\n" -}}{%- endif -%}
"""
GEMMA = """\
{{- "<bos><start_of_turn>user\\n" + messages[0]["content"] + "\\n\\n" -}}
{{- messages[1]["content"] + "<end_of_turn>\\n<start_of_turn>model\\n" -}}
"""
PLAIN = """\
{{- messages[0]["content"] + "\\n" + messages[1]["content"] + "\\nThe cell:" -}}
"""


@dataclass(frozen=True)
class Manner:
    """How a family writes prompts.

    Args:
        special: Its special tokens; the first ends a text.
        placeholder: One that it does not use.
        template: For the prompt of a system and a user message.
        bytes_as_letters: A byte-level vocabulary; else spaces are "▁", and bytes tokens "<0x0A>".
    """

    special: tuple[str, ...]
    placeholder: str
    template: str
    bytes_as_letters: bool


MANNERS = {
    "qwen2": Manner(
        ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|fim_pad|>"), "<|fim_pad|>", CHATML, True
    ),
    "mistral": Manner(("</s>", "<s>", "<unk>", "[control_8]"), "[control_8]", INST, False),
    "gemma2": Manner(
        ("<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<unused7>"),
        "<unused7>",
        GEMMA,
        False,
    ),
    "gpt_neox": Manner(("<|endoftext|>", "<|padding|>"), "<|padding|>", PLAIN, True),
}


def tokenizer_of(manner: Manner) -> PreTrainedTokenizerFast:
    """A small tokenizer of the family's kind, with its template."""
    special = [AddedToken(name, special=True, normalized=False) for name in manner.special]
    if manner.bytes_as_letters:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
    else:
        tokenizer = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True))
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        letters = []
        special += [AddedToken(f"<0x{byte:02X}>", special=False) for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=320 if manner.bytes_as_letters else 400,
        special_tokens=special,
        initial_alphabet=letters,
        show_progress=False,
    )
    texts = [text.replace(" ", "▁") if not manner.bytes_as_letters else text for text in TEXTS]
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=manner.special[0],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = manner.template
    return fast


def settings_of(manner: Manner, tokenizer: PreTrainedTokenizerFast):
    usual = tiny_settings()
    generation = replace(usual.generation, eos_token_ids=(int(tokenizer.eos_token_id),))
    return replace(usual, placeholder_token=manner.placeholder, generation=generation)


def rendered(prompt: Prompt, tokenizer: PreTrainedTokenizerFast) -> str:
    ids = (*prompt.prefix_ids, prompt.placeholder_id, *prompt.suffix_ids)
    return tokenizer.decode(ids)


@pytest.mark.parametrize("family", MANNERS)
def test_prefix_vectors_suffix(tmp_path: Path, family: str) -> None:
    """The prompt is what the template writes; the bundle's texts are PyTorch's."""
    manner = MANNERS[family]
    tokenizer = tokenizer_of(manner)
    settings = settings_of(manner, tokenizer)
    prompt = render_prompt(tokenizer, settings)
    assert prompt.placeholder_id == tokenizer.convert_tokens_to_ids(manner.placeholder)
    assert prompt.date is None
    for count in (1, 7):
        user = settings.user_message + manner.placeholder * count
        messages = [
            {"role": "system", "content": SYSTEM_MESSAGE},
            {"role": "user", "content": user},
        ]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert [*prompt.prefix_ids, *[prompt.placeholder_id] * count, *prompt.suffix_ids] == ids
    assert SYSTEM_MESSAGE in rendered(prompt, tokenizer)
    stored = stored_tokenizer(tokenizer)
    check_texts(stored)
    loaded = replace(
        family_checkpoint(family, vocab_size=len(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_json=stored,
        prompt=prompt,
        settings=settings,
    )
    (tmp_path / "bundle").mkdir()
    tiny = write_bundle(tmp_path / "bundle", loaded)
    cell = tiny_cell(14).tolist()
    (found,) = Describer(tiny.bundle, DescribeOptions(threads=1)).describe(
        [EncodedCells.of_tokens([cell])]
    )
    ids = loaded.model.generate(torch.tensor(cell), prompt, settings.generation)
    assert list(found.tokens) == ids
    assert found.text == tokenizer.decode(ids, skip_special_tokens=True)


def test_a_template_that_takes_no_system_message() -> None:
    manner = replace(MANNERS["gemma2"], template=GEMMA_OWN)
    tokenizer = tokenizer_of(manner)
    with pytest.raises(CheckpointError, match="System role not supported") as caught:
        render_prompt(tokenizer, settings_of(manner, tokenizer))
    assert "it may take no system message" in caught.value.hint
    assert "--chat-template FILE" in caught.value.hint


def test_a_tokenizer_without_a_template() -> None:
    manner = MANNERS["gpt_neox"]
    tokenizer = tokenizer_of(manner)
    tokenizer.chat_template = None
    with pytest.raises(CheckpointError, match="has no chat template") as caught:
        render_prompt(tokenizer, settings_of(manner, tokenizer))
    assert "--chat-template FILE" in caught.value.hint


def test_llama_s_placeholder_is_no_other_family_s() -> None:
    manner = MANNERS["qwen2"]
    tokenizer = tokenizer_of(manner)
    settings = replace(
        settings_of(manner, tokenizer), placeholder_token="<|reserved_special_token_1|>"
    )
    with pytest.raises(CheckpointError, match="has no token") as caught:
        render_prompt(tokenizer, settings)
    assert "--placeholder-token" in caught.value.hint
