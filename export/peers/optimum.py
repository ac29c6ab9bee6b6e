"""Optimum as a peer of the decoder: its traced graph and its model class for ONNX Runtime.

Its graph takes text tokens only. It runs as many tokens in place of a cell's vectors, which takes
the same time and gives other logits.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.runtime.engines.onnxruntime_library import load_onnxruntime

# Optimum imports ONNX Runtime: it must be loaded with its telemetry off by then.
onnxruntime = load_onnxruntime()
from optimum.exporters.onnx import onnx_export_from_model  # noqa: E402
from optimum.onnxruntime import ORTModelForCausalLM  # noqa: E402


class OptimumDecoder:
    """The decoder with `ORTModelForCausalLM`: one sequence and a growing cache.

    Args:
        loaded: The checkpoint, in float32.
        threads: Threads; None: ONNX Runtime's own choice.
    """

    name = "optimum"
    takes_vectors = False

    def __init__(self, loaded: LoadedCheckpoint, threads: int | None = None) -> None:
        settings = onnxruntime.SessionOptions()
        if threads is not None:
            settings.intra_op_num_threads = threads
        with tempfile.TemporaryDirectory() as folder:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # tracing warns of each shape that it fixes
                onnx_export_from_model(
                    loaded.model.decoder,
                    folder,
                    task="text-generation-with-past",
                    do_validation=False,
                )
            self._model = ORTModelForCausalLM.from_pretrained(
                folder, use_cache=True, session_options=settings
            )
        self._placeholder = loaded.prompt.placeholder_id
        self._past: Any = None
        self._length = 0

    @torch.inference_mode()
    def prefill(
        self, prefix: Sequence[int], vectors: NDArray[np.float32], suffix: Sequence[int]
    ) -> NDArray[np.float32]:
        """Run a prompt of the same length; logits [V] after it."""
        tokens = [*prefix, *(self._placeholder,) * len(vectors), *suffix]
        self._length = len(tokens)
        result = self._run(tokens, None, 0)
        self._past = result.past_key_values
        return _last(result)

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Run tokens behind the prompt; logits [V] after the last."""
        return _last(self._run(list(tokens), self._past, self._length))

    def _run(self, tokens: list[int], past: Any, first: int) -> Any:
        return self._model(
            input_ids=torch.tensor([tokens]),
            attention_mask=torch.ones((1, first + len(tokens)), dtype=torch.long),
            position_ids=torch.arange(first, first + len(tokens))[None],
            past_key_values=past,
            use_cache=True,
        )


def _last(result: Any) -> NDArray[np.float32]:
    logits = result.logits[0]
    logits.argmax(dim=1)  # choosing the next token is part of a step
    last: NDArray[np.float32] = logits[-1].numpy()
    return last
