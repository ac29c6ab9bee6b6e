"""Tiny random decoders, exported, beside the PyTorch model that they come from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tiny_data import DECODER_PROMPT, DECODER_WIDTH
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from c2t.export.decoders.llama import write_decoder_graph
from c2t.runtime.bundle.manifest import Decoder, Generation, Prompt
from c2t.runtime.engine_protocol import EngineOptions
from c2t.runtime.engines.cpu.decoder import OnnxRuntimeDecoder

MAX_POSITIONS = 256


@dataclass(frozen=True)
class TinyDecoder:
    model: LlamaForCausalLM
    engine: OnnxRuntimeDecoder
    table: np.ndarray  # [V, D]
    prompt: Prompt

    def reference(self, vectors: np.ndarray, generation: Generation) -> list[int]:
        """What Hugging Face `generate` gives for cell vectors [K, D]."""
        embeddings = torch.from_numpy(self.prompt_rows(vectors))[None]
        end = list(generation.eos_token_ids)
        config = GenerationConfig(
            max_new_tokens=generation.max_new_tokens,
            num_beams=generation.num_beams,
            no_repeat_ngram_size=generation.no_repeat_ngram_size,
            do_sample=False,
            eos_token_id=end or None,
            pad_token_id=end[0] if end else 0,
        )
        if generation.num_beams > 1:
            config.early_stopping = generation.early_stopping
            config.length_penalty = generation.length_penalty
        with torch.no_grad():
            out = self.model.generate(
                inputs_embeds=embeddings,
                attention_mask=torch.ones(embeddings.shape[:2], dtype=torch.long),
                generation_config=config,
                use_model_defaults=False,
            )
        return out[0].tolist()

    def prompt_rows(self, vectors: np.ndarray) -> np.ndarray:
        prefix = self.table[list(self.prompt.prefix_ids)]
        suffix = self.table[list(self.prompt.suffix_ids)]
        return np.concatenate((prefix, vectors, suffix)).astype(np.float32)

    def logits(self, vectors: np.ndarray, tokens: list[int]) -> np.ndarray:
        """PyTorch's logits [len(tokens)+1, V] along a given text."""
        rows = np.concatenate((self.prompt_rows(vectors), self.table[tokens]))
        with torch.no_grad():
            out = self.model(inputs_embeds=torch.from_numpy(rows)[None]).logits[0]
        return out[-len(tokens) - 1 :].numpy()


def make_decoder(
    folder: Path,
    *,
    seed: int = 0,
    vocabulary: int = 97,
    spread: float = 0.3,
    threads: int = 1,
    hidden_size: int = DECODER_WIDTH,
    heads: int = 4,
) -> TinyDecoder:
    """A random two-layer Llama with grouped heads; a larger `spread` gives surer choices."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden_size,
        intermediate_size=hidden_size * 3 // 2,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        initializer_range=spread,
        attn_implementation="eager",
        bos_token_id=None,
        eos_token_id=None,  # not Llama's 2, where a test has no end token
    )
    model = LlamaForCausalLM(config).eval()
    path = folder / "decoder.onnx"
    reference = write_decoder_graph(model, path)
    sizes = Decoder(
        model="tiny",
        layers=2,
        hidden_size=hidden_size,
        heads=heads,
        kv_heads=heads // 2,
        head_size=hidden_size // heads,
        vocabulary_size=vocabulary,
        max_positions=MAX_POSITIONS,
        token_embedding=reference,
    )
    table = model.get_input_embeddings().weight.detach().numpy().copy()
    engine = OnnxRuntimeDecoder(path, sizes, table, EngineOptions(threads=threads))
    return TinyDecoder(model, engine, table, DECODER_PROMPT)
