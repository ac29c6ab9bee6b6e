"""What a checkpoint's files say of generation is taken, refused by name, or left out in words."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_models import tiny_tokenizer

from c2t.export.checkpoint.options import CheckpointOptions
from c2t.export.checkpoint.text.generation import read_generation
from c2t.runtime.bundle.manifest import Generation
from c2t.runtime.system.errors import CheckpointError

Read = Callable[..., Generation]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads what files of a checkpoint say."""

    def read_files(
        said: dict[str, Any] | None,
        *,
        config: dict[str, Any] | None = None,
        reference: dict[str, Any] | None = None,
        **options: Any,
    ) -> Generation:
        llama = tmp_path / "llama"
        llama.mkdir()
        if said is not None:
            said = {"eos_token_id": [1, 6]} | said
            (llama / "generation_config.json").write_text(json.dumps(said))
        (llama / "config.json").write_text(json.dumps({"eos_token_id": 6} | (config or {})))
        if reference is not None:
            kind = {"projector": "mlp", "decoder_hidden_size": 24, "top_k": 8}
            (tmp_path / "config.json").write_text(json.dumps(kind | reference))
        checkpoint = CheckpointOptions(checkpoint=tmp_path / "model.pt", **options)
        return read_generation(checkpoint, llama, tiny_tokenizer())

    return read_files


CHANGES_TEXTS = [
    ("encoder_repetition_penalty", 1.2),
    ("encoder_no_repeat_ngram_size", 3),
    ("suppress_tokens", [7, 8]),
    ("begin_suppress_tokens", [7]),
    ("bad_words_ids", [[7]]),
    ("sequence_bias", [[[7], -2.0]]),
    ("forced_bos_token_id", 0),
    ("forced_eos_token_id", 6),
    ("min_length", 5),
    ("min_new_tokens", 5),
    ("exponential_decay_length_penalty", [2, 3.0]),
    ("guidance_scale", 1.5),
    ("max_time", 2.0),
    ("num_beam_groups", 2),
    ("diversity_penalty", 0.5),
    ("penalty_alpha", 0.6),
    ("dola_layers", "high"),
    ("renormalize_logits", True),
    ("watermarking_config", {"bias": 2.5}),
    ("token_healing", True),
    ("cache_implementation", "quantized"),
]


@pytest.mark.parametrize(("name", "value"), CHANGES_TEXTS)
def test_what_the_runtime_does_not_have_is_refused_by_name(
    read: Read, name: str, value: object
) -> None:
    with pytest.raises(CheckpointError, match=f"generation_config.json .*{name}") as caught:
        read({name: value})
    assert "--ignore-generation-config" in caught.value.hint


@pytest.mark.parametrize(("name", "value"), CHANGES_TEXTS)
def test_it_is_left_out_knowingly(read: Read, name: str, value: object) -> None:
    with pytest.warns(UserWarning, match=f"left out as asked .*{name}"):
        generation = read({name: value}, ignore_generation_config=True)
    assert generation == Generation(no_repeat_ngram_size=3, eos_token_ids=(1, 6))


def test_defaults_of_transformers_change_nothing(read: Read) -> None:
    said = {
        "repetition_penalty": 1.0, "suppress_tokens": None, "bad_words_ids": [], "min_length": 0,
        "max_length": 20, "do_sample": False, "temperature": 0.6, "top_k": 50, "num_beams": 1,
        "no_repeat_ngram_size": 0, "early_stopping": False, "length_penalty": 1.0,
        "renormalize_logits": False, "use_cache": True, "pad_token_id": 2, "bos_token_id": 0,
        "transformers_version": "5.0.0", "_from_model_config": True, "guidance_scale": 1.0,
        "cache_implementation": "static",
    }  # fmt: skip
    assert read(said) == Generation(no_repeat_ngram_size=3, eos_token_ids=(1, 6))


def test_what_the_runtime_has_is_taken(read: Read) -> None:
    generation = read({"num_beams": 4, "length_penalty": 2, "early_stopping": "never"})
    assert generation.num_beams == 4
    assert generation.length_penalty == 2.0
    assert generation.early_stopping == "never"


def test_beams_of_transformers_go_on_searching_unless_the_file_stops_them(read: Read) -> None:
    assert read({"num_beams": 4}).early_stopping is False


def test_without_generation_config_the_config_counts(read: Read) -> None:
    assert read(None, config={"num_beams": 3}).num_beams == 3


def test_without_generation_config_the_config_can_be_refused(read: Read) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json .*guidance_scale 1\.3"):
        read(None, config={"guidance_scale": 1.3})


def test_sampling_is_said(read: Read) -> None:
    with pytest.warns(UserWarning, match=r"do_sample True, temperature 0\.6.*most probable"):
        assert read({"do_sample": True, "temperature": 0.6}).num_beams == 1


def test_unknown_settings_are_said(read: Read) -> None:
    with pytest.warns(UserWarning, match="left out: chat_format"):
        read({"chat_format": "x"})


def test_options_win_and_that_is_said(read: Read) -> None:
    with pytest.warns(UserWarning, match=r"says num_beams 4; the options win: num_beams 1"):
        assert read({"num_beams": 4}, num_beams=1).num_beams == 1


def test_options_of_beams(read: Read) -> None:
    generation = read({}, num_beams=2, early_stopping="never", length_penalty=0.5)
    assert (generation.early_stopping, generation.length_penalty) == ("never", 0.5)


def test_an_option_of_another_word(read: Read) -> None:
    with pytest.raises(CheckpointError, match="--early-stopping is 'often'"):
        read({}, early_stopping="often")


@pytest.mark.parametrize(
    ("name", "value", "usual"), [("no_repeat_ngram_size", 2, 3), ("max_new_tokens", 50, 100)]
)
def test_what_the_reference_would_pass_itself_is_asked(
    read: Read, name: str, value: int, usual: int
) -> None:
    with pytest.raises(CheckpointError, match=f"says {name} {value}, where .* {usual}") as caught:
        read({name: value})
    assert f"--{name.replace('_', '-')} {value}" in caught.value.hint


def test_the_references_own_config_wins_over_the_decoders(read: Read) -> None:
    reference = {"num_beams": 4, "early_stopping": True, "max_length": 77}
    generation = read(
        {"num_beams": 2, "early_stopping": False, "max_new_tokens": 9}, reference=reference
    )
    assert (generation.num_beams, generation.max_new_tokens) == (4, 77)
    assert generation.early_stopping is True


def test_the_references_own_config_can_say_greedy(read: Read) -> None:
    reference = {"num_beams": 1, "no_repeat_ngram_size": 0, "temperature": 1.0, "top_p": 1.0}
    generation = read({"num_beams": 2}, reference=reference)
    assert (generation.num_beams, generation.no_repeat_ngram_size) == (1, 0)


def test_the_references_own_config_can_be_refused(read: Read) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json .*min_length"):
        read({}, reference={"min_length": 2})


@pytest.mark.parametrize("stops", [["</answer>"], "</answer>"])
def test_penalty_and_stop_strings_are_taken(read: Read, stops: object) -> None:
    generation = read({"repetition_penalty": 1.2, "stop_strings": stops})
    assert generation.repetition_penalty == 1.2
    assert generation.stop_strings == ("</answer>",)


def test_options_win_over_penalty_and_stop_strings(read: Read) -> None:
    with pytest.warns(UserWarning, match=r"repetition_penalty 1\.2.*the options win"):
        generation = read(
            {"repetition_penalty": 1.2}, repetition_penalty=1.1, stop_strings=["\n", "END"]
        )
    assert generation.repetition_penalty == 1.1
    assert generation.stop_strings == ("\n", "END")


@pytest.mark.parametrize(
    "said",
    [
        {"num_beams": "four"},
        {"early_stopping": "sometimes"},
        {"length_penalty": [1]},
        {"eos_token_id": "x"},
        {"eos_token_id": [True]},
    ],
)
def test_values_of_another_type(read: Read, said: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match=r"generation_config\.json"):
        read(said)


def test_an_empty_list_of_end_tokens_names_none(read: Read) -> None:
    assert read({"eos_token_id": []}).eos_token_ids == (6,)


def test_another_file_beside_the_checkpoint(read: Read, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [6, 1], "num_beams": 4}')
    with pytest.raises(CheckpointError, match=r"num_beams 4, .* but .*llama") as caught:
        read({})
    assert "copy the one" in caught.value.hint


def test_the_same_file_beside_the_checkpoint(read: Read, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [6, 1], "num_beams": 4}')
    assert read({"num_beams": 4}).num_beams == 4


def test_nothing_is_said_of_a_plain_file(read: Read) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read({}).eos_token_ids == (1, 6)
