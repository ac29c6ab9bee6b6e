"""PyTorch on the GPU as a peer: Llama at the same sizes, eager with a growing cache, and compiled.

"batched" writes whole texts as the reference does: encoder, projector and `generate` over batches
of cells, the encoder's padded to their longest. The weights are random and its own: what is
compared is time. Prints one JSON object.

    python benchmarks/gpu_peer.py float16 eager|compiled PROMPT STEPS
    python benchmarks/gpu_peer.py float16 batched PROMPT VECTORS
"""

from __future__ import annotations

import json
import sys
from time import perf_counter
from typing import Any

import torch
import transformers
from gpu_sizes import BATCHES, GENERATED, MOST_GENES, gene_counts
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, StaticCache

WARM_UP = 5
BATCH_SECONDS = 30  # after which no larger batch is begun


def llama(dtype: torch.dtype) -> LlamaForCausalLM:
    """Llama-3.2-1B's sizes, random weights, made on the GPU."""
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        max_position_embeddings=8192,
        rope_theta=500_000.0,
        tie_word_embeddings=True,
    )
    torch.set_default_dtype(dtype)
    with torch.device("cuda"):
        return LlamaForCausalLM(config).eval()


@torch.inference_mode()
def eager(model: Any, prompt: int, steps: int) -> dict[str, Any]:
    """Prefill and single steps with transformers' default cache, each with its arg-max."""
    ids = torch.randint(0, 128256, (1, prompt), device="cuda")
    times = []
    for _ in range(3):
        torch.cuda.synchronize()
        since = perf_counter()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        token.item()
        times.append(perf_counter() - since)
    cache, each = out.past_key_values, []
    for _ in range(steps + WARM_UP):
        since = perf_counter()
        out = model(input_ids=token, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        token.item()
        each.append(perf_counter() - since)
    return {"prefill_seconds": sorted(times)[1], "step_seconds": median(each[WARM_UP:])}


@torch.inference_mode()
def compiled(model: Any, prompt: int, steps: int) -> dict[str, Any]:
    """Single steps over a static cache, `torch.compile` with CUDA graphs."""
    length = prompt + steps + WARM_UP + 8
    cache = StaticCache(config=model.config, max_cache_len=length)
    ids = torch.randint(0, 128256, (1, prompt), device="cuda")
    positions = torch.arange(prompt, device="cuda")
    model(input_ids=ids, past_key_values=cache, cache_position=positions, use_cache=True)

    def step(token: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        out = model(input_ids=token, past_key_values=cache, cache_position=place, use_cache=True)
        return out.logits[:, -1].argmax(-1, keepdim=True)

    run = torch.compile(step, mode="reduce-overhead", fullgraph=False)
    token, each = ids[:, -1:], []
    for number in range(steps + WARM_UP):
        place = torch.tensor([prompt + number], device="cuda")
        torch.compiler.cudagraph_mark_step_begin()
        since = perf_counter()
        token = run(token, place).clone()
        token.item()
        each.append(perf_counter() - since)
    return {"step_seconds": median(each[WARM_UP:]), "first_step_seconds": each[0]}


def geneformer() -> tuple[BertModel, torch.nn.Module]:
    """Geneformer V2's 104M sizes and an MLP projector, random weights, made on the GPU."""
    config = BertConfig(
        vocab_size=20275,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=MOST_GENES,
        hidden_act="relu",
    )
    with torch.device("cuda"):
        encoder = BertModel(config, add_pooling_layer=False).eval()
        linears = torch.nn.Linear(768, 2048), torch.nn.GELU(), torch.nn.Linear(2048, 2048)
        return encoder, torch.nn.Sequential(*linears)


@torch.inference_mode()
def batched(model: Any, prompt: int, vectors: int) -> dict[str, Any]:
    """Cells a second of batches of whole descriptions, each after a short one as a warm-up."""
    encoder, projector = geneformer()
    figures: dict[str, Any] = {}
    text = torch.randint(0, 128256, (1, prompt - vectors), device="cuda")

    def describe(counts: Any, tokens: int) -> None:
        longest = int(counts.max())
        genes = torch.randint(0, 20275, (len(counts), longest), device="cuda")
        lengths = torch.tensor(counts, device="cuda")[:, None]
        mask = (torch.arange(longest, device="cuda")[None] < lengths).long()
        hidden = encoder(input_ids=genes, attention_mask=mask).last_hidden_state[:, :vectors]
        words = model.get_input_embeddings()(text).expand(len(counts), -1, -1)
        embeds = torch.cat([projector(hidden), words], dim=1)
        out = model.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device="cuda"),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
        out.cpu()

    for batch in BATCHES:
        try:
            describe(gene_counts(batch), 4)
            torch.cuda.synchronize()
            since = perf_counter()
            describe(gene_counts(batch), GENERATED)
            seconds = perf_counter() - since
        except torch.cuda.OutOfMemoryError as error:
            figures[f"batches of {batch}"] = {"failed": str(error).splitlines()[0]}
            torch.cuda.empty_cache()
            continue
        figures[f"batches of {batch}"] = {"seconds": seconds, "cells_per_second": batch / seconds}
        if seconds > BATCH_SECONDS:
            break
    return figures


def median(values: list[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Measure one way."""
    dtype, way, prompt, steps = sys.argv[1:5]
    model = llama(getattr(torch, dtype))
    ways = {"eager": eager, "compiled": compiled, "batched": batched}
    figures = ways[way](model, int(prompt), int(steps))
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({**figures, **versions, "dtype": dtype}))


if __name__ == "__main__":
    main()
