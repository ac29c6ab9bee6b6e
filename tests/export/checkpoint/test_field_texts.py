"""Checkpoints from the field whose generation settings, tokenizer or template change the text.

Each ends as it must: with the tokens, texts and logits of PyTorch, or refused by name with nothing
left behind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import field_checkpoints
import numpy as np
import pytest
from field_checkpoints import GENERATORS, FieldCheckpoint, bundle_logits, read_field_checkpoint

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.errors import CheckpointError

pytestmark = pytest.mark.slow

# What is said beside the right result; "" says nothing.
RIGHT = {
    "c30_gen_repetition_penalty": "",
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


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all checkpoints, made by one other process: it parts many times."""
    if not GENERATORS.is_dir():
        pytest.skip(f"no shared cases at {GENERATORS} (set C2T_SHARED_CASES to their folder)")
    folder = tmp_path_factory.mktemp("field")
    there = [name for name in (*RIGHT, *REFUSED) if (GENERATORS / f"{name}.py").is_file()]
    command = [sys.executable, field_checkpoints.__file__, str(GENERATORS), str(folder), *there]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    return folder


def case(made: Path, name: str) -> FieldCheckpoint:
    if not (made / name / "expected.json").is_file():
        pytest.skip(f"the shared case {name} could not be made here")
    return read_field_checkpoint(made / name)


@pytest.mark.filterwarnings("default::UserWarning")
@pytest.mark.parametrize("name", RIGHT)
def test_tokens_texts_and_logits_of_pytorch(
    made: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder, name: str
) -> None:
    field = case(made, name)
    assert field.logits is not None
    output = tmp_path / "bundle"
    export_bundle(ExportOptions(output=output, checkpoint=CheckpointOptions(**field.args)))
    said = " ".join(str(warning.message) for warning in recwarn)
    assert RIGHT[name] in said
    assert bool(RIGHT[name]) == bool(said)
    for cell, expected in zip(field.cells, field.logits, strict=True):
        np.testing.assert_allclose(bundle_logits(output, cell), expected, rtol=0, atol=1e-4)
    describer = Describer(open_bundle(output), DescribeOptions(engine="cpu"))
    described = list(describer.describe([EncodedCells.of_tokens(field.cells)]))
    assert [list(cell.tokens) for cell in described] == field.tokens
    texts = json.loads((made / name / "expected.json").read_text())["texts"]
    assert [cell.text for cell in described] == texts


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(made: Path, tmp_path: Path, name: str) -> None:
    field = case(made, name)
    problem, hint = REFUSED[name]
    with pytest.raises(CheckpointError) as caught:
        export_bundle(
            ExportOptions(output=tmp_path / "bundle", checkpoint=CheckpointOptions(**field.args))
        )
    assert problem in caught.value.problem
    assert hint in caught.value.hint
    assert not any(tmp_path.iterdir())
