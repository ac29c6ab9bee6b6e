"""Fields of config.json: translated, read, without effect, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_models import tiny_geneformer, tiny_llama

from c2t.export.checkpoint.configs import read_decoder_config, read_encoder_config
from c2t.runtime.system.errors import CheckpointError


def written(folder: Path, model, drop=(), **changes) -> Path:
    fields = model.config.to_dict()
    fields = {name: value for name, value in fields.items() if name not in drop} | changes
    (folder / "config.json").write_text(json.dumps(fields))
    return folder


def decoder(folder: Path, drop=(), **changes):
    return read_decoder_config(written(folder, tiny_llama(), drop, **changes))


def test_rope_parameters_of_transformers_5(tmp_path: Path) -> None:
    before = tiny_llama().config
    rope = {"rope_theta": 500000.0, **before.rope_scaling}
    config = decoder(tmp_path, ("rope_theta", "rope_scaling"), rope_parameters=rope)
    assert config.rope_theta == before.rope_theta
    assert config.rope_scaling == before.rope_scaling
    rope = {"rope_theta": 77.0, "rope_type": "default"}
    config = decoder(tmp_path, ("rope_theta", "rope_scaling"), rope_parameters=rope)
    assert (config.rope_theta, config.rope_scaling) == (77.0, None)


@pytest.mark.parametrize(
    ("rope", "match"),
    [
        ({"rope_type": "default"}, "names no rope_theta"),
        ({"full_attention": {"rope_theta": 1.0}}, "not one set of numbers"),
        ({"rope_theta": 5.0, "rope_type": "default"}, "but rope_parameters says 5.0"),
        ({"rope_theta": 500000.0, "rope_type": "su", "factor": 2.0}, "su"),
        (
            {"rope_theta": 500000.0, "rope_type": "linear", "factor": 2.0, "other": 3},
            "rope_scaling|other",
        ),
    ],
)
def test_rope_parameters_that_cannot_be_read(tmp_path: Path, rope, match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        decoder(tmp_path, rope_parameters=rope)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"sliding_window": 64}, "sliding_window is 64, which c2t does not read"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "is 'bitsandbytes'"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ({"auto_map": {"AutoModel": "own.Own"}}, "auto_map"),
        ({"num_key_value_heads": 3}, "4 attention heads cannot share 3"),
        ({"head_dim": 5}, "heads have 5 numbers"),
        ({"head_dim": 0}, "head_dim is 0"),
        ({"hidden_size": "24"}, "hidden_size|24"),
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"intermediate_size": 1 << 31}, "intermediate_size is 2147483648"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers is 1000000"),
        ({"hidden_act": "swiglu"}, "'swiglu'"),
        ({"rope_theta": 0.0}, "rope_theta is 0.0"),
        ({"rope_scaling": ["linear"]}, "rope_scaling"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small'"),
        ({"rope_scaling": {"rope_type": "linear", "factor": -1.0}}, "factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0, "to_come": 1}}, "to_come"),
    ],
)
def test_a_decoder_that_would_compute_something_else(tmp_path: Path, changes, match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        decoder(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"sliding_window": None, "use_qk_norm": False},
        {"partial_rotary_factor": 1.0, "unsloth_version": "2026.1"},
        {"hidden_act": "swish"},
        {"dtype": "float32x", "initializer_range": -1.0, "pad_token_id": 10**6},
        {"return_dict": False, "torchscript": True, "chunk_size_feed_forward": 7},
        {"_attn_implementation": "flash_attention_2", "gradient_checkpointing": True},
    ],
)
def test_fields_without_effect(tmp_path: Path, changes) -> None:
    config = decoder(tmp_path, **changes)
    assert config.return_dict
    assert not config.torchscript


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"num_attention_heads": 3}, "width 16 cannot have 3 attention heads"),
        ({"hidden_act": "geglu"}, "'geglu'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "is 'fp8'"),
        ({"pruned_heads": {"1": [0]}}, "pruned_heads"),
    ],
)
def test_an_encoder_that_would_compute_something_else(tmp_path: Path, changes, match: str) -> None:
    folder = written(tmp_path, tiny_geneformer(), **changes)
    with pytest.raises(CheckpointError, match=match):
        read_encoder_config(folder)
