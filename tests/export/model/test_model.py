from dataclasses import replace

import pytest
import torch
from tiny_models import (
    TinySizes,
    tiny_cell,
    tiny_checkpoint,
    tiny_geneformer,
    tiny_llama,
    tiny_projector_config,
)

from c2t.export.model.model import Cell2TextModel
from c2t.export.projectors.families import build_projector
from c2t.runtime.system.errors import CheckpointError

MLP, PERCEIVER = TinySizes(), TinySizes(projector="perceiver")
BOTH = pytest.mark.parametrize("sizes", [MLP, PERCEIVER], ids=["mlp", "perceiver"])


@pytest.mark.parametrize("emb_layer", [0, -1, -2])
def test_encoder_output_is_the_hidden_state_that_is_asked_for(emb_layer):
    loaded = tiny_checkpoint()
    model = Cell2TextModel(
        loaded.model.encoder, loaded.model.projector, loaded.model.decoder,
        emb_layer=emb_layer, top_k=8,
    )  # fmt: skip
    cell = tiny_cell(20)
    states = model.encoder(input_ids=cell[None], output_hidden_states=True).hidden_states
    assert model.layers_run == 3 + emb_layer
    assert torch.equal(model.encode(cell), states[3 + emb_layer][0, :8])


def test_rows_seen():
    mlp, perceiver = tiny_checkpoint(MLP).model, tiny_checkpoint(PERCEIVER).model
    for length, kept in ((5, 5), (8, 8), (20, 8)):
        assert mlp.encode(tiny_cell(length)).shape == (kept, 16)
        assert mlp.project(mlp.encode(tiny_cell(length))).shape == (kept, 24)
        assert perceiver.encode(tiny_cell(length)).shape == (length, 16)
        assert perceiver.project(perceiver.encode(tiny_cell(length))).shape == (6, 24)
    assert (mlp.rows, perceiver.rows) == (8, None)


@BOTH
def test_prompt_embeddings_are_token_rows_around_the_cell_vectors(sizes):
    loaded = tiny_checkpoint(sizes)
    model, prompt = loaded.model, loaded.prompt
    vectors = model.project(model.encode(tiny_cell(20, sizes)))
    count = len(vectors)
    ids = [*prompt.prefix_ids, *[prompt.placeholder_id] * count, *prompt.suffix_ids]
    expected = model.decoder.get_input_embeddings().weight[ids].clone()
    expected[torch.tensor(ids) == prompt.placeholder_id] = vectors
    assert torch.equal(model.prompt_embeddings(vectors, prompt), expected)


@BOTH
def test_batch_rows_do_not_influence_each_other(sizes):
    loaded = tiny_checkpoint(sizes)
    cells = torch.stack([tiny_cell(20, sizes, seed) for seed in range(3)])
    caption = torch.randint(0, 300, (3, 7), generator=torch.Generator().manual_seed(0))
    together = loaded.model(cells, caption, loaded.prompt)
    for row in range(3):
        alone = loaded.model(cells[row][None], caption[row][None], loaded.prompt)[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-5, atol=1e-5)


def test_right_padding_of_a_caption_changes_no_earlier_logit():
    loaded = tiny_checkpoint()
    caption = torch.randint(0, 300, (1, 9), generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(caption, (0, 4))
    short, long = (loaded.model(tiny_cell(20)[None], c, loaded.prompt) for c in (caption, padded))
    torch.testing.assert_close(long[:, :10], short, rtol=1e-5, atol=1e-5)


@BOTH
def test_greedy_generation_follows_the_logits_of_forward(sizes):
    loaded = tiny_checkpoint(sizes)
    generation = replace(loaded.generation, no_repeat_ngram_size=0, max_new_tokens=12)
    for seed in range(3):
        cell = tiny_cell(20, sizes, seed)
        tokens = loaded.model.generate(cell, loaded.prompt, generation)
        logits = loaded.model(cell[None], torch.tensor([tokens]), loaded.prompt)[0]
        assert logits[:-1].argmax(-1).tolist() == tokens
        assert not set(tokens[:-1]) & set(generation.eos_token_ids)


def test_generation_settings_are_those_of_generate():
    """Beams, end tokens and n-grams against a direct call; nothing of the folder leaks in."""
    loaded = tiny_checkpoint()
    model = loaded.model
    cell = tiny_cell(24)
    embeddings = model.prompt_embeddings(model.project(model.encode(cell)), loaded.prompt)[None]
    model.decoder.generation_config.do_sample = True  # as in a Llama's own generation_config.json
    model.decoder.generation_config.temperature = 0.6
    texts = set()
    for beams, ngram, early in ((1, 0, True), (1, 2, True), (4, 3, True), (4, 0, False)):
        generation = replace(
            loaded.generation, num_beams=beams, no_repeat_ngram_size=ngram, early_stopping=early
        )
        options = {"early_stopping": early} if beams > 1 else {}
        expected = model.decoder.generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
            max_new_tokens=16,
            num_beams=beams,
            no_repeat_ngram_size=ngram,
            do_sample=False,
            temperature=1.0,
            eos_token_id=list(generation.eos_token_ids),
            pad_token_id=generation.eos_token_ids[0],
            **options,
        )[0].tolist()
        tokens = model.generate(cell, loaded.prompt, generation)
        assert tokens == expected
        texts.add(tuple(tokens))
    assert len(texts) > 1


def test_gradients_reach_projector_and_decoder():
    sizes = MLP
    model = Cell2TextModel(
        tiny_geneformer(sizes), build_projector(tiny_projector_config(sizes)), tiny_llama(sizes)
    )
    logits = model(tiny_cell(20)[None], torch.arange(5)[None], tiny_checkpoint().prompt)
    logits.square().mean().backward()
    for part in (model.projector, model.decoder):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())


def test_parts_must_fit():
    projector = build_projector(tiny_projector_config(TinySizes(encoder_width=32)))
    with pytest.raises(CheckpointError, match="maps width 32 to 24, but the encoder is 16"):
        Cell2TextModel(tiny_geneformer(), projector, tiny_llama())
    loaded = tiny_checkpoint().model
    with pytest.raises(CheckpointError, match="has -3 to 0"):
        Cell2TextModel(loaded.encoder, loaded.projector, loaded.decoder, emb_layer=1)
