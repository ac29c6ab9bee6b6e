import pytest
import torch
from tiny_models import TinySizes, tiny_geneformer, tiny_llama

from c2t.export.checkpoint.tensors.assembly import build_part
from c2t.export.decoders.families import decoder_family
from c2t.export.encoders.families import encoder_family
from c2t.runtime.system.errors import CheckpointError

TIED, UNTIED = TinySizes(), TinySizes(tied=False)


def build_llama(config, tensors):
    return build_part(decoder_family("llama"), config, tensors, part="decoder")


def build_geneformer(config, tensors):
    return build_part(encoder_family("bert"), config, tensors, part="encoder")


def llama_logits(model):
    return model(torch.arange(9)[None]).logits


def test_weights_are_used_where_they_lie():
    original = tiny_llama()
    state = original.state_dict()
    model = build_llama(original.config, state)
    assert torch.equal(llama_logits(model), llama_logits(original))
    places = {tensor.data_ptr() for tensor in state.values()}
    assert all(parameter.data_ptr() in places for parameter in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("change", ["absent", "equal copy", "first absent"])
def test_tied_output_table_may_be_stored_in_any_way(change):
    original = tiny_llama()
    state = original.state_dict()
    if change == "absent":
        del state["lm_head.weight"]
    elif change == "first absent":
        del state["model.embed_tokens.weight"]
    else:
        state["lm_head.weight"] = state["lm_head.weight"].clone()
    assert torch.equal(llama_logits(build_llama(original.config, state)), llama_logits(original))


def test_tied_output_table_that_differs_is_an_error():
    original = tiny_llama()
    state = original.state_dict() | {
        "lm_head.weight": torch.zeros(len(tiny_llama().lm_head.weight), 24)
    }
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: differs from model\.embed"):
        build_llama(original.config, state)


def test_untied_output_table():
    original = tiny_llama(UNTIED)
    state = original.state_dict()
    model = build_llama(original.config, state)
    assert torch.equal(llama_logits(model), llama_logits(original))
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr()
    del state["lm_head.weight"]
    with pytest.raises(CheckpointError, match=r"lm_head.weight \[\d+, 24\]: missing"):
        build_llama(original.config, state)


def test_buffers_and_poolers_of_other_saves_are_tolerated():
    original = tiny_geneformer()
    state = original.state_dict() | {
        name: torch.zeros(1) for name in encoder_family("bert").tolerated
    }
    model = build_geneformer(original.config, state)
    cell = torch.arange(4, 20)[None]
    assert torch.equal(model(cell).logits, original(cell).logits)
    llama = tiny_llama()
    rotary = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(3)}
    assert torch.equal(
        llama_logits(build_llama(llama.config, llama.state_dict() | rotary)), llama_logits(llama)
    )


def test_encoder_with_its_second_names_stored():
    original = tiny_geneformer()
    state = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    assert "cls.predictions.decoder.bias" in state
    cell = torch.arange(4, 20)[None]
    expected = original(cell).logits
    assert torch.equal(build_geneformer(original.config, state)(cell).logits, expected)
    for name in ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias"):
        del state[name]
    assert torch.equal(build_geneformer(original.config, state)(cell).logits, expected)


@pytest.mark.parametrize("kind", ["old names", "base model alone", "classifier", "no head"])
def test_encoders_saved_otherwise_give_the_same_hidden_states(kind):
    original = tiny_geneformer()
    state = dict(original.state_dict())
    bert = {name: tensor for name, tensor in state.items() if name.startswith("bert.")}
    if kind == "old names":
        state = {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): tensor
            for name, tensor in state.items()
        }
    elif kind == "base model alone":
        state = {name.removeprefix("bert."): tensor for name, tensor in bert.items()}
    elif kind == "classifier":
        state = bert | {"classifier.weight": torch.ones(2, 16), "classifier.bias": torch.ones(2)}
    else:
        state = bert
    named = encoder_family("bert").named_as_in_module(state)
    model = build_geneformer(original.config, named)
    cell = torch.arange(4, 20)[None]
    expected = original.bert(cell).last_hidden_state
    assert torch.equal(model.bert(cell).last_hidden_state, expected)


def test_a_decoder_saved_as_its_base_model():
    original = tiny_llama()
    state = {
        name.removeprefix("model."): tensor
        for name, tensor in original.state_dict().items()
        if name.startswith("model.")
    }
    model = build_llama(original.config, decoder_family("llama").named_as_in_module(state))
    assert torch.equal(llama_logits(model), llama_logits(original))


@pytest.mark.parametrize(
    ("sizes", "change", "hint"),
    [
        (UNTIED, "absent", "tie_word_embeddings to true"),
        (TIED, "differs", "tie_word_embeddings to false"),
        (TIED, "longer", "set vocab_size to 7"),
    ],
)
def test_hints_about_tables(sizes, change, hint):
    original = tiny_llama(sizes)
    state = dict(original.state_dict())
    if change == "absent":
        del state["lm_head.weight"]
    elif change == "differs":
        state["lm_head.weight"] = state["lm_head.weight"] + 1
    else:
        del state["lm_head.weight"]
        state["model.embed_tokens.weight"] = torch.ones(7, 24)
    with pytest.raises(CheckpointError) as caught:
        build_llama(original.config, state)
    assert hint in caught.value.hint
