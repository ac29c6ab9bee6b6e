from dataclasses import replace

import pytest
import torch
from tokenizers import Tokenizer

from c2t.export.checkpoint.open import load_checkpoint
from c2t.export.checkpoint.options import PresetOptions
from c2t.export.checkpoint.preset import (
    synthetic_genes,
    synthetic_tokenizer,
)
from c2t.export.decoders.families import PRESETS as DECODERS
from c2t.export.encoders.families import PRESETS as ENCODERS
from c2t.runtime.system.errors import CheckpointError

TINY = "llama-tiny+geneformer-tiny"


@pytest.mark.parametrize("projector", ["mlp", "perceiver"])
def test_tiny_preset_runs_and_is_reproducible(projector):
    options = PresetOptions(preset=TINY, projector=projector, top_k=16)
    loaded, again = load_checkpoint(options), load_checkpoint(options)
    other = load_checkpoint(replace(options, seed=1))
    cell = torch.tensor([2, *range(10, 40), 3])
    generation = replace(loaded.generation, max_new_tokens=5)
    tokens = loaded.model.generate(cell, loaded.prompt, generation)
    assert tokens == again.model.generate(cell, again.prompt, generation)
    assert len(tokens) <= 5
    for (name, one), two, three in zip(
        loaded.model.state_dict().items(),
        again.model.state_dict().values(),
        other.model.state_dict().values(),
        strict=True,
    ):
        assert one.dtype == torch.float32
        assert torch.equal(one, two), name
        assert one.dim() == 1 or name.endswith(".pe") or not torch.equal(one, three), name
    assert loaded.random_weights
    assert loaded.prompt.date == "26 Jul 2024"


def test_rows_of_a_random_matrix_differ():
    table = load_checkpoint(PresetOptions(preset=TINY)).model.decoder.get_input_embeddings().weight
    assert len(torch.unique(table, dim=0)) == len(table)
    assert 0.015 < table.std() < 0.025


def test_tokenizer_of_real_size_has_the_special_tokens_where_llama_3_has_them():
    tokenizer = synthetic_tokenizer(128256)
    assert len(tokenizer) == 128256
    places = {
        "<|begin_of_text|>": 128000,
        "<|reserved_special_token_1|>": 128003,
        "<|start_header_id|>": 128006,
        "<|eot_id|>": 128009,
    }
    assert tokenizer.convert_tokens_to_ids(list(places)) == list(places.values())
    plain = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    text = "T cell, naïve 25 %"
    assert plain.decode(plain.encode(text).ids) == text


@pytest.mark.parametrize("name", ENCODERS)
def test_synthetic_genes_fill_the_vocabulary(name):
    rows, special = ENCODERS[name].config().vocab_size, ENCODERS[name].special_tokens
    genes = synthetic_genes(rows, special)
    assert len(genes.token) == rows - special
    assert genes.token[0] == special
    assert genes.token[-1] == rows - 1
    assert (genes.cls_token is None) == (special == 2)
    assert list(genes.alias) == sorted(genes.alias)
    assert (genes.median > 0).all()


def test_names():
    assert "llama-3.2-1b" in DECODERS
    assert "geneformer-v2-104m" in ENCODERS
    with pytest.raises(CheckpointError, match=r"no preset 'llama-9\+x'"):
        load_checkpoint(PresetOptions(preset="llama-9+x"))
