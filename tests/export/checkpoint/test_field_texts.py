"""Checkpoints from the field whose generation settings, tokenizer or template change the text.

Each ends as it must: with the tokens, texts and logits of PyTorch, or refused by name with nothing
left behind.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from field_cases import make_checkpoint

from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import CheckpointOptions
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer

pytestmark = pytest.mark.slow

# What is said beside the right result; "" says nothing.
RIGHT = {
    "00_plain": "",
    "c35_gen_sampling": "do_sample True, temperature 0.6, top_p 0.9",
    "c36_gen_beams": "",
    "c40_eos_only_in_config": "",
    "c41_eos_not_in_generation_config": "",
    "d01_template_in_jinja": "",
    "d02_template_in_config": "",
    "d03_template_list_default": "",
    "d10_cleanup_spaces": "",
    "d11_special_only_in_config": "",
    "d13_tokenizers_backend": "",
    "d14_extra_special_list": "",
    "d15_added_tokens_json": "",
    "d19_tokenizer_in_adapter": "differs from that of",
    "d21_truncation_in_tokenizer_json": "",
    "f01_reference_config_beams": "says max_new_tokens 100; the options win: max_new_tokens 16",
    "f14_system_message_trimmed": "",
}
# What the error names, and what its hint says.
REFUSED = {
    "a25_other_base": ("", "other sizes|width|shape|folder"),
    "c30_gen_repetition_penalty": ("repetition_penalty 1.8", "--ignore-generation-config"),
    "c31_gen_suppress": ("suppress_tokens", "--ignore-generation-config"),
    "c32_gen_bad_words": ("bad_words_ids", "--ignore-generation-config"),
    "c34_gen_forced_eos": ("forced_eos_token_id 6", "--ignore-generation-config"),
    "c39_gen_penalty_alpha": ("exponential_decay_length_penalty", "--ignore-generation-config"),
    "c42_eos_outside": ("text token 4000", "generation_config.json"),
    "c43_eos_null": ("names no end token", "generation_config.json"),
    "d04_template_list_no_default": ("tool_use, rag", "--chat-template"),
    "d05_template_none": ("no chat template", "--chat-template"),
    "d06_template_no_system": ("System role not supported", "--chat-template"),
    "d07_template_drops_system": ("leaves out the system message", "--chat-template"),
    "d08_template_broken": ("cannot be rendered", "--chat-template"),
    "d09_template_strftime_only": ("strftime_now", "--date"),
    "d16_token_beyond_vocabulary": ("text token 320 ('<cell>')", "--placeholder-token"),
    "d17_template_token_beyond_vocabulary": ("text token 320 ('<|im_end|>')", "tokens were added"),
    "d18_only_tokenizer_model": ("no usable tokenizer", "sentencepiece"),
}


def lines(text: str, kind: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.startswith(kind))


def prepare(name: str, folder: Path) -> dict[str, Any]:
    case = make_checkpoint(name, folder)
    return json.loads((case / "expected.json").read_text())


def first_logits(arguments: list[str], cells: list[list[int]]) -> np.ndarray:
    """Logits [cells, V] of the first text token, of the checkpoint as it is read here."""
    words = iter(arguments)
    options: dict[str, Any] = {}
    for word in words:
        value: str | int = next(words)
        if word in ("--top-k", "--max-new-tokens"):
            value = int(value)
        name = word.removeprefix("--").replace("-", "_")
        is_path = name in ("geneformer", "llama", "checkpoint", "adapter")
        options[name] = Path(str(value)) if is_path else value
    loaded = load_checkpoint(CheckpointOptions(**options))
    none = torch.empty((1, 0), dtype=torch.long)
    with torch.inference_mode():
        rows = [loaded.model(torch.tensor([cell]), none, loaded.prompt)[0, 0] for cell in cells]
    return torch.stack(rows).numpy()


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("name", RIGHT)
def test_tokens_texts_and_logits_of_pytorch(
    call_c2t: Callable[..., Any],
    tmp_path: Path,
    recwarn: pytest.WarningsRecorder,
    name: str,
) -> None:
    case = prepare(name, tmp_path / "case")
    done = call_c2t("export", *case["args"], "-o", tmp_path / "bundle")
    assert done.returncode == 0, done.stderr
    said = " ".join(str(warning.message) for warning in recwarn)
    assert RIGHT[name] in said
    assert bool(RIGHT[name]) == bool(said)
    bundle = open_bundle(tmp_path / "bundle")
    describer = Describer(bundle, DescribeOptions(engine="cpu"))
    described = list(describer.describe([EncodedCells.of_tokens(case["cells"])]))
    assert [list(one.tokens) for one in described] == case["tokens"]
    assert [one.text for one in described] == case["texts"]
    with np.load(tmp_path / "case" / "expected.npz") as expected:
        logits = first_logits(case["args"], case["cells"])
        np.testing.assert_allclose(logits, expected["logits"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(call_c2t: Callable[..., Any], tmp_path: Path, name: str) -> None:
    case = prepare(name, tmp_path / "case")
    done = call_c2t("export", *case["args"], "-o", tmp_path / "bundle")
    assert done.returncode in (1, 2), done.stderr
    problem, hint = REFUSED[name]
    assert problem in lines(done.stderr, "error: ")
    assert any(word in lines(done.stderr, "hint: ") for word in hint.split("|"))
    assert [path.name for path in tmp_path.iterdir()] == ["case"]
