"""llama.cpp as a peer of the decoder in the benchmark: the same weights, as a GGUF file.

One decision: beside float32 graphs it gets float32 weights and cache, so that its logits can be
checked like those of the others; beside INT8 graphs it gets its own Q8_0 and its own defaults, as
its users run it. It is driven through its C interface, because the high-level class of
llama-cpp-python takes no embeddings.
"""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM

from c2t.export.model.loaded_checkpoint import LoadedCheckpoint
from c2t.export.projectors.families import cell_vectors
from c2t.kernels.native import core_count
from c2t.runtime.system.errors import EngineError

ROOM = 128  # tokens behind the prompt
Q8_0 = gguf.GGMLQuantizationType.Q8_0
NO_FLASH_ATTENTION = 0  # llama.cpp's enumeration; its fused attention computes in half precision
NORMS = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
LINEARS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(llama: LlamaForCausalLM, path: Path, *, quantised: bool = False) -> None:
    """Write a Llama's weights, without a vocabulary: in float32, or its matrices in Q8_0."""
    config = llama.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("none")
    weights = llama.state_dict()

    def add(name: str, tensor: torch.Tensor) -> None:
        values = tensor.detach().float().contiguous().numpy()
        if quantised and values.ndim == 2:
            blocks = gguf.quants.quantize(values, Q8_0)
            writer.add_tensor(name, blocks, raw_dtype=Q8_0)
        else:
            writer.add_tensor(name, values)

    add("token_embd.weight", weights["model.embed_tokens.weight"])
    add("output_norm.weight", weights["model.norm.weight"])
    if not config.tie_word_embeddings:
        add("output.weight", weights["lm_head.weight"])
    # What Llama 3 divides the rotary frequencies by.
    plain = config.rope_theta ** -(torch.arange(0, config.head_dim, 2).float() / config.head_dim)
    add("rope_freqs.weight", plain / llama.model.rotary_emb.inv_freq)
    for layer in range(config.num_hidden_layers):
        source, target = f"model.layers.{layer}", f"blk.{layer}"
        for ours, theirs in NORMS.items():
            add(f"{target}.{theirs}.weight", weights[f"{source}.{ours}.weight"])
        for ours, theirs in LINEARS.items():
            matrix = weights[f"{source}.{ours}.weight"]
            if theirs in ("attn_q", "attn_k"):
                matrix = _interleaved(matrix, config.head_dim)
            add(f"{target}.{theirs}.weight", matrix)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleaved(matrix: torch.Tensor, head_size: int) -> torch.Tensor:
    """Rows [heads * size, D] in llama.cpp's order: it rotates neighbours, not halves of a head."""
    return matrix.unflatten(0, (-1, 2, head_size // 2)).transpose(1, 2).flatten(0, 2)


class LlamaCppDecoder:
    """The decoder with llama.cpp: one sequence.

    Args:
        loaded: The checkpoint.
        threads: Threads; None: all cores.
        quantised: Q8_0 weights and llama.cpp's default cache, not float32.
    """

    takes_vectors = True

    def __init__(
        self, loaded: LoadedCheckpoint, threads: int | None = None, *, quantised: bool = False
    ) -> None:
        self.name = "llama.cpp Q8_0" if quantised else "llama.cpp"
        llama = loaded.model.decoder
        if llama.config.model_type != "llama":
            problem = f"llama.cpp is not compared with decoders of type {llama.config.model_type!r}"
            raise EngineError(problem, hint="leave llama.cpp out of --against")
        self._table = llama.get_input_embeddings().weight.detach()
        self._vocabulary = int(llama.config.vocab_size)
        self._length = 0
        rows = cell_vectors(loaded.model.projector.config, loaded.model.top_k)
        prompt = loaded.prompt
        capacity = len(prompt.prefix_ids) + rows + len(prompt.suffix_ids) + ROOM
        llama_cpp.llama_log_set(_quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        model_settings = llama_cpp.llama_model_default_params()
        model_settings.n_gpu_layers = 0
        with tempfile.TemporaryDirectory() as folder:  # once opened, the file stays mapped
            path = Path(folder) / "decoder.gguf"
            write_gguf(llama, path, quantised=quantised)
            self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_settings)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = capacity
        if not quantised:
            settings.type_k = settings.type_v = gguf.GGMLQuantizationType.F32
            settings.flash_attn_type = NO_FLASH_ATTENTION
        settings.no_perf = True
        # llama.cpp takes four threads by default, however many cores there are.
        settings.n_threads = settings.n_threads_batch = threads or core_count()
        self._context = llama_cpp.llama_init_from_model(self._model, settings)
        if not self._context:
            problem = "llama.cpp cannot open the decoder"
            raise EngineError(problem, hint="leave llama.cpp out of --against")

    def prefill(
        self, prefix: Sequence[int], vectors: NDArray[np.float32], suffix: Sequence[int]
    ) -> NDArray[np.float32]:
        """Run the whole prompt; logits [V] of the first text token."""
        before, after = (self._table[torch.tensor(list(ids))].numpy() for ids in (prefix, suffix))
        return self.prefill_rows(np.concatenate((before, vectors, after)))

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
        batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
        for place, token in enumerate(tokens):
            batch.token[place] = token
        return self._run(batch, len(tokens), self._length, last_only=False)

    def go_on(self, token: int) -> NDArray[np.float32]:
        """Run the next token of a text, which stays in the cache; logits [V] after it."""
        batch = llama_cpp.llama_batch_init(1, 0, 1)
        batch.token[0] = token
        self._length += 1
        return self._run(batch, 1, self._length - 1, last_only=False)

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


@llama_cpp.llama_log_callback
def _quiet(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    pass
