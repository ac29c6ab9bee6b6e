"""Checkpoints after public reports are exported as they were trained, or refused by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import field_checkpoints
import numpy as np
import pytest
from field_checkpoints import GENERATORS, bundle_logits, read_field_checkpoint

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.pipeline import ExportOptions, export_bundle
from c2t.runtime.bundle.bundle import open_bundle
from c2t.runtime.cells.encoded_cells import EncodedCells
from c2t.runtime.describe.describer import DescribeOptions, Describer
from c2t.runtime.system.errors import CheckpointError

pytestmark = pytest.mark.slow

ALPHA = {"lora_alpha": 8}
HEADS, POSITIONS = {"perceiver_heads": 8}, {"perceiver_positions": True}
# What is exported right by the command of the case.
EXPORTED = (
    "00_plain", "a02_rank_pattern", "a03_alpha_pattern_full_name", "a07_reference_best_model",
    "a09_reference_eval_command", "a11_layers_to_transform", "a12_all_linear_whole",
    "a14_fan_in_fan_out", "a15_bias_all", "a15_bias_lora_only", "a16_modules_to_save_both",
    "a16_modules_to_save_embed_tokens", "a16_modules_to_save_lm_head",
    "a18_embed_adapter_no_checkpoint", "a21_lora_on_lm_head_tied", "a21_lora_on_lm_head_untied",
    "a24_named_adapter_folder", "a35_lora_alpha_option_with_pattern", "b01_compiled_part",
    "b02_fsdp_names", "b04_lightning", "b05_lightning_namespace", "b06_nested_model",
    "b06_nested_module", "b06_nested_net", "b07_numpy_scalar", "b08_sharded_index",
    "b10_accelerate_one_file", "b12_float8", "b17_stale_bin", "b21_encoder_only_in_folder_shards",
    "c01_rope_linear", "c02_rope_dynamic", "c04_rope_yarn_mscale", "c06_rope_old_type_key",
    "c07_rope_none", "c08_rope_theta_absent", "c09_rope_parameters", "c11_attention_bias",
    "c12_mlp_bias", "c14_kv_absent", "c15_mqa", "c16_untied", "c17_vocab_padded", "c19_swish",
    "c20_pretraining_tp", "c21_eps", "c22_one_layer", "c23_partial_rotary", "e01_gelu",
    "e05_type_vocab", "e06_untied", "e07_checkpointing_flag", "e08_one_layer", "e09_gamma_beta",
    "e11_classifier", "e13_pretraining", "f03_suffix_mismatch", "f07_ensure_weight_tying",
    "f09_lora_on_encoder_adapter_alone", "f15_bf16_base",
)  # fmt: skip
# The same with options that the command lacks.
RIGHT: dict[str, dict[str, object]] = {name: {} for name in EXPORTED}
RIGHT |= {
    "a06_wrapped_rank_pattern_no_config": ALPHA,
    "a17_wrapped_modules_to_save_both": ALPHA,
    "a17_wrapped_modules_to_save_embed_tokens": ALPHA,
    "a17_wrapped_modules_to_save_lm_head": ALPHA,
    "a30_pissa_wrapped_no_config": ALPHA,
    "b11_perceiver_without_pe": HEADS | POSITIONS,
    "e14_perceiver_heads": {"perceiver_heads": 2},
}
# Decoders that were unknown when the cases were made: these hold no texts of the author's code.
OTHER_DECODERS = tuple(
    f"c26_decoder_{family}" for family in ("gemma2", "mistral", "phi3", "qwen2", "qwen3")
)
# What is refused, and words of the refusal.
REFUSED = {
    "a06_wrapped_rank_pattern_no_config": "rank 1/4/16, but no file says their alpha.*--lora-alpha",
    "a10_dora": "DoRA",
    "a17_wrapped_modules_to_save_both": "no file says their alpha",
    "a19_trainable_token_indices": "trainable_token_indices: single trained token rows",
    "a20_lora_on_embedding": "LoRA on an embedding",
    "a22_two_adapters_disjoint": "2 adapters: default, draft",
    "a23_two_adapters_same": "2 adapters: default, draft",
    "a25_other_base": "14 LoRA pairs cannot be merged",
    "a26_layer_replication": "layer_replication",
    "a28_lora_ga": "init_lora_weights is 'lora_ga'",
    "a29_olora": "init_lora_weights is 'olora'",
    "a30_pissa_wrapped_no_config": "no file says their alpha",
    "a32_alora": "activated LoRA",
    "a33_other_method_ADALORA": "peft_type is 'ADALORA'",
    "a33_other_method_IA3": "peft_type is 'IA3'",
    "a33_other_method_KASA": "KASA",
    "a33_other_method_LOHA": "peft_type is 'LOHA'",
    "a33_other_method_VERA": "peft_type is 'VERA'",
    "a34_vocabulary_resized": "set vocab_size to 328",
    "b11_perceiver_without_pe": "--perceiver-heads.*--perceiver-positions",
    "b13_float8_scaled": "quantization_config is 'fp8'",
    "b14_bnb4": "quantization_config is 'bitsandbytes'",
    "b15_bnb8": "quantization_config is 'bitsandbytes'",
    "b16_integer_weights": "down_proj.weight is int8",
    "b18_untied_in_tied_config": "differs from model.embed_tokens.*tie_word_embeddings to false",
    "b19_tie_absent": "lm_head.weight.*missing.*tie_word_embeddings to true",
    "b20_zero3_empty": "tensors are empty.*ZeRO-3",
    "c05_rope_longrope": "'longrope'",
    "c18_gelu": "activation is 'gelu'",
    "c24_layers_dropped": "model.layers.1.*has no place",
    "e02_gelu_new": "activation is 'gelu_new'",
    "e04_relative": "relative_key_query",
    "e14_perceiver_heads": "--perceiver-heads",
    "f04_gguf": "a GGUF file",
    "f05_whole_module": r"__main__.Cell2Text.*torch.save\(model.state_dict\(\)",
    "f06_merged_and_lora_kept": "no file says their alpha",
    "f12_lora_dropout_bias_key": "lora_bias",
    "g01_rope_llama3_incomplete": "rope_scaling.*low_freq_factor",
    "g02_rope_unknown": "rotary scheme is 'su'",
    "g03_act_unknown": "activation is 'swiglu'",
    "g04_bert_heads": "width 16 cannot have 3 attention heads",
    "g06_encoder_act_unknown": "activation is 'geglu'",
    "g07_rope_no_type": "rope_type",
    "g08_rope_linear_no_factor": "rope_scaling.*factor",
    "g10_mlp_two_linears": "lacks its second Linear",
    "g11_config_of_llama4": "model_type is 'llama4_text'",
    "g12_nan": "NaN or infinite values: decoder.model.norm.weight",
    "g13_truncated": "damaged or was cut short",
    "g14_lfs_pointer": "Git LFS pointer",
}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all checkpoints, made by one other process: it parts many times."""
    if not GENERATORS.is_dir():
        pytest.skip(f"no shared cases at {GENERATORS} (set C2T_SHARED_CASES to their folder)")
    folder = tmp_path_factory.mktemp("field")
    names = sorted({*RIGHT, *REFUSED, *OTHER_DECODERS})
    there = [name for name in names if (GENERATORS / f"{name}.py").is_file()]
    command = [sys.executable, field_checkpoints.__file__, str(GENERATORS), str(folder), *there]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    return folder


def case(made: Path, name: str) -> field_checkpoints.FieldCheckpoint:
    if not (made / name / "expected.json").is_file():
        pytest.skip(f"the shared case {name} could not be made here")
    return read_field_checkpoint(made / name)


@pytest.mark.parametrize("name", RIGHT)
def test_exported_as_it_was_trained(made: Path, tmp_path: Path, name: str) -> None:
    field = case(made, name)
    assert field.tokens is not None
    assert field.logits is not None
    output = tmp_path / "bundle"
    checkpoint = CheckpointOptions(**(field.args | RIGHT[name]))
    export_bundle(ExportOptions(output=output, checkpoint=checkpoint, golden_cells=1))
    for cell, expected in zip(field.cells, field.logits, strict=True):
        np.testing.assert_allclose(bundle_logits(output, cell), expected, rtol=0, atol=1e-4)
    describer = Describer(open_bundle(output, verify=False), DescribeOptions())
    described = describer.describe([EncodedCells.of_tokens(field.cells)])
    assert [list(cell.tokens) for cell in described] == field.tokens
    shutil.rmtree(output)


@pytest.mark.parametrize("name", OTHER_DECODERS)
def test_decoders_of_other_families_write_what_pytorch_writes(
    made: Path, tmp_path: Path, name: str
) -> None:
    field = case(made, name)
    output = tmp_path / "bundle"
    bundle = export_bundle(
        ExportOptions(output=output, checkpoint=CheckpointOptions(**field.args), golden_cells=3)
    )
    golden = bundle.golden.cells  # PyTorch's own texts
    cells = EncodedCells.of_tokens([cell.gene_tokens for cell in golden])
    described = list(Describer(bundle, DescribeOptions()).describe([cells]))
    assert [cell.tokens for cell in described] == [cell.token_ids for cell in golden]
    assert any(len(set(cell.token_ids)) > 1 for cell in golden)
    shutil.rmtree(output)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(made: Path, tmp_path: Path, name: str) -> None:
    field = case(made, name)
    output = tmp_path / "bundle"
    with pytest.raises(CheckpointError, match=f"(?s){REFUSED[name]}") as caught:
        export_bundle(ExportOptions(output=output, checkpoint=CheckpointOptions(**field.args)))
    words = f"{caught.value.problem}\n{caught.value.hint}"
    assert caught.value.hint
    assert "\x1b" not in words
    assert "weights_only" not in words
    assert not any(tmp_path.iterdir())
