"""Whole descriptions by others: PyTorch as the reference runs it, and llama.cpp behind it.

One decision: texts have a given number of tokens, whatever the weights would say. Random weights
write no end token, and every contestant is to write as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.peers.pytorch import TorchTexts
from c2t.runtime.bundle.manifest import Generation

if TYPE_CHECKING:
    from c2t.export.peers.llama_cpp import LlamaCppDecoder


class TorchWhole:
    """Encoder, projector and decoder with PyTorch and `generate`: see `TorchTexts`.

    Args:
        loaded: The checkpoint, in float32.
        generation: The bundle's settings.
        threads: PyTorch's threads, of the whole process; None: its own choice.
    """

    name = "PyTorch"

    def __init__(
        self, loaded: LoadedCheckpoint, generation: Generation, threads: int | None = None
    ) -> None:
        self._loaded, self._threads = loaded, threads
        self._generation = replace(generation, num_beams=1, eos_token_ids=())

    def write(self, cells: Sequence[NDArray[np.int32]], tokens: int) -> None:
        """See `c2t.runtime.bench.whole.runs.WholePeer`."""
        generation = replace(self._generation, max_new_tokens=tokens)
        TorchTexts(self._loaded, generation, self._threads).describe(cells, 1)


class LlamaCppWhole:
    """llama.cpp's decoder behind PyTorch's encoder, as one would put them together.

    Args:
        loaded: The checkpoint.
        decoder: llama.cpp with its weights.
    """

    def __init__(self, loaded: LoadedCheckpoint, decoder: LlamaCppDecoder) -> None:
        self.name = f"PyTorch's encoder and {decoder.name}"
        self._loaded, self._decoder = loaded, decoder

    @torch.inference_mode()
    def write(self, cells: Sequence[NDArray[np.int32]], tokens: int) -> None:
        """See `c2t.runtime.bench.whole.runs.WholePeer`; one cell after another."""
        model, prompt = self._loaded.model, self._loaded.prompt
        for cell in cells:
            genes = torch.from_numpy(cell.astype(np.int64))[None]
            states = model.encoder.base_model(
                input_ids=genes, output_hidden_states=True
            ).hidden_states
            vectors = model.project(states[model.layers_run][:, : model.rows])[0].numpy()
            logits = self._decoder.prefill(prompt.prefix_ids, vectors, prompt.suffix_ids)
            for _ in range(tokens - 1):
                logits = self._decoder.go_on(int(logits.argmax()))
