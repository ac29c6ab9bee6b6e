"""How strongly an adapter is added is read from what its run left, as PEFT does, or asked."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from reference_checkpoints import (
    LORA_MODULES,
    MERGED,
    MLP,
    load,
    logits,
    save_adapter,
    trained,
    with_lora,
)
from safetensors.torch import load_file, save_file
from tiny_models import ReferenceLayout, tiny_llama, write_base_folders

from c2t.export.checkpoint.tensors.adapter_config import find_scale
from c2t.runtime.system.errors import CheckpointError

ALPHA = 12  # not twice the rank


def wrapped_decoder(tmp_path: Path, **options):
    """A full save whose decoder alone was wrapped, as the reference's scripts leave it."""
    original = trained(MLP)
    layout = ReferenceLayout(original)
    layout.decoder = with_lora(layout.decoder, **{"lora_alpha": ALPHA} | options)
    run = tmp_path / "run"
    run.mkdir()
    return original, layout, run, write_base_folders(tmp_path)


@pytest.mark.parametrize("name", ["adapter", "best_decoder_lora", "lora_config.json"])
def test_alpha_from_the_folder_of_the_run(tmp_path: Path, name: str) -> None:
    original, layout, run, folders = wrapped_decoder(tmp_path)
    expected = logits(original, MLP)
    torch.save(layout.state_dict(), run / "pytorch_model.bin")
    if name == "lora_config.json":
        config = {
            "peft_type": "PeftType.LORA",
            "r": 4,
            "lora_alpha": ALPHA,
            "applies_to": "decoder",
        }
        (run / name).write_text(json.dumps(config | {"target_modules": LORA_MODULES}))
    else:
        save_adapter(layout.decoder, run / name)
    loaded = load(folders, MLP, checkpoint=run / "pytorch_model.bin")
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)
    assert f"rank 4, alpha {ALPHA}" in loaded.layout


@pytest.mark.parametrize(
    "arguments",
    [
        {"lora_r_decoder": 4, "lora_alpha_decoder": ALPHA, "lora_target_modules_decoder": ["q"]},
        argparse.Namespace(lora_r=4, lora_alpha=ALPHA),
    ],
)
def test_alpha_from_inside_the_file(tmp_path: Path, arguments) -> None:
    original, layout, run, folders = wrapped_decoder(tmp_path)
    expected = logits(original, MLP)
    inside = {"use_lora_decoder": True, "lora_args": arguments}
    torch.save({"model_state_dict": layout.state_dict(), "lora_config": inside}, run / "best.pt")
    loaded = load(folders, MLP, checkpoint=run / "best.pt")
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)


def test_alpha_that_nothing_states_is_asked_for(tmp_path: Path) -> None:
    original, layout, run, folders = wrapped_decoder(tmp_path, rank_pattern={"q_proj": 2})
    expected = logits(original, MLP)
    torch.save(layout.state_dict(), run / "best.pt")
    with pytest.raises(CheckpointError, match="rank 2/4, but no file says their alpha") as caught:
        load(folders, MLP, checkpoint=run / "best.pt")
    assert "--lora-alpha" in caught.value.hint
    loaded = load(folders, MLP, checkpoint=run / "best.pt", lora_alpha=ALPHA)
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)
    inside = {"lora_config": {"use_lora_decoder": True}}
    with pytest.raises(CheckpointError, match="states no alpha"):
        find_scale(run / "best.pt", inside, base_in_checkpoint=True)


def test_two_files_that_state_another_alpha(tmp_path: Path) -> None:
    for name, alpha in (("adapter_config.json", 8), ("lora_config.json", 16)):
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": alpha}
        (tmp_path / name).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"alpha is 8 in .*, but 16 in"):
        find_scale(tmp_path / "best.pt", {}, base_in_checkpoint=True)


PATTERNS = [
    {"decoder.llama.model.layers.0.self_attn.v_proj": 64},
    {"^decoder.llama.model.layers.0.self_attn.v_proj": 64},
    {"v_proj": 64},
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("option", [None, 8.0])
def test_patterns_match_the_names_that_peft_saw(tmp_path: Path, pattern, option) -> None:
    original = trained(MLP)
    layout = ReferenceLayout(original)
    torch.save({k: v.clone() for k, v in layout.state_dict().items()}, tmp_path / "base.pt")
    adapted = with_lora(layout, alpha_pattern=pattern)
    folder = save_adapter(adapted, tmp_path / "adapter")
    expected = logits(original, MLP)
    options = {"checkpoint": tmp_path / "base.pt", "adapter": folder, "lora_alpha": option}
    loaded = load(write_base_folders(tmp_path), MLP, **options)
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["alpha_pattern"] = {"^llama.model.layers.0.self_attn.v_proj": 64}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="alpha_pattern matches no module"):
        load(write_base_folders(tmp_path / "again"), MLP, **options)


def test_checkpoint_and_adapter_of_one_run(tmp_path: Path) -> None:
    """The reference's evaluation takes both; the pairs are then in each of them."""
    original, layout, run, folders = wrapped_decoder(tmp_path)
    expected = logits(original, MLP)
    torch.save(layout.state_dict(), run / "pytorch_model.bin")
    adapter = save_adapter(layout.decoder, run / "adapter")
    loaded = load(folders, MLP, checkpoint=run / "pytorch_model.bin", adapter=adapter)
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)


@pytest.mark.parametrize("places", [["one"], ["one", "two"]])
def test_an_adapter_in_a_subfolder_of_its_name(tmp_path: Path, places: list[str]) -> None:
    original, layout, run, folders = wrapped_decoder(tmp_path)
    expected = logits(original, MLP)
    state = {k: v for k, v in layout.state_dict().items() if "decoder" not in k}
    torch.save(state, run / "base.pt")
    original.decoder.config.save_pretrained(folders["llama"])
    base = trained(MLP).decoder
    base.save_pretrained(folders["llama"])
    for place in places:
        save_adapter(layout.decoder, tmp_path / "adapter" / place)
    options = {"checkpoint": run / "base.pt", "adapter": tmp_path / "adapter"}
    if len(places) == 2:
        with pytest.raises(CheckpointError, match="holds 2 adapters: one, two"):
            load(folders, MLP, **options)
        return
    loaded = load(folders, MLP, **options)
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)
    assert "adapter one" in loaded.layout


def test_an_adapter_of_the_decoder_itself(tmp_path: Path) -> None:
    original = trained(MLP)
    layout = ReferenceLayout(original)
    torch.save({k: v.clone() for k, v in layout.state_dict().items()}, tmp_path / "base.pt")
    adapted = with_lora(original.decoder)
    folder = save_adapter(adapted, tmp_path / "adapter")
    expected = logits(original, MLP)
    loaded = load(
        write_base_folders(tmp_path), MLP, checkpoint=tmp_path / "base.pt", adapter=folder
    )
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)


TABLES = [["embed_tokens"], ["lm_head"], ["embed_tokens", "lm_head"]]


@pytest.mark.parametrize("tables", TABLES)
@pytest.mark.parametrize("base", ["full", "folder", "wrapped", "wrapped, shared tensors once"])
def test_tied_tables_that_were_trained_apart(tmp_path: Path, tables: list[str], base: str) -> None:
    original = trained(MLP)
    layout = ReferenceLayout(original)
    state = {k: v.clone() for k, v in layout.state_dict().items()}
    folders = write_base_folders(tmp_path)
    trained(MLP).decoder.save_pretrained(folders["llama"])  # tied tables once
    adapted = with_lora(layout, modules_to_save=tables)
    options: dict[str, object] = {"checkpoint": tmp_path / "c.pt"}
    if base.startswith("wrapped"):
        state = adapted.state_dict()
        if base != "wrapped":
            places: dict[int, str] = {}
            for name, tensor in state.items():
                places.setdefault(tensor.data_ptr(), name)
            state = {name: state[name] for name in places.values()}
        options |= {"lora_alpha": 8}
    else:
        options["adapter"] = save_adapter(adapted, tmp_path / "adapter")
        kept = "projection" if base == "folder" else ""
        state = {name: tensor for name, tensor in state.items() if kept in name}
        if base == "folder":
            encoder = trained(MLP).encoder
            encoder.save_pretrained(folders["geneformer"])
    torch.save(state, tmp_path / "c.pt")
    expected = logits(original, MLP)
    loaded = load(folders, MLP, **options)
    torch.testing.assert_close(logits(loaded.model, MLP), expected, **MERGED)
    decoder = loaded.model.decoder
    assert not torch.equal(decoder.lm_head.weight, decoder.model.embed_tokens.weight)
    assert not decoder.config.tie_word_embeddings


def test_lora_on_a_tied_output_table_unties_it(tmp_path: Path) -> None:
    original = trained(MLP)
    layout = ReferenceLayout(original)
    torch.save({k: v.clone() for k, v in layout.state_dict().items()}, tmp_path / "base.pt")
    table = original.decoder.model.embed_tokens.weight.clone()
    pair = {"A": torch.randn(4, 24), "B": torch.randn(len(table), 4)}
    name = "base_model.model.decoder.llama.lm_head.lora_{}.weight"
    (tmp_path / "adapter").mkdir()
    torch.save(
        {name.format(side): tensor for side, tensor in pair.items()},
        tmp_path / "adapter" / "adapter_model.bin",
    )
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["lm_head"]}
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    options = {"checkpoint": tmp_path / "base.pt", "adapter": tmp_path / "adapter"}
    decoder = load(write_base_folders(tmp_path), MLP, **options).model.decoder
    assert torch.equal(decoder.model.embed_tokens.weight, table)
    torch.testing.assert_close(decoder.lm_head.weight, table + 2 * pair["B"] @ pair["A"])


def test_a_resized_vocabulary_names_the_field_to_set(tmp_path: Path) -> None:
    layout = ReferenceLayout(trained(MLP))
    state = {k: v.clone() for k, v in layout.state_dict().items() if "decoder" not in k}
    torch.save(state, tmp_path / "base.pt")
    folder = save_adapter(with_lora(layout), tmp_path / "adapter")
    rows = tiny_llama().config.vocab_size + 8
    path = folder / "adapter_model.safetensors"
    table = {"base_model.model.decoder.llama.model.embed_tokens.weight": torch.ones(rows, 24)}
    save_file(load_file(path) | table, path)
    options = {"checkpoint": tmp_path / "base.pt", "adapter": folder}
    with pytest.raises(CheckpointError) as caught:
        load(write_base_folders(tmp_path), MLP, **options)
    assert f"set vocab_size to {rows}" in caught.value.hint
