"""The usual way of describing cells, as a peer in the benchmark: PyTorch and `generate`.

One decision: it is what a first version with PyTorch and transformers looks like: all encoder
layers, the whole prompt for every cell, eager mode with transformers' default attention, cells of a
batch padded to the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.model.model import generation_config
from c2t.runtime.bundle.manifest import Generation


class TorchTexts:
    """Describes cells with PyTorch.

    Args:
        loaded: The checkpoint, in float32.
        generation: Limits and end tokens; `num_beams` is given with each call.
        threads: PyTorch's threads, of the whole process; None: its own choice.
    """

    name = "PyTorch"

    def __init__(
        self, loaded: LoadedCheckpoint, generation: Generation, threads: int | None = None
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._loaded = loaded
        self._generation = generation

    @torch.inference_mode()
    def describe(self, cells: Sequence[NDArray[np.int32]], beams: int) -> list[list[int]]:
        """Text tokens of cells described as one batch, up to their end tokens."""
        generation = replace(self._generation, num_beams=beams)
        model, prompt = self._loaded.model, self._loaded.prompt
        if len(cells) == 1:
            tokens = torch.from_numpy(cells[0].astype(np.int64))
            return [model.generate(tokens, prompt, generation)]
        genes, mask = self._padded(cells)
        states = model.encoder.base_model(
            input_ids=genes, attention_mask=mask, output_hidden_states=True
        ).hidden_states
        vectors = model.project(states[model.layers_run][:, : model.rows])
        embeddings = model.prompt_embeddings(vectors, prompt)
        real = torch.ones(embeddings.shape[:2], dtype=torch.long)
        if model.rows is not None:
            first = len(prompt.prefix_ids)
            real[:, first : first + vectors.shape[1]] = mask[:, : model.rows]
        # Padding goes to the front: `generate` goes on behind the last position of every row.
        order = torch.argsort(real, dim=1, stable=True)
        embeddings = embeddings.gather(1, order[..., None].expand_as(embeddings))
        texts = model.decoder.generate(
            inputs_embeds=embeddings,
            attention_mask=real.gather(1, order),
            generation_config=generation_config(generation),
            use_model_defaults=False,
        ).tolist()
        return [_until_end(row, generation.eos_token_ids) for row in texts]

    def _padded(self, cells: Sequence[NDArray[np.int32]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Gene tokens and mask [B, S], padded on the right."""
        shape = (len(cells), max(map(len, cells)))
        genes = torch.full(shape, self._loaded.genes.pad_token, dtype=torch.long)
        mask = torch.zeros(shape, dtype=torch.long)
        for row, cell in enumerate(cells):
            genes[row, : len(cell)] = torch.from_numpy(cell.astype(np.int64))
            mask[row, : len(cell)] = 1
        return genes, mask


class TorchDecoder:
    """The decoder with PyTorch: one sequence and a growing cache."""

    name = "PyTorch"
    takes_vectors = True

    def __init__(self, loaded: LoadedCheckpoint, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._model = loaded.model
        self._cache = DynamicCache()
        self._length = 0

    @torch.inference_mode()
    def prefill(
        self, prefix: Sequence[int], vectors: NDArray[np.float32], suffix: Sequence[int]
    ) -> NDArray[np.float32]:
        """Run the whole prompt; logits [V] of the first text token."""
        rows = self._model.decoder.get_input_embeddings()
        before, after = (rows(torch.tensor(list(ids))) for ids in (prefix, suffix))
        embeddings = torch.cat((before, torch.from_numpy(vectors), after))[None]
        self._length = embeddings.shape[1]
        self._cache = DynamicCache()
        return self._run(inputs_embeds=embeddings)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Run tokens behind the prompt; logits [V] after the last."""
        logits = self._run(input_ids=torch.tensor([list(tokens)]), rows=len(tokens))
        self._cache.crop(self._length)
        return logits

    def _run(
        self,
        *,
        inputs_embeds: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        rows: int = 1,
    ) -> NDArray[np.float32]:
        logits = self._model.decoder(
            inputs_embeds=inputs_embeds,
            input_ids=input_ids,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=rows,
        ).logits[0]
        logits.argmax(dim=1)  # choosing the next token is part of a step
        last: NDArray[np.float32] = logits[-1].numpy()
        return last


def _until_end(tokens: list[int], end: Sequence[int]) -> list[int]:
    places = [place for place, token in enumerate(tokens) if token in end]
    return tokens[: places[0] + 1] if places else tokens
