"""A checkpoint that could never write a text is refused before anything is exported."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny_models import TinySizes, tiny_checkpoint

from c2t.export.checkpoint.check import check_outline, check_projector, check_weights
from c2t.export.model.loaded_checkpoint import CheckpointOutline
from c2t.runtime.system.errors import CheckpointError


def outline_of(loaded, *, top_k=8, emb_layer=-1, projector=True, **changes):
    generation = replace(loaded.settings.generation, max_new_tokens=8)
    generation = replace(generation, **changes)
    model = loaded.model
    return CheckpointOutline(
        encoder=model.encoder.config,
        decoder=model.decoder.config,
        projector=model.projector.config if projector else None,
        genes=loaded.genes,
        tokenizer=loaded.tokenizer,
        tokenizer_json=loaded.tokenizer_json,
        prompt=loaded.prompt,
        settings=replace(loaded.settings, generation=generation),
        emb_layer=emb_layer,
        top_k=top_k,
        read_weights=lambda _: pytest.fail("the weights were read"),
    )


def test_a_usual_checkpoint_passes():
    loaded = tiny_checkpoint()
    check_outline(outline_of(loaded))
    check_weights(loaded.model)


@pytest.mark.parametrize(
    ("changes", "match", "hint"),
    [
        ({"max_new_tokens": 100_000}, "100000 new tokens", "--max-new-tokens"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0", "--max-new-tokens"),
        ({"num_beams": 0}, "num_beams is 0", "--num-beams"),
        ({"no_repeat_ngram_size": -1}, "no_repeat_ngram_size is -1", "--no-repeat-ngram-size"),
        ({"top_k": 0}, "top_k is 0", "--top-k"),
        ({"top_k": 250}, "250 cell vectors", "--top-k"),
        ({"emb_layer": 1}, "emb_layer is 1", "-1"),
        ({"emb_layer": -4}, "emb_layer is -4", "-1"),
    ],
)
def test_settings_that_no_text_can_be_written_with(changes, match, hint):
    with pytest.raises(CheckpointError, match=match) as caught:
        check_outline(outline_of(tiny_checkpoint(), **changes))
    assert hint in caught.value.hint


def test_cell_vectors_that_only_the_weights_show_are_counted_with_them():
    loaded = tiny_checkpoint(TinySizes(projector="perceiver", num_latents=200))
    outline = outline_of(loaded, projector=False)
    check_outline(outline)
    with pytest.raises(CheckpointError, match="200 cell vectors"):
        check_projector(outline, loaded.model.projector.config)
    with pytest.raises(CheckpointError, match="200 cell vectors"):
        check_outline(outline_of(loaded))


def test_a_projector_of_other_sizes():
    wide = tiny_checkpoint(TinySizes(encoder_width=32)).model.projector.config
    with pytest.raises(CheckpointError, match="maps width 32 to 24, but the encoder is 16"):
        check_projector(outline_of(tiny_checkpoint()), wide)


def test_tokens_without_a_row_in_their_table():
    loaded = tiny_checkpoint()
    outline = outline_of(loaded)
    more = replace(loaded.prompt, suffix_ids=(*loaded.prompt.suffix_ids, 5000))
    with pytest.raises(CheckpointError, match=r"text token 5000, .* has 320 rows") as caught:
        check_outline(replace(outline, prompt=more))
    assert "tokenizer" in caught.value.hint
    genes = tiny_checkpoint(TinySizes(genes=90)).genes
    with pytest.raises(CheckpointError, match=r"gene token 93, .* has 64 rows"):
        check_outline(replace(outline, genes=genes))


@pytest.mark.parametrize("end", [320, -1])
def test_end_tokens_without_a_row(end):
    outline = outline_of(tiny_checkpoint(), eos_token_ids=(1, end))
    with pytest.raises(CheckpointError, match=rf"eos_token_id\) is text token {end}\b") as caught:
        check_outline(outline)
    assert "generation_config.json" in caught.value.hint


def test_a_placeholder_without_a_row():
    loaded = tiny_checkpoint()
    prompt = replace(loaded.prompt, placeholder_id=320)
    with pytest.raises(CheckpointError, match="the placeholder is text token 320") as caught:
        check_outline(replace(outline_of(loaded), prompt=prompt))
    assert "--placeholder-token" in caught.value.hint


def test_a_tokenizer_for_half_of_the_decoder():
    outline = outline_of(tiny_checkpoint())
    decoder = copy.deepcopy(outline.decoder)
    decoder.vocab_size = 1000
    with pytest.raises(CheckpointError, match="320 tokens for the 1000 of the decoder"):
        check_outline(replace(outline, decoder=decoder))


def test_no_room_even_for_one_cell_vector():
    loaded = tiny_checkpoint()
    outline = outline_of(loaded, projector=False, max_new_tokens=100_000)
    with pytest.raises(CheckpointError, match="1 cell vectors, 100000 new tokens"):
        check_outline(outline)


@pytest.mark.parametrize("penalty", [500.0, -500.0])
def test_a_length_penalty_that_no_score_survives(penalty):
    with pytest.raises(CheckpointError, match="length_penalty is"):
        check_outline(outline_of(tiny_checkpoint(), length_penalty=penalty))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value):
    loaded = tiny_checkpoint()
    with torch.no_grad():
        loaded.model.decoder.model.norm.weight[3] = value
    with pytest.raises(CheckpointError, match=r"1 tensors .*: decoder\.model\.norm\.weight"):
        check_weights(loaded.model)
