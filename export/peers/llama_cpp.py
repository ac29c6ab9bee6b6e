"""llama.cpp as a peer of the decoder in the benchmark: the same weights, as a GGUF file.

One decision: beside float32 graphs it gets float32 weights and cache, so that its logits can be
checked like those of the others; beside INT8 graphs it gets its own Q8_0 and its own defaults, as
its users run it. It is driven through its C interface, because the high-level class of
llama-cpp-python takes no embeddings.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import torch
from numpy.typing import NDArray

from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.peers.gguf_file import write_gguf
from c2t.export.projectors.families import cell_vectors
from c2t.kernels.native import core_count
from c2t.runtime.system.errors import EngineError

# llama.cpp keeps weights of some types as its kernels for AMX and others read them. Compiled by GCC
# 12, the one for AMX ends with an illegal instruction (version 0.3.36 of llama-cpp-python): with
# this variable set, llama.cpp runs its plain kernels.
PLAIN_VARIABLE = "C2T_LLAMA_CPP_PLAIN"
ROOM = 128  # tokens behind the prompt
NO_FLASH_ATTENTION = 0  # llama.cpp's enumeration; its fused attention computes in half precision
FLOAT32 = gguf.GGMLQuantizationType.F32


class LlamaCpp:
    """A decoder with llama.cpp: one sequence.

    Args:
        path: Of `write_gguf`; once opened, the file stays mapped.
        vocabulary: Rows of its text token table.
        capacity: Most tokens of a prompt and its text.
        threads: Threads; None: all cores.
        quantised: llama.cpp's default cache, not one in float32.

    Raises:
        EngineError: llama.cpp cannot open it.
    """

    def __init__(
        self,
        path: Path,
        *,
        vocabulary: int,
        capacity: int,
        threads: int | None = None,
        quantised: bool = False,
    ) -> None:
        self.name = "llama.cpp Q8_0" if quantised else "llama.cpp"
        self._vocabulary = vocabulary
        self._length = 0
        llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model_settings = llama_cpp.llama_model_default_params()
        model_settings.n_gpu_layers = 0
        model_settings.use_extra_bufts = not os.environ.get(PLAIN_VARIABLE)
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_settings)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = capacity
        if not quantised:
            settings.type_k = settings.type_v = FLOAT32
            settings.flash_attn_type = NO_FLASH_ATTENTION
        settings.no_perf = True
        # llama.cpp takes four threads by default, however many cores there are.
        settings.n_threads = settings.n_threads_batch = threads or core_count()
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            problem = "llama.cpp cannot open the decoder"
            raise EngineError(problem, hint="leave llama.cpp out of --against")

    def prefill_tokens(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Run text tokens as the prompt; logits [V] after the last."""
        self._forget(0)
        self._length = len(tokens)
        return self._run(_tokens(tokens), len(tokens), 0, last_only=True)

    def prefill_rows(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run embedded tokens [T, D] as the prompt; logits [V] after the last."""
        rows = rows.astype(np.float32, copy=False)
        self._forget(0)
        self._length = len(rows)
        batch = llama_cpp.llama_batch_init(len(rows), rows.shape[1], 1)
        ctypes.memmove(batch.embd, np.ascontiguousarray(rows).ctypes.data, rows.nbytes)
        return self._run(batch, len(rows), 0, last_only=True)

    def step(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """Run tokens behind the prompt; logits [V] after the last."""
        self._forget(self._length)
        return self._run(_tokens(tokens), len(tokens), self._length, last_only=False)

    def go_on(self, token: int) -> NDArray[np.float32]:
        """Run the next token of a text, which stays in the cache; logits [V] after it."""
        self._length += 1
        return self._run(_tokens([token]), 1, self._length - 1, last_only=False)

    def _run(self, batch: Any, count: int, first: int, *, last_only: bool) -> NDArray[np.float32]:
        batch.n_tokens = count
        for place in range(count):
            batch.pos[place] = first + place
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = 0
            batch.logits[place] = not last_only or place == count - 1
        status = llama_cpp.llama_decode(self._context, batch)
        llama_cpp.llama_batch_free(batch)
        if status:
            problem = f"llama.cpp failed with status {status}"
            raise EngineError(problem, hint="is there memory enough? leave this peer out")
        pointer = llama_cpp.llama_get_logits_ith(self._context, -1)
        logits: NDArray[np.float32] = np.ctypeslib.as_array(pointer, (self._vocabulary,)).copy()
        logits.argmax()  # choosing the next token is part of a step
        return logits

    def _forget(self, length: int) -> None:
        memory = llama_cpp.llama_get_memory(self._context)
        llama_cpp.llama_memory_seq_rm(memory, 0, length, -1)


class LlamaCppDecoder(LlamaCpp):
    """The decoder of a checkpoint with cell vectors; see `LlamaCpp`.

    Args:
        loaded: The checkpoint.
        threads: Threads; None: all cores.
        quantised: Q8_0 weights and llama.cpp's default cache, not float32.
    """

    takes_vectors = True

    def __init__(
        self, loaded: LoadedCheckpoint, threads: int | None = None, *, quantised: bool = False
    ) -> None:
        decoder, prompt = loaded.model.decoder, loaded.prompt
        self._table = decoder.get_input_embeddings().weight.detach()
        rows = cell_vectors(loaded.model.projector.config, loaded.model.top_k)
        capacity = len(prompt.prefix_ids) + rows + len(prompt.suffix_ids) + ROOM
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "decoder.gguf"
            write_gguf(decoder, path, quantised=quantised)
            super().__init__(
                path,
                vocabulary=int(decoder.config.vocab_size),
                capacity=capacity,
                threads=threads,
                quantised=quantised,
            )

    def prefill(
        self, prefix: Sequence[int], vectors: NDArray[np.float32], suffix: Sequence[int]
    ) -> NDArray[np.float32]:
        """Run the whole prompt; logits [V] of the first text token."""
        before, after = (self._table[torch.tensor(list(ids))].numpy() for ids in (prefix, suffix))
        return self.prefill_rows(np.concatenate((before, vectors, after)))


def _tokens(tokens: Sequence[int]) -> Any:
    """A batch of text tokens."""
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    for place, token in enumerate(tokens):
        batch.token[place] = token
    return batch


@llama_cpp.llama_log_callback
def _quiet(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    pass
